"""Superpixels: parts of a picture of like colour, all of about the same size.

Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk 2012, "SLIC superpixels": k-means over colour and
place, where a pixel can only join the cells next to the one that it lies in. On the processor and
in float64, so that they are the same wherever the network is; parts may have islands.
"""

import math

import torch
from torch import Tensor

# How much a distance of one cell weighs against a difference of colours in [0, 1].
_COMPACT = 0.6
_ROUNDS = 10


def superpixels(images: Tensor, count: int) -> Tensor:
    """About ``count`` parts of each image ``(N, C, H, W)``: their numbers from 0, ``(N, H, W)``."""
    images = images.detach().to("cpu", torch.double)
    height, width = images.shape[2:]
    down = min(height, max(1, round(math.sqrt(count * height / width))))
    across = min(width, max(1, round(count / down)))
    cell = math.sqrt(height * width / (down * across))
    rows, columns = (torch.arange(side, device="cpu") for side in (height, width))
    row, column = rows * down // height, columns * across // width
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij")) * (_COMPACT / cell)
    near = [
        ((row + up).clamp(0, down - 1)[:, None] * across + (column + left).clamp(0, across - 1))
        for up in (-1, 0, 1)
        for left in (-1, 0, 1)
    ]
    found = [
        _clustered(torch.cat([image, places]).flatten(1).T, [cells.flatten() for cells in near])
        for image in images
    ]
    return torch.stack(found).view(-1, height, width)


def _clustered(pixels: Tensor, near: list[Tensor]) -> Tensor:
    """Which part each of the pixels ``(P, D)`` belongs to, of those near it ``(P,)``; ``(P,)``."""
    chosen = near[len(near) // 2]  # the cell that it lies in
    centres = pixels.new_zeros(int(chosen.max()) + 1, pixels.shape[1])
    for _ in range(_ROUNDS):
        sizes = torch.bincount(chosen, minlength=len(centres))[:, None]
        sums = torch.zeros_like(centres).index_add_(0, chosen, pixels)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
        away = torch.stack([(pixels - centres[each]).square().sum(1) for each in near])
        chosen = torch.stack(near).gather(0, away.argmin(0)[None])[0]
    found: Tensor = chosen.unique(return_inverse=True)[1]
    return found
