"""A Gaussian blur of images, and how a picture goes on past its border."""

from typing import Literal

import torch
from torch import Tensor

Edge = Literal["nearest", "mirror", "reflect"]
"""How a picture goes on past its border, in SciPy's words: ``aaa|abc``, ``cb|abc``, ``ba|abc``."""


def past_the_edge(places: Tensor, side: int, edge: Edge) -> Tensor:
    """Whole numbers that may lie outside ``0 … side - 1``, as places inside."""
    if edge == "nearest":
        return places.clamp(0, side - 1)
    if edge == "mirror":
        period = max(2 * side - 2, 1)
        folded = places.remainder(period)
        return torch.minimum(folded, period - folded)
    folded = places.remainder(2 * side)
    return torch.minimum(folded, 2 * side - 1 - folded)


def gaussian(
    images: Tensor, sigma: float, *, edge: Edge = "nearest", truncate: float = 4.0
) -> Tensor:
    """Images ``(…, H, W)`` under a Gaussian of so many pixels, as ``scipy.ndimage`` has it.

    Each direction is one product with a matrix, so a wide blur costs no more than a narrow one.
    """
    if sigma <= 0:
        return images
    rows, columns = (_along(side, sigma, edge, truncate, images) for side in images.shape[-2:])
    return rows @ (images @ columns.T)


def _along(side: int, sigma: float, edge: Edge, truncate: float, like: Tensor) -> Tensor:
    """A blur of a row of so many pixels as a matrix ``(side, side)``."""
    reach = int(truncate * sigma + 0.5)
    steps = torch.arange(-reach, reach + 1, device=like.device)
    weights = (-0.5 * (steps / sigma).to(like) ** 2).exp()
    places = past_the_edge(torch.arange(side, device=like.device)[:, None] + steps, side, edge)
    matrix = torch.zeros(side, side, dtype=like.dtype, device=like.device)
    return matrix.scatter_add_(1, places, (weights / weights.sum()).expand(side, -1))
