"""Pictures whose depth is known exactly: boxes and spheres on a floor, before a wall.

Rays are cast from a camera that looks along ``z``, tilted down a little; ``y`` is up, the floor is
``y = 0`` and the wall ``z = D``, in metres. A ray ``(u, v, 1)`` of the camera meets a surface at
``t`` times itself, so ``t`` is the depth along its axis. Surfaces have colours of their own, a
pattern in space and the light of a lamp: how bright a pixel is does not say how far it is.

What a scene holds is hashed from the seed and its number, whatever is rendered beside it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.pictures import html
from fluoroscope.words import count as counted

OBJECTS = 4
"""Boxes and spheres in a scene, at the most."""
SMALLEST, LARGEST = 8, 4096
"""Sides of a picture, in pixels."""
MEMORY = 2**30
"""Bytes that the pictures and depths of one call may take."""
# Half of the angle that the longer side of a picture spans.
_HALF_VIEW = math.radians(30)
# Pixels that are traced at once.
_AT_ONCE = 2**17
# What draws of a scene are for; the numbers are part of what a seed means.
_CAMERA, _LIGHT, _SHAPE, _PLACE, _PAINT = range(5)
_PURPOSE = 91


@dataclass(frozen=True)
class World:
    """What ``n`` scenes hold, in metres and radians, float64."""

    height: Tensor
    """``(n,)``, of the camera above the floor."""
    tilt: Tensor
    """``(n,)``, by which it looks down."""
    wall: Tensor
    """``(n,)``, how far the wall is."""
    light: Tensor
    """``(n, 3)``, the direction towards the lamp, of length 1."""
    there: Tensor
    """``(n, OBJECTS)``, which of the objects there are."""
    sphere: Tensor
    """``(n, OBJECTS)``, which are spheres; the others are boxes."""
    centre: Tensor
    """``(n, OBJECTS, 3)``."""
    half: Tensor
    """``(n, OBJECTS, 3)``, half of a box's sides; of a sphere the first is its radius."""
    turn: Tensor
    """``(n, OBJECTS)``, of a box around the vertical."""
    colour: Tensor
    """``(n, 2 + OBJECTS, 3)``, of floor, wall and objects."""
    pattern: Tensor
    """``(n, 2 + OBJECTS, 3)``: how fast it changes, per metre, where it begins, how dark it is."""
    dim: Tensor
    """``(n, 2)``: the light that is everywhere, and how bright the whole is."""

    def part(self, first: int, last: int) -> "World":
        """Some of the scenes."""
        return World(**{name: value[first:last] for name, value in vars(self).items()})


@dataclass(frozen=True, repr=False)
class Scenes(html.Shown):
    """Rendered scenes with their depth."""

    images: Tensor
    """``(N, 3, H, W)``, 8-bit colours."""
    depth: Tensor
    """``(N, H, W)``, metres along the camera's axis, float32."""
    seed: int
    first: int
    """The number of the first; the others follow."""

    def __len__(self) -> int:
        return len(self.images)

    def _line(self) -> str:
        height, width = self.images.shape[2:]
        return (
            f"{counted(len(self), 'scene')} of {height}×{width}, depth "
            f"{float(self.depth.min()):.2f} to {float(self.depth.max()):.2f} m"
        )

    def _view(self) -> Iterator[html.Html]:
        scale = float(self.depth.max())
        yield html.cards(
            [
                html.picture(image / 255, "picture"),
                html.picture(1 - depth[None] / scale, f"depth, black at {scale:.1f} m"),
            ]
            for image, depth in zip(self.images[:4], self.depth[:4], strict=True)
        )


def render_scenes(
    count: int, *, size: tuple[int, int] = (48, 64), seed: int = 0, first: int = 0
) -> Scenes:
    """Render scenes number ``first``, ``first + 1`` ... of a seed.

    Args:
        count: how many.
        size: height and width in pixels.
        seed: for everything random; a scene is the same whatever else is rendered.
        first: the number of the first, from 0.

    Raises:
        InvalidParameterError: none, too small or large, or more than memory should hold.
    """
    height, width = _checked(count, size, first)
    images = torch.empty(count, 3, height, width, dtype=torch.uint8, device="cpu")
    depth = torch.empty(count, height, width, dtype=torch.float32, device="cpu")
    many, rows = max(1, _AT_ONCE // (height * width)), max(1, _AT_ONCE // width)
    for start in range(0, count, many):
        part = slice(start, min(start + many, count))
        numbers = torch.arange(first + part.start, first + part.stop, device="cpu")
        world = draw(numbers, seed)
        for top in range(0, height, rows):
            strip = slice(top, min(top + rows, height))
            seen, far = render(world, (height, width), strip.start, strip.stop)
            images[part, :, strip], depth[part, strip] = seen, far
    return Scenes(images, depth, seed, first)


def draw(numbers: Tensor, seed: int) -> World:
    """What the scenes of these numbers ``(n,)`` hold."""
    keys = randomness.keys(seed, numbers, _PURPOSE)

    def drawn(what: int, *shape: int) -> Tensor:
        return randomness.uniform(keys, what, shape).double()

    camera, light = drawn(_CAMERA, 3), drawn(_LIGHT, 4)
    wall = 4 + 5 * camera[:, 2]
    shape, place = drawn(_SHAPE, OBJECTS, 6), drawn(_PLACE, OBJECTS, 3)
    paint = drawn(_PAINT, 2 + OBJECTS, 6)
    sphere = shape[..., 0] < 0.5
    half = torch.where(sphere[..., None], 0.15 + 0.4 * shape[..., 1:2], 0.1 + 0.4 * shape[..., 1:4])
    half[..., 1] = torch.where(sphere, half[..., 0], 2 * half[..., 1])  # boxes are tall
    # No nearer than its own reach, so that the camera is in none; as many near as far.
    nearest = 0.55 + half[..., 0::2].square().sum(-1).sqrt()
    farthest = torch.maximum(wall[:, None] - 0.6, nearest)
    away = nearest * (farthest / nearest) ** place[..., 0]
    floats = sphere & (shape[..., 4] < 0.5)
    up = torch.where(floats, half[..., 1] + 1.4 * place[..., 2], half[..., 1])
    centre = torch.stack([away * (place[..., 1] - 0.5) * 1.1, up, away], -1)
    around, above = 2 * math.pi * light[:, 0], 0.3 + 0.9 * light[:, 1]
    lamp = torch.stack([above.cos() * around.cos(), above.sin(), above.cos() * around.sin()], 1)
    pattern = torch.stack(
        [3 + 9 * paint[..., 3], 2 * math.pi * paint[..., 4], 0.6 * paint[..., 5]], -1
    )
    return World(
        height=1.2 + 0.4 * camera[:, 0],
        tilt=math.radians(12) * camera[:, 1],
        wall=wall,
        light=lamp,
        there=shape[..., 5] < 0.8,
        sphere=sphere,
        centre=centre,
        half=half,
        turn=2 * math.pi * place[..., 2],
        colour=0.15 + 0.85 * paint[..., :3],
        pattern=pattern,
        dim=torch.stack([0.3 + 0.3 * light[:, 2], 0.6 + 0.4 * light[:, 3]], 1),
    )


def render(
    world: World, size: tuple[int, int], top: int = 0, bottom: int | None = None
) -> tuple[Tensor, Tensor]:
    """8-bit pictures ``(n, 3, rows, W)`` and depth ``(n, rows, W)`` of the rows asked for."""
    rays = _rays(world, size, top, size[0] if bottom is None else bottom)
    depth, surface, normal = _cast(world, rays)
    return _painted(world, rays, depth, surface, normal), depth.float()


def _rays(world: World, size: tuple[int, int], top: int, bottom: int) -> Tensor:
    """Directions ``(n, rows, W, 3)`` in the world, 1 along the camera's axis."""
    height, width = size
    focal = max(size) / (2 * math.tan(_HALF_VIEW))
    where = world.height.device
    v = (torch.arange(top, bottom, device=where).double()[:, None] + 0.5 - height / 2) / focal
    u = (torch.arange(width, device=where).double()[None] + 0.5 - width / 2) / focal
    sine, cosine = (one[:, None, None] for one in (world.tilt.sin(), world.tilt.cos()))
    along = u.expand(len(world.tilt), len(v), width)
    up, ahead = -v * cosine - sine, cosine - v * sine
    return torch.stack([along, up.expand_as(along), ahead.expand_as(along)], -1)


def _cast(world: World, rays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far each ray goes, ``(n, rows, W)``, what it meets, and that surface's normal."""
    height, wall = world.height[:, None, None], world.wall[:, None, None]
    floor = torch.where(rays[..., 1] < 0, -height / rays[..., 1], math.inf)
    back = torch.where(rays[..., 2] > 0, wall / rays[..., 2], math.inf)
    depth, surface = torch.minimum(floor, back), (back < floor).long()
    normal = torch.zeros_like(rays)
    normal[..., 1], normal[..., 2] = (surface == 0).double(), -(surface == 1).double()
    for number in range(world.there.shape[1]):
        ball, ball_normal = _sphere(world, rays, number)
        box, box_normal = _box(world, rays, number)
        round_ = world.sphere[:, number, None, None]
        far = torch.where(round_, ball, box)
        nearer = (far < depth) & world.there[:, number, None, None]
        depth = torch.where(nearer, far, depth)
        surface = torch.where(nearer, 2 + number, surface)
        own = torch.where(round_[..., None], ball_normal, box_normal)
        normal = torch.where(nearer[..., None], own, normal)
    return depth, surface, normal


def _from(world: World, number: int) -> Tensor:
    """The camera as seen from an object's centre, ``(n, 1, 1, 3)``."""
    camera = torch.zeros_like(world.centre[:, number])
    camera[:, 1] = world.height
    return (camera - world.centre[:, number])[:, None, None]


def _sphere(world: World, rays: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Where rays meet a sphere first, infinite where they do not, and its normal there."""
    origin, radius = _from(world, number), world.half[:, number, 0, None, None]
    a, b = rays.square().sum(-1), (rays * origin).sum(-1)
    inside = b.square() - a * (origin.square().sum(-1) - radius.square())
    far = (-b - inside.clamp_min(0).sqrt()) / a
    met = (inside >= 0) & (far > 0)
    normal = (origin + far[..., None] * rays) / radius[..., None]
    return torch.where(met, far, math.inf), normal


def _box(world: World, rays: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The same of a box, by the slabs between its faces."""
    turn = world.turn[:, number, None, None]
    origin, along = (_turned(one, turn) for one in (_from(world, number), rays))
    along = torch.where(along == 0, 1e-300, along)
    half = world.half[:, number, None, None]
    nearer, farther = (-half - origin) / along, (half - origin) / along
    enter, leave = torch.minimum(nearer, farther), torch.maximum(nearer, farther)
    far, axis = enter.max(-1)
    met = (far <= leave.amin(-1)) & (far > 0)
    face = torch.nn.functional.one_hot(axis, 3) * -along.sign()
    return torch.where(met, far, math.inf), _turned(face, -turn)


def _turned(vectors: Tensor, angle: Tensor) -> Tensor:
    """Turned around the vertical."""
    x, y, z = vectors.unbind(-1)
    cosine, sine = angle.cos(), angle.sin()
    x, z = cosine * x - sine * z, sine * x + cosine * z
    return torch.stack([x, y.expand_as(x), z], -1)


def _painted(world: World, rays: Tensor, depth: Tensor, surface: Tensor, normal: Tensor) -> Tensor:
    """Lambert's law on patterned surfaces, in 8 bits."""
    n = len(depth)
    scene = torch.arange(n, device=depth.device)[:, None, None]
    place = depth[..., None] * rays
    place[..., 1] += world.height[:, None, None]
    middle = torch.cat([torch.zeros_like(world.centre[:, :2]), world.centre], 1)
    place = place - middle[scene, surface]
    speed, start, dark = world.pattern[scene, surface].unbind(-1)
    waves = (speed[..., None] * place + start[..., None]).sin().prod(-1)
    patterned = 1 - dark * (waves > 0)
    lamp = (normal * world.light[:, None, None]).sum(-1).clamp_min(0)
    everywhere, bright = (one[:, None, None] for one in world.dim.unbind(1))
    lit = bright * (everywhere + (1 - everywhere) * lamp) * patterned
    colours = world.colour[scene, surface] * lit[..., None]
    return (255 * colours.clamp(0, 1)).round().to(torch.uint8).movedim(-1, 1)


def _checked(count: int, size: tuple[int, int], first: int) -> tuple[int, int]:
    height, width = size
    if count < 1 or first < 0:
        raise InvalidParameterError(
            f"scenes are {count} from number {first}; expected 1 or more, from 0 on"
        )
    if not (SMALLEST <= height <= LARGEST and SMALLEST <= width <= LARGEST):
        raise InvalidParameterError(
            f"size is {height}x{width}; expected sides from {SMALLEST} to {LARGEST} pixels"
        )
    taken = count * height * width * 7
    if taken > MEMORY:
        raise InvalidParameterError(
            f"scenes are {count:,} of {height}x{width}, which take {taken / 2**20:,.0f} MiB; "
            f"expected at most {MEMORY / 2**20:,.0f} MiB: fewer, or smaller ones"
        )
    return height, width
