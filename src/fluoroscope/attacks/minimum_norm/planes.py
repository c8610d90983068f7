"""Borders of the linearised network: which is nearest, and the smallest move onto it in the box.

The border to a rival is where its lead is 0. From a point it lies ``|lead| / ||slope||_q`` away,
with ``q`` the dual of the norm: 1 for Linf, 2 for L2, infinity for L1. The moves are those of FAB
(Croce and Hein 2020), which minds the box; here they are solved for whole batches.
"""

import math

import torch
from torch import Tensor

_DUAL_ORDER = {"linf": 1.0, "l2": 2.0, "l1": math.inf}
NORMS = tuple(_DUAL_ORDER)


def nearest(leads: Tensor, slopes: Tensor, norm: str) -> tuple[Tensor, Tensor]:
    """The lead ``(n,)`` and its slope ``(n, C, H, W)`` of the border that is nearest by itself.

    Args:
        leads: ``(n, R)``, of each of the rivals.
        slopes: ``(n, R, C, H, W)``, their gradients.
        norm: ``linf``, ``l2`` or ``l1``.
    """
    rival = distances(leads, slopes, norm).argmin(1)
    rows = torch.arange(len(rival), device=rival.device)
    return leads[rows, rival], slopes[rows, rival]


def distances(leads: Tensor, slopes: Tensor, norm: str) -> Tensor:
    """How far each border is, box or no box, ``(n, R)``; infinite where there is no slope.

    Arguments as of :func:`nearest`.
    """
    size = torch.linalg.vector_norm(slopes.flatten(2), ord=_DUAL_ORDER[norm], dim=2)
    return torch.where(size > 0, leads.abs() / size, torch.inf)


def to_plane(points: Tensor, slopes: Tensor, leads: Tensor, norm: str) -> Tensor:
    """The smallest moves within the box onto hyperplanes, exactly.

    Args:
        points: ``(n, d)`` in ``[0, 1]``.
        slopes: ``(n, d)``, normals of the hyperplanes.
        leads: ``(n,)``; the hyperplane of a point is where ``leads + slopes * move`` is 0.
        norm: ``linf``, ``l2`` or ``l1``.

    Returns:
        ``(n, d)``; where the box does not reach the hyperplane, the move to its nearest corner.
    """
    # With a largest slope of 1 no square underflows.
    peak = slopes.abs().amax(1, keepdim=True).clamp(min=torch.finfo(slopes.dtype).tiny)
    slopes = slopes / torch.where(leads > 0, -1, 1).to(slopes)[:, None] / peak
    needed = leads.to(slopes.dtype).abs()[:, None] / peak
    size = slopes.abs()
    room = torch.where(slopes > 0, 1 - points, points)
    if norm == "l1":
        return _steepest_first(size, room, needed) * slopes.sign()
    pace = torch.ones_like(size) if norm == "linf" else size
    return _together(size, room, needed, pace) * slopes.sign()


def _together(size: Tensor, room: Tensor, needed: Tensor, pace: Tensor) -> Tensor:
    """All pixel values move at their pace until they reach the plane, or an end of the box.

    Value ``j`` moves by ``min(t * pace_j, room_j)``. What that gains grows with ``t`` in straight
    pieces, less and less as values arrive, so Newton's method climbs to the wanted ``t`` from below
    and stands still once it is on its piece: mostly within ten rounds. (Sorting the arrivals takes
    as long as a small network.)
    """
    gain, rate = size * room, size * pace
    time, never = torch.zeros_like(needed), torch.finfo(needed.dtype).max
    while True:
        free = (time * pace < room).to(room.dtype)
        going = torch.linalg.vecdot(free, rate)[:, None]
        missing = needed - torch.linalg.vecdot(1 - free, gain)[:, None]
        later = torch.where(going > 0, missing / going, never).clamp(max=never)
        if not bool((later > time).any()):
            return torch.minimum(time * pace, room)
        time = torch.maximum(time, later)


def _steepest_first(size: Tensor, room: Tensor, needed: Tensor) -> Tensor:
    """Pixel values move one after the other, the steepest first, each as far as it is needed."""
    steep, order = size.sort(1, descending=True)
    room = room.gather(1, order)
    gain = steep * room
    missing = (needed - (gain.cumsum(1) - gain)).clamp(min=0)
    part = torch.minimum(missing / steep.clamp(min=torch.finfo(steep.dtype).tiny), room)
    return torch.zeros_like(part).scatter(1, order, part)
