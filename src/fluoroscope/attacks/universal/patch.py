"""Adversarial patches: a picture that, put anywhere into another one, decides what it is predicted
as.

Brown, Mané, Roy, Abadi, Gilmer (2017) raise ``E_{pictures, places} [log p(class | A(patch, picture,
place))]``, where ``A`` puts the patch, scaled and turned, at a random place (the expectation over
transformations of Athalye et al. 2018). Within the patch any colour is allowed; no pixel outside it
changes. Printed and laid beside a thing, theirs turned bananas into toasters.

Where this differs: the paper gives no settings; the authors' published code turns by up to 22.5
degrees, which is kept, and draws the patch's width between a tenth and all of the picture's, which
would leave nothing of some pictures. Here its area is ``share`` of the picture, its width drawn
within ``scaling`` of that, and it always lies wholly within the picture. Steps are Adam's, of 0.02
at first as in that code; the patch lives in ``[0, 1]`` by clamping. It may also lead away from the
true class, and be square.

Applied, it is asked about at ``places`` random places of each picture, drawn for each sample by
itself. A success means: *one of them* was predicted as wanted, and that placement is kept. With one
place, the default, the success rate is the probability that a random placement fools the network;
:func:`.fitting.successes` counts the share of all places.
"""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from fluoroscope.attacks.spatial.warping import places, sample, turned
from fluoroscope.attacks.universal.fitting import Fitted
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat, Unbounded
from fluoroscope.engine.vectors import column
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import count as counted

Shape = Literal["disc", "square"]


@dataclass(frozen=True)
class PatchState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``"""
    number: Tensor
    """``(n,)``, places asked about."""
    classes: Tensor
    """``(n,)``"""
    towards: Tensor
    """``(n,)``, 1 where the class is wanted, -1 where it is to be left."""
    keys: Tensor
    """``(n,)``, what the places are drawn from."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class Patch(Fitted):
    """A ``patch`` ``(C, S, S)`` that takes up a ``share`` of each picture's area.

    It is turned by up to ``rotation`` degrees and its width drawn within ``1 ± scaling`` times the
    usual one. ``fit`` makes it in ``epochs`` over the pictures, each time at another place;
    ``step_size`` is that of Adam's first step, by default 0.02.
    """

    threat: Threat = field(default_factory=Unbounded)
    share: float = 0.1
    shape: Shape = "disc"
    rotation: float = 22.5
    scaling: float = 0.2
    places: int = 1
    epochs: int = 20
    step_size: float | None = None
    patch: Tensor | None = None

    paper: ClassVar[str] = "Brown, Mané, Roy, Abadi, Gilmer 2017 (1712.09665)"
    norms: ClassVar[tuple[str, ...]] = ("none",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "places")
        self._expect(0, "rotation", high=180)
        if not 0 < self.share <= 1:
            raise InvalidParameterError(
                f"share is {self.share}; expected the patch's part of the picture's area, above 0 "
                "and at most 1"
            )
        if not 0 <= self.scaling < 1:
            raise InvalidParameterError(f"scaling is {self.scaling}; expected 0 or more, below 1")
        if self.shape not in get_args(Shape):
            raise InvalidParameterError(
                f"shape is {self.shape!r}; expected {' or '.join(get_args(Shape))}"
            )
        if self.patch is None:
            return
        if self.patch.shape[1] != self.patch.shape[2]:
            raise InvalidParameterError(
                f"patch is {tuple(self.patch.shape)}; expected one as high as wide (C, S, S)"
            )
        if not 0 <= float(self.patch.min()) <= float(self.patch.max()) <= 1:
            raise InvalidParameterError(
                f"patch goes from {float(self.patch.min()):g} to {float(self.patch.max()):g}; "
                "expected values in [0, 1]"
            )

    @property
    def made(self) -> Tensor | None:
        """The patch."""
        return self.patch

    def holding(self, made: Tensor) -> "Patch":
        """The same with this patch."""
        return replace(self, patch=made)

    @property
    def usual_step_size(self) -> float:
        """That of the authors' code, 5 of 255."""
        return 0.02

    def begin(self, images: Tensor) -> Tensor:
        """Mid-grey, as fine as the pictures where it is widest."""
        side = math.ceil(self._width(images) * (1 + self.scaling))
        return torch.full_like(images[0, :, :1, :1], 0.5).repeat(1, side, side)

    def put(self, made: Tensor, images: Tensor, keys: Tensor, draw: int | Tensor) -> Tensor:
        """At a random place of each picture."""
        size, turn, down, right = randomness.uniform(keys, draw, (4,)).to(images.dtype).unbind(1)
        degrees = self.rotation * (2 * turn - 1)
        width = self._width(images) * (1 + self.scaling * (2 * size - 1))
        reach = width * _extent(self.shape, degrees)
        room = [
            (side - reach) * at for side, at in zip(images.shape[2:], (down, right), strict=True)
        ]
        centre = torch.stack(room, 1) + reach[:, None] / 2 - 0.5
        return put_patch(made, images, centre, width, degrees, self.shape)

    def keep_allowed(self, made: Tensor) -> Tensor:
        """Within the box."""
        return made.clamp(0, 1)

    def pictures(self) -> dict[str, Tensor]:
        """The patch as it is, and large enough to be printed; white beyond a disc."""
        assert self.patch is not None
        patch = self.patch.detach().cpu().float()[None]
        ends = {"": patch.shape[-1], "-print": max(_PRINT, patch.shape[-1])}
        found = {}
        for end, side in ends.items():
            sheet = torch.ones(1, len(patch[0]), side, side, dtype=patch.dtype, device="cpu")
            middle, upright = (
                torch.full((1, 2), (side - 1) / 2, dtype=torch.float32, device="cpu"),
                torch.zeros(1, dtype=torch.float32, device="cpu"),
            )
            width = torch.tensor([float(side)], dtype=torch.float32, device="cpu")
            found[end] = put_patch(patch[0], sheet, middle, width, upright, self.shape)[0]
        return {end: image.clamp(0, 1) for end, image in found.items()}

    def start(self, samples: Samples) -> PatchState:
        """Before the first place."""
        assert self.patch is not None
        if len(self.patch) != samples.images.shape[1]:
            raise InvalidParameterError(
                f"the patch has {counted(len(self.patch), 'channel')}, the images "
                f"{samples.images.shape[1]}; expected as many"
            )
        self._width(samples.images)
        count = torch.zeros_like(samples.classes)
        return PatchState(
            samples.images, count, samples.classes, samples.towards, samples.keys, count > 0
        )

    def ask(self, state: PatchState) -> Query:
        """The next place."""
        assert self.patch is not None
        placed = self.put(self.patch.to(state.original), state.original, state.keys, state.number)
        objective = LOG_PROBABILITY.towards(state.towards)
        return Query(placed.clamp(0, 1), False, objective, state.classes)

    def tell(self, state: PatchState, answer: Answer) -> PatchState:
        """On to the next."""
        number = state.number + 1
        return replace(state, number=number, done=number >= self.places)

    def _width(self, images: Tensor) -> float:
        """The patch's usual width in pixels, if it always fits."""
        height, width = images.shape[-2:]
        area = self.share * height * width
        usual = math.sqrt(4 * area / math.pi) if self.shape == "disc" else math.sqrt(area)
        degrees = torch.tensor([min(self.rotation, 45.0)], dtype=torch.float32, device="cpu")
        widest = usual * (1 + self.scaling) * float(_extent(self.shape, degrees))
        if widest > min(height, width):
            raise InvalidParameterError(
                f"a {self.shape} of {self.share:g} of the area, enlarged and turned, is "
                f"{widest:.1f} pixels wide; expected at most the pictures' {min(height, width)}: "
                "lower share, scaling or rotation"
            )
        if usual * (1 - self.scaling) < 1:
            raise InvalidParameterError(
                f"a {self.shape} of {self.share:g} of the area shrinks to "
                f"{usual * (1 - self.scaling):.2f} pixels; expected at least 1: raise share or "
                "lower scaling"
            )
        return usual


# Pixels on a side of the picture to be printed: about 10 cm at 300 dots an inch.
_PRINT = 1200


def put_patch(
    patch: Tensor, images: Tensor, centre: Tensor, width: Tensor, degrees: Tensor, shape: Shape
) -> Tensor:
    """Images ``(n, C, H, W)`` with the patch ``(C, S, S)`` on them, and else unchanged.

    ``centre`` (row, column) is ``(n, 2)`` and ``width`` ``(n,)``, both in pixels; it is turned
    counter-clockwise by ``degrees`` ``(n,)``.
    """
    at = turned(places(images) - centre.view(-1, 2, 1, 1), degrees)
    at = at / column(width)  # from -1/2 to 1/2 within the patch
    size = at.square().sum(1).sqrt() if shape == "disc" else at.abs().amax(1)
    side = patch.shape[-1]
    read = sample(patch.expand(len(images), -1, -1, -1), at * side + (side - 1) / 2, "border")
    return torch.where((size <= 0.5)[:, None], read, images)


def _extent(shape: Shape, degrees: Tensor) -> Tensor:
    """How high and wide a patch of width 1 is when turned."""
    angle = torch.deg2rad(degrees)
    return torch.ones_like(angle) if shape == "disc" else angle.cos().abs() + angle.sin().abs()
