"""Blur: out of focus, through frosted glass, by motion and by zoom; and a Gaussian."""

import numpy as np
import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.evaluation.corruptions.filters import convolved, motion, zoomed
from fluoroscope.evaluation.corruptions.noise import Drawn
from fluoroscope.pictures.gaussian import gaussian

# Of glass blur: how often pixels are moved, at most.
_ROUNDS = 3


def gaussian_blur(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: the standard deviation in pixels."""
    return gaussian(images, numbers[0])


def defocus_blur(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: the radius of the disk, and the deviation of the blur of its edge."""
    return convolved(images, disk(*numbers).to(images))


def disk(radius: float, blur: float) -> Tensor:
    """A disk whose edge is blurred over 3 or 5 pixels, as OpenCV does; its sum is 1."""
    reach, side = (8, 3) if radius <= 8 else (int(radius), 5)
    along = torch.arange(-reach, reach + 1, dtype=torch.double, device="cpu")
    sharp = ((along[:, None] ** 2 + along**2) <= radius**2).double()
    return gaussian(sharp / sharp.sum(), blur, edge="mirror", truncate=(side // 2) / blur)


def draw_glass(keys: Tensor, shape: tuple[int, ...]) -> Drawn:
    return (randomness.uniform(keys, 0, (_ROUNDS, 2, *shape[1:])),)


def glass_blur(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: the deviation of the blur, how far a pixel is moved, and how often.

    Pixels are visited from the last to the first, and each takes the value that one nearby has by
    then. The authors mean the two to change places; of their colour pictures the second half of the
    exchange reads what the first has written, so that one value is copied, and so were the
    published pictures made.
    """
    sigma, far, rounds = numbers[0], int(numbers[1]), int(numbers[2])
    # In 8 bits, cut; a whole level that rounding puts a trace below itself stays one.
    levels = (gaussian(images, sigma) * 255 + 1e-9).floor()
    count, channels, height, width = images.shape
    source: Tensor | None = None
    for offsets in drawn[0].unbind(1)[:rounds]:
        taken = _taken((offsets * (2 * far)).floor().long() - far, far)
        source = taken if source is None else source.gather(1, taken)
    assert source is not None
    moved = levels.flatten(2).gather(2, source[:, None].expand(-1, channels, -1))
    return gaussian(moved.view(count, channels, height, width) / 255, sigma)


def _taken(offsets: Tensor, far: int) -> Tensor:
    """Which pixel's value each has after one round: ``(N, H·W)`` from offsets ``(N, 2, H, W)``.

    A pixel that takes from one that was visited before it has what that one took: such chains are
    followed by jumps of twice the length each time, which is the same as one after the other.
    """
    height, width = offsets.shape[2:]
    rows = torch.arange(height, device=offsets.device)[:, None]
    columns = torch.arange(width, device=offsets.device)

    def visited(row: Tensor, column: Tensor) -> Tensor:
        return (row > far) & (row <= height - far) & (column > far) & (column <= width - far)

    right, down = offsets.unbind(1)
    here = (rows * width + columns).expand_as(right)
    moves = visited(rows, columns).expand_as(right)
    row, column = rows + down, columns + right
    takes = torch.where(moves, row * width + column, here).flatten(1)
    chained = (moves & visited(row, column)).flatten(1) & (takes > here.flatten(1))
    jump = torch.where(chained, takes, here.flatten(1))
    while True:
        further = jump.gather(1, jump)
        if torch.equal(further, jump):
            return takes.gather(1, jump)
        jump = further


def draw_motion(keys: Tensor, shape: tuple[int, ...]) -> Drawn:
    return (90 * randomness.uniform(keys, 0, (1,))[:, 0] - 45,)


def motion_blur(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: the radius and the deviation in pixels; drawn: the angle, in degrees."""
    radius, sigma = numbers
    return motion(images, radius, sigma, drawn[0])


def zoom_blur(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: up to where it zooms, and in which steps."""
    factors = np.arange(1, *numbers).tolist()
    total = images.clone()
    for factor in factors:
        total += zoomed(images, factor)
    return total / (len(factors) + 1)
