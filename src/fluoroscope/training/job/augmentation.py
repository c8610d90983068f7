"""Changes to each batch: of any pictures, and of MNIST's digits as people elsewhere write them.

`Moves` mirrors and shifts pictures of anything. The rest is for digits.

MNIST's writers slant their digits and draw a one as a bare stroke, a seven without its bar and a
nine with a straight tail. The built-in pictures come from other writers: upright and narrow, with a
flag on the one, a bar through the seven and a tail that curls under the nine. Of these a network
that has seen only MNIST misclassifies many, a linear one every fourth. So a share of each training
batch
is rewritten: strokes are added, the slant is drawn anew around upright, and the digit is brought
back into MNIST's frame.

Randomness comes from torch's global generator, which fitting seeds for each step and then restores.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fluoroscope.errors import InvalidParameterError

# MNIST's frame: the longer side of the digit, and where its centre of mass lies, in pixels.
BOX = 20
CENTRE = 14
# From this level on a pixel counts as part of the digit.
INK = 0.3

Range = tuple[float, float]
# How far a shift goes at most, as a share of the side: 4 pixels of 32, as is usual.
SHIFT = 1 / 8
_MOVES = ("flip", "shift")


@dataclass(frozen=True)
class Moves:
    """Pictures of anything, moved a little: values stay, whatever their size and channels.

    ``flip`` mirrors half of them from left to right, which letters and digits do not survive;
    ``shift`` moves each by whole pixels, up to an eighth of its height and width; what comes in at
    a border repeats the border.
    """

    flip: bool = False
    shift: bool = False

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Of images ``(N, C, H, W)`` others of the same shape."""
        if self.flip:
            turned = _chance(images, 0.5).view(-1, 1, 1, 1)
            images = torch.where(turned, images.flip(3), images)
        if self.shift:
            height, width = images.shape[2:]
            rows, columns = _moved(height, images), _moved(width, images)
            images = images.gather(2, rows[:, None, :, None].expand_as(images))
            images = images.gather(3, columns[:, None, None, :].expand_as(images))
        return images


def augmentation(words: str) -> Moves | None:
    """What ``none``, ``flip``, ``shift`` or ``flip,shift`` stands for.

    Raises:
        InvalidParameterError: another word.
    """
    given = [word.strip() for word in words.split(",")]
    if given == ["none"]:
        return None
    if not set(given) <= set(_MOVES):
        raise InvalidParameterError(
            f"augment is {words!r}; expected none, {', '.join(_MOVES)} or {','.join(_MOVES)}"
        )
    return Moves(**dict.fromkeys(given, True))


def _moved(side: int, images: Tensor) -> Tensor:
    """For each picture ``(N, side)`` the row that comes to each row's place."""
    most = int(SHIFT * side)
    by = torch.randint(-most, most + 1, (len(images), 1), device=images.device)
    return (torch.arange(side, device=images.device) + by).clamp(0, side - 1)


@dataclass(frozen=True)
class Stroke:
    """A straight stroke across or from the digit's own ink, drawn into a ``share`` of the digits.

    ``height`` is the row where it starts, as a share of the digit's height from the top. ``start``
    and ``end`` are columns, counted from the middle of the ink in that row, and ``drop`` is how
    many rows lower it ends. Each is drawn evenly from its range.
    """

    height: Range
    start: Range
    end: Range
    drop: Range
    share: float


STROKES = {
    1: Stroke(height=(0.02, 0.10), start=(0, 0), end=(-7, -3), drop=(3, 9), share=0.4),
    7: Stroke(height=(0.45, 0.60), start=(-5, -3), end=(3, 6), drop=(-1.5, 1), share=0.4),
    9: Stroke(height=(0.93, 0.99), start=(0, 0), end=(-9, -4), drop=(-3, 0), share=0.6),
}
STROKE_WIDTH: Range = (1.7, 2.9)
# Columns to the side for each row, standard deviation around upright.
SLANT = 0.25
# The logarithm of the width: mean and standard deviation of its change.
WIDTH = (-0.08, 0.10)
# The largest share of a dilation by one pixel that is mixed in.
BOLDNESS = 0.3
# Pixels along each side of the digit's box in the built-in pictures' source.
COARSE = 8


def rewrite(
    images: Tensor, labels: Tensor, share: float = 0.5, coarse: float = 0.0, shake: float = 0.0
) -> Tensor:
    """Rewrite a random ``share`` of digits ``(N, 1, 28, 28)`` in ``[0, 1]``, labels ``(N,)``.

    Of these, the share ``coarse`` is reduced to 8×8 pixels and enlarged again, as the built-in
    pictures were. At the end all are moved by about ``shake`` pixels, and leant and stretched by a
    like amount.
    """
    chosen = torch.randperm(len(images), device=images.device)[: round(share * len(images))]
    if len(chosen):  # the last batch may be a single digit
        digits = _frame(_slant(_add_strokes(images[chosen], labels[chosen])))
        reduced = _chance(digits, coarse)
        digits[reduced] = _coarsen(digits[reduced])
        images = images.index_copy(0, chosen, _embolden(digits))
    return _shake(images, shake) if shake else images


def _add_strokes(images: Tensor, labels: Tensor) -> Tensor:
    for digit, stroke in STROKES.items():
        given = (labels == digit) & _chance(images, stroke.share)
        images[given] = torch.maximum(images[given], _draw(stroke, images[given]))
    return images


def _draw(stroke: Stroke, images: Tensor) -> Tensor:
    """The stroke alone, one for each of ``(N, 1, H, W)``, in the same shape."""
    top, bottom = _extent(images.amax((1, 3)))
    start_y = top + (bottom - top) * _uniform(stroke.height, images)
    each = torch.arange(len(images), device=images.device)
    middle = _centre(images[each, 0, start_y.round().long()])
    start_x = middle + _uniform(stroke.start, images)
    along_x = middle + _uniform(stroke.end, images) - start_x
    along_y = _uniform(stroke.drop, images)
    radius = _uniform(STROKE_WIDTH, images) / 2

    start_x, start_y, along_x, along_y, radius = (
        numbers.view(-1, 1, 1) for numbers in (start_x, start_y, along_x, along_y, radius)
    )
    y = _indices(images.shape[2], images).view(1, -1, 1) - start_y
    x = _indices(images.shape[3], images).view(1, 1, -1) - start_x
    nearest = ((x * along_x + y * along_y) / (along_x**2 + along_y**2)).clamp(0, 1)
    distance = torch.hypot(x - nearest * along_x, y - nearest * along_y)
    return (radius + 0.5 - distance).clamp(0, 1).unsqueeze(1)


def _slant(images: Tensor) -> Tensor:
    """Set the digits upright by their moments, then lean and narrow them at random."""
    rows = images.sum((1, 3))
    y = _indices(images.shape[2], images) - _centre(rows).unsqueeze(1)
    x = _indices(images.shape[3], images) - _centre(images.sum((1, 2))).unsqueeze(1)
    covariance = (images.squeeze(1) * y.unsqueeze(2) * x.unsqueeze(1)).sum((1, 2))
    lean = covariance / (rows * y**2).sum(1).clamp_min(1e-6)
    mean, deviation = WIDTH
    width = torch.exp(mean + deviation * torch.randn_like(lean))
    return _transform(images, lean + SLANT * torch.randn_like(lean), width, torch.ones_like(lean))


def _frame(images: Tensor) -> Tensor:
    """Scale the longer side to the box and centre the mass, as MNIST's makers did."""
    top, bottom = _extent(images.amax((1, 3)))
    left, right = _extent(images.amax((1, 2)))
    scale = BOX / (torch.maximum(bottom - top, right - left) + 1)
    return _transform(images, torch.zeros_like(scale), scale, scale)


def _shake(images: Tensor, pixels: float) -> Tensor:
    """Small changes of place, slant, width and height, drawn from normal distributions."""
    y, x, shear, width, height = pixels * torch.randn(
        5, len(images), dtype=images.dtype, device=images.device
    )
    # At the rim of the digit, a tenth of its height or width is a pixel.
    return _transform(images, 0.1 * shear, (0.1 * width).exp(), (0.1 * height).exp(), y, x)


def _transform(
    images: Tensor,
    shear: Tensor,
    width: Tensor,
    height: Tensor,
    down: Tensor | float = 0.0,
    right: Tensor | float = 0.0,
) -> Tensor:
    """Shear, stretch, and bring the centre of mass to the frame's, or so many pixels beside it.

    An output pixel ``(y, x)``, counted from there, shows the input at
    ``(y / height, x / width + shear · y)``, counted from the digit's centre of mass.
    """
    side = images.shape[3]
    # affine_grid counts from -1 to 1 across the picture; pixel k is centred on (2k + 1)/side - 1.
    from_y, from_x = ((2 * _centre(images.sum(dims)) + 1) / side - 1 for dims in ((1, 3), (1, 2)))
    to_y, to_x = ((2 * (CENTRE + shift) + 1) / side - 1 for shift in (down, right))
    matrix = (
        *(1 / width, shear, from_x - to_x / width - to_y * shear),
        *(torch.zeros_like(height), 1 / height, from_y - to_y / height),
    )
    theta = torch.stack(matrix, 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _coarsen(images: Tensor) -> Tensor:
    margin = (images.shape[3] - BOX) // 2
    box = images[..., margin : margin + BOX, margin : margin + BOX]
    small = F.interpolate(box, size=(COARSE, COARSE), mode="area")
    smooth = F.interpolate(small, size=(BOX, BOX), mode="bicubic")
    # A ramp gives the strokes their edges back.
    return F.pad(((smooth - 0.35) * 2 + 0.5).clamp(0, 1), [margin] * 4)


def _embolden(images: Tensor) -> Tensor:
    share = BOLDNESS * _uniform((0, 1), images).view(-1, 1, 1, 1)
    return torch.lerp(images, F.max_pool2d(images, 3, stride=1, padding=1), share)


def _extent(profile: Tensor) -> tuple[Tensor, Tensor]:
    """First and last index with ink in each row of ``(N, length)``; all of it where none is."""
    inked = (profile > INK).to(profile.dtype)
    last = profile.shape[1] - 1
    return inked.argmax(1).to(profile.dtype), last - inked.flip(1).argmax(1).to(profile.dtype)


def _centre(mass: Tensor) -> Tensor:
    """Index of the centre of mass of each row of ``(N, length)``."""
    return mass @ _indices(mass.shape[1], mass) / mass.sum(1).clamp_min(1e-6)


def _indices(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, dtype=like.dtype, device=like.device)


def _uniform(bounds: Range, like: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(len(like), dtype=like.dtype, device=like.device)


def _chance(images: Tensor, share: float) -> Tensor:
    return torch.rand(len(images), device=images.device, dtype=torch.float32) < share
