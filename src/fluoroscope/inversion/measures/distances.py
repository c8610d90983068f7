"""Distances between many points and many others, a block at a time: never all in memory at once."""

import torch
from torch import Tensor

# Distances that are in memory at once: 32 MB of them.
_AT_ONCE = 2**22
# What rounding leaves of the squared distance of a point from itself, as a share of its length's
# square. Copies must be told from neighbours, for a leak is a distance of 0.
_ROUNDING = 1e-13


def blocks(count: int, others: int) -> list[slice]:
    """The rows of ``count`` whose distances to ``others`` are in memory at once."""
    rows = max(1, _AT_ONCE // max(1, others))
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def between(points: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances ``(N, M)`` of a block of points ``(N, D)`` from others ``(M, D)``."""
    ours, theirs = points.square().sum(1)[:, None], others.square().sum(1)[None]
    squares = ours + theirs - 2 * points @ others.T
    squares[squares <= _ROUNDING * (ours + theirs)] = 0
    return squares.sqrt_()


def nearest(points: Tensor, others: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """The ``k`` nearest of the others ``(M, D)`` to each point ``(N, D)``.

    Returns:
        Distances and numbers ``(N, k)``, the nearest first.
    """
    ready, far = _centred(points, others)
    found = [
        between(ready[rows], far).topk(k, largest=False) for rows in blocks(len(ready), len(far))
    ]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def radii(points: Tensor, k: int) -> Tensor:
    """The distance ``(N,)`` of each point to its ``k``-th nearest other among the same."""
    return nearest(points, points, k + 1)[0][:, -1]  # itself is one of them


def _centred(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 about the others' mean: less is lost in differences of large numbers."""
    far = others.double()
    middle = far.mean(0)
    return points.double() - middle, far - middle
