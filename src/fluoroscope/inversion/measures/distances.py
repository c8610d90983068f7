"""Distances between many points and many others, a block at a time: never all in memory at once."""

import torch
from torch import Tensor

# Distances that are in memory at once: 32 MB of them.
_AT_ONCE = 2**22
# Coordinates of others that are in memory in double precision at once: 128 MB of them.
_VALUES = 2**24
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
    middle = others.double().mean(0) if others.numel() <= _VALUES else others.mean(0).double()
    away = torch.full((len(points), 0), torch.inf, dtype=torch.float64, device=points.device)
    numbers = torch.zeros(len(points), 0, dtype=torch.long, device=points.device)
    # Large pictures are not all in memory in double precision, either.
    step = max(1, _VALUES // others.shape[1])
    for start in range(0, len(others), step):
        part = others[start : start + step].double() - middle
        width = max(len(part), points.shape[1])
        found = [
            between(points[rows].double() - middle, part).topk(min(k, len(part)), largest=False)
            for rows in blocks(len(points), width)
        ]
        away = torch.cat([away, torch.cat([each.values for each in found])], 1)
        places = torch.cat([each.indices for each in found]) + start
        numbers = torch.cat([numbers, places], 1)
        away, best = away.topk(min(k, away.shape[1]), largest=False)
        numbers = numbers.gather(1, best)
    return away, numbers


def radii(points: Tensor, k: int) -> Tensor:
    """The distance ``(N,)`` of each point to its ``k``-th nearest other among the same."""
    return nearest(points, points, k + 1)[0][:, -1]  # itself is one of them
