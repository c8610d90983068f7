"""Views of pictures by one resampling: shifts, windows and angles of each view's own.

A view whose pixels are wider than the picture's reads it from a copy that was made smaller, so that
nothing is skipped.
"""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Beyond = Literal["edge", "wrap"]
Outside = float | Beyond
OUTSIDE = get_args(Beyond)


def resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures ``(n, C, H, W)`` at another size, smoothed where that is smaller."""
    if tuple(pictures.shape[-2:]) == size:
        return pictures
    return functional.interpolate(pictures, size, mode="bilinear", antialias=True)


def moved(pictures: Tensor, copies: int, shifts: Tensor, flips: Tensor, outside: Outside) -> Tensor:
    """Views ``(n * copies, C, H, W)`` by whole pixels: no number is changed.

    ``shifts`` ``(n * copies, 2)`` are how far down and to the right each view's window lies;
    ``flips`` ``(n * copies,)`` says which are mirrored then.
    """
    height, width = pictures.shape[-2:]
    views = []
    rows = list(zip(shifts.tolist(), flips.tolist(), strict=True))
    most = shifts.abs().amax(0).tolist()
    reach = [min(most[0], height), min(most[1], width)]
    wide = pictures if outside == "wrap" else _padded(pictures, reach, outside)
    for number, picture in enumerate(wide.unbind(0)):
        for (down, right), flip in rows[number * copies : (number + 1) * copies]:
            if outside == "wrap":
                view = picture.roll((-down, -right), (-2, -1)) if down or right else picture
            else:  # further than its own side it sees nothing of the picture any more
                top = reach[0] + max(-reach[0], min(reach[0], down))
                left = reach[1] + max(-reach[1], min(reach[1], right))
                view = picture[:, top : top + height, left : left + width]
            views.append(view.flip(-1) if flip else view)
    return torch.stack(views)


def _padded(pictures: Tensor, reach: list[int], outside: Outside) -> Tensor:
    around = (reach[1], reach[1], reach[0], reach[0])
    if not any(around):
        return pictures
    if outside == "edge":
        return functional.pad(pictures, around, mode="replicate")
    assert not isinstance(outside, str)
    return functional.pad(pictures, around, value=outside)


def sampled(
    pictures: Tensor,
    copies: int,
    centre: Tensor,
    window: Tensor,
    angle: Tensor,
    flips: Tensor,
    outside: Outside,
    size: tuple[int, int],
) -> Tensor:
    """Views ``(n * copies, C, *size)`` of pictures ``(n, C, H, W)``, interpolated once.

    Each view is a window with its ``centre`` ``(m, 2)``, down and right, and its side ``(m,)``, in
    shares of the picture's sides. What is in it appears turned by ``angle`` ``(m,)`` degrees
    against the clock, and mirrored where ``flips`` ``(m,)``.
    """
    height, width = pictures.shape[-2:]
    grid = _grid(centre, window, angle, flips, (height, width), size).to(pictures.dtype)
    shrunk = window * max(height / size[0], width / size[1])
    # At most by the root of 2 remains to the interpolation itself.
    levels = shrunk.log2().round().long().clamp(min=0).tolist()
    if len(set(levels)) == 1:
        return _interpolated(_smaller(pictures, levels[0]), grid, copies, outside)
    views: list[Tensor] = [pictures] * len(levels)
    for number, picture in enumerate(pictures.split(1)):
        own = range(number * copies, (number + 1) * copies)
        for level in sorted({levels[row] for row in own}):
            rows = [row for row in own if levels[row] == level]
            found = _interpolated(_smaller(picture, level), grid[rows], len(rows), outside)
            for row, view in zip(rows, found.unbind(0), strict=True):
                views[row] = view
    return torch.stack(views)


def _grid(
    centre: Tensor,
    window: Tensor,
    angle: Tensor,
    flips: Tensor,
    sides: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Where each pixel of each view lies, ``(m, *size, 2)``, right and down, in ``[-1, 1]``."""
    turn = torch.deg2rad(angle)
    along, across = window * turn.cos(), window * turn.sin()
    mirror = torch.where(flips, -1.0, 1.0)
    high, wide = (
        (torch.arange(length, dtype=window.dtype, device=window.device) * 2 + 1) / length - 1
        for length in size
    )
    height, width = sides
    # The picture turns against the clock where its coordinates, downwards, turn with it.
    rows = [
        (along * mirror, -across * (height / width), 2 * centre[:, 1] - 1),
        (across * mirror * (width / height), along, 2 * centre[:, 0] - 1),
    ]
    grid = torch.empty(len(window), *size, 2, dtype=window.dtype, device=window.device)
    for axis, (by_right, by_down, offset) in enumerate(rows):
        right = by_right[:, None] * wide
        down = by_down[:, None] * high + offset[:, None]
        torch.add(right[:, None, :], down[:, :, None], out=grid[..., axis])
    return grid


def _smaller(pictures: Tensor, level: int) -> Tensor:
    """Pictures of half the size so many times."""
    if not level:
        return pictures
    height, width = (max(1, round(side / 2**level)) for side in pictures.shape[-2:])
    return resized(pictures, (height, width))


def _interpolated(pictures: Tensor, grid: Tensor, copies: int, outside: Outside) -> Tensor:
    """Views ``(n * copies, C, h, w)`` at a grid ``(n * copies, h, w, 2)``."""
    count, (high, wide) = len(pictures), grid.shape[1:3]
    # The copies of a picture are one tall view of it, so that the picture itself is not copied.
    grid = grid.reshape(count, copies * high, wide, 2)
    beside = 0.0 if isinstance(outside, str) else float(outside)
    padding = "border" if outside == "edge" else "zeros"
    if outside == "wrap":
        pictures, grid = _wrapped(pictures, grid)
    if beside:
        pictures = pictures - beside
    found = functional.grid_sample(
        pictures, grid, mode="bilinear", padding_mode=padding, align_corners=False
    )
    if beside:
        found = found + beside
    found = found.view(count, -1, copies, high, wide).transpose(1, 2)
    return found.reshape(count * copies, -1, high, wide)


def _wrapped(pictures: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures with their first row and column once more at the end, and the grid within them."""
    height, width = pictures.shape[-2:]
    sides = torch.tensor([width, height], dtype=grid.dtype, device=grid.device)
    pixels = ((grid + 1) * sides / 2 - 0.5).remainder(sides)
    return functional.pad(pictures, (0, 1, 0, 1), mode="circular"), (2 * pixels + 1) / (
        sides + 1
    ) - 1


def blurred(views: Tensor, deviation: Tensor) -> Tensor:
    """Views ``(m, C, h, w)`` under Gaussians of ``deviation`` ``(m,)`` pixels; edges go on."""
    count, channels, high, wide = views.shape
    reach = min(int((3 * deviation.max()).ceil()), high - 1, wide - 1)
    if reach < 1:
        return views
    place = torch.arange(-reach, reach + 1, dtype=views.dtype, device=views.device)
    spread = deviation.to(views.dtype).clamp(min=1e-3)[:, None]
    kernel = (-0.5 * (place / spread).square()).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    rows = views.reshape(1, count * channels, high, wide)
    rows = functional.pad(rows, (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(rows, kernel[:, :, None, :], groups=count * channels)
    rows = functional.conv2d(rows, kernel[:, :, :, None], groups=count * channels)
    return rows.view(count, channels, high, wide)
