"""Where a picture's pixels are read from: bilinear sampling at places given in pixels.

The centre of the pixel in row ``i`` and column ``j`` is the place ``(i, j)``.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Outside = Literal["zeros", "border"]
"""What lies beyond the picture: black, or its outermost pixels again."""


def places(images: Tensor) -> Tensor:
    """The row and the column of every pixel of images ``(..., H, W)``, ``(2, H, W)``."""
    sides = [torch.arange(n, device=images.device, dtype=images.dtype) for n in images.shape[-2:]]
    return torch.stack(torch.meshgrid(*sides, indexing="ij"))


def sample(images: Tensor, at: Tensor, outside: Outside) -> Tensor:
    """What images ``(n, C, H, W)`` hold at rows and columns ``at`` ``(n, 2, h, w)``, bilinearly.

    Differentiable in both; ``(n, C, h, w)``.
    """
    height, width = images.shape[-2:]
    # Torch counts columns first, and from -1 to 1 between the outer edges.
    grid = torch.stack([(2 * at[:, 1] + 1) / width - 1, (2 * at[:, 0] + 1) / height - 1], -1)
    return F.grid_sample(images, grid, padding_mode=outside, align_corners=False)


def turned(offsets: Tensor, degrees: Tensor) -> Tensor:
    """Offsets (rows, columns) ``(n, 2, h, w)`` turned clockwise by degrees ``(n,)``.

    A picture read at places turned clockwise is turned counter-clockwise.
    """
    angle = torch.deg2rad(degrees).view(-1, 1, 1)
    down, right = offsets[:, 0], offsets[:, 1]
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * down + sin * right, cos * right - sin * down], 1)
