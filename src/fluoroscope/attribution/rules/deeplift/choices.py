"""Maxima and choices: max-pools, maxima over axes, of two tensors, and ``where``.

A maximum over a window goes from ``m'`` at the baseline's largest entry to ``m`` at the picture's.
With ``M = max(m, m')`` the part ``M - m'`` belongs to the picture's largest entry and ``m - M`` to
the baseline's, each divided by that entry's own difference; one of the two is 0. Both multipliers
lie in [0, 1]. Where nothing changed it is the gradient: 1 at an entry that did not change either.

``where(c, a, d)`` is ``a`` or ``d``; where the condition differs between picture and baseline, the
difference is shared by the branches in proportion to how much each changed, squared: the smallest
multipliers that account for it.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fluoroscope.attribution.rules.deeplift.passes import Args, Kwargs
from fluoroscope.attribution.rules.deeplift.ways_back import standing_for
from fluoroscope.attribution.rules.mode import Operation, depends

_WITH_PLACES: dict[str, Any] = {
    "max_pool1d": F.max_pool1d_with_indices,
    "max_pool2d": F.max_pool2d_with_indices,
    "max_pool3d": F.max_pool3d_with_indices,
    "adaptive_max_pool1d": F.adaptive_max_pool1d_with_indices,
    "adaptive_max_pool2d": F.adaptive_max_pool2d_with_indices,
    "adaptive_max_pool3d": F.adaptive_max_pool3d_with_indices,
}


def max_pool(name: str) -> Any:
    """The rule of a max-pool, by the name of its function; it may return the places as well."""
    pool, axes = _WITH_PLACES[name], int(name[-2])

    def rule(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
        given, base = (args[0], then[0]) if args else (kwargs["input"], named["input"])
        options = {key: one for key, one in kwargs.items() if key != "input"}
        asked = options.pop("return_indices", False)
        with torch.no_grad():
            value, places = pool(given, *args[1:], **options)
            other, others = pool(base, *args[1:], **options)
        lifted = _lifted(
            given.flatten(-axes),
            base.flatten(-axes),
            *(one.flatten(-axes) for one in (value, places, other, others)),
        )
        found = standing_for(value, lifted.view_as(value))
        with_places = asked or "with_indices" in str(getattr(func, "__name__", ""))
        return (found, places) if with_places else found

    return rule


def maximum_over(sign: int) -> Any:
    """The rule of ``amax`` (of ``amin`` with -1), and of ``max`` and ``min`` in all their forms."""

    def rule(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
        given, base = (args[0], then[0]) if args else (kwargs["input"], named["input"])
        rest = {**dict(zip(("dim", "keepdim"), args[1:], strict=False)), **kwargs}
        rest.pop("input", None)
        if isinstance(rest.get("dim"), Tensor):
            rest["other"] = rest.pop("dim")
        if "other" in rest:
            other = then[1] if len(then) > 1 else named["other"]
            return _larger(func, given, rest["other"], base, other, sign)
        with torch.no_grad():
            native = func(*args, **kwargs)
        value = native if isinstance(native, Tensor) else native[0]
        dims = rest.get("dim")
        dims = range(given.dim()) if dims is None or dims == () else dims
        dims = [dims] if isinstance(dims, int) else list(dims)
        rows, others = (_last(sign * one, dims) for one in (given, base))
        lifted = sign * _over_last(rows, others)
        found = standing_for(value, lifted.reshape(value.shape))
        if isinstance(native, Tensor):
            return found
        return type(native)((found, native[1]))

    return rule


def larger(sign: int) -> Any:
    """The rule of ``maximum`` (of ``minimum`` with -1)."""

    def rule(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
        one, two = (*args, *kwargs.values())[:2]
        base, other = (*then, *named.values())[:2]
        return _larger(func, one, two, base, other, sign)

    return rule


def where(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """The rule of ``where``, called with its two branches."""
    names = ("condition", "input", "other")
    now = {**dict(zip(names, args, strict=False)), **kwargs}
    past = {**dict(zip(names, then, strict=False)), **named}
    if "input" not in now:
        return NotImplemented
    # As a method it stands behind its first branch: x.where(condition, other).
    if isinstance(now["condition"], Tensor) and now["condition"].dtype != torch.bool:
        for call in (now, past):
            call["condition"], call["input"] = call["input"], call["condition"]
    moving = [_moves(now[name]) for name in names[1:]]
    with torch.no_grad():
        value = torch.where(now["condition"], now["input"], now["other"])
        change = value - torch.where(past["condition"], past["input"], past["other"])
        same = now["condition"] == past["condition"]
        moves = [
            now[name] - past[name] if moves_too else torch.zeros_like(value)
            for name, moves_too in zip(names[1:], moving, strict=True)
        ]
        size = moves[0] ** 2 + moves[1] ** 2
        share = torch.where(size > 0, change / size, 0.0)
    chosen = (now["condition"], ~now["condition"])
    lifted = sum(
        now[name] * torch.where(same, mine.to(value.dtype), share * move)
        for name, mine, move, moves_too in zip(names[1:], chosen, moves, moving, strict=True)
        if moves_too
    )
    return standing_for(value, cast(Tensor, lifted))


def _moves(branch: Any) -> bool:
    return isinstance(branch, Tensor) and depends(branch)


def _larger(func: Operation, one: Any, two: Any, base: Any, other: Any, sign: int) -> Tensor:
    with torch.no_grad():
        value: Tensor = func(one, two)
    pairs = [
        torch.stack(torch.broadcast_tensors(*(torch.as_tensor(each) for each in pair)), -1)
        for pair in ((one, two), (base, other))
    ]
    return standing_for(value, sign * _over_last(*(sign * pair for pair in pairs)))


def _last(given: Tensor, dims: list[int]) -> Tensor:
    """The axes ``dims`` as one, behind the others."""
    dims = [dim % given.dim() for dim in dims]
    kept = [dim for dim in range(given.dim()) if dim not in dims]
    return given.permute(*kept, *dims).flatten(len(kept))


def _over_last(rows: Tensor, base: Tensor) -> Tensor:
    """The maxima over the last axis, with multipliers for slopes."""
    with torch.no_grad():
        value, places = rows.max(-1, keepdim=True)
        other, others = base.max(-1, keepdim=True)
    return _lifted(rows, base, value, places, other, others).squeeze(-1)


def _lifted(
    given: Tensor, base: Tensor, value: Tensor, places: Tensor, other: Tensor, others: Tensor
) -> Tensor:
    """Entries of ``given`` times their multipliers, at the places to which the maxima belong."""
    place = torch.where(value >= other, places, others)
    entry = given.gather(-1, place)
    with torch.no_grad():
        apart = entry - base.gather(-1, place)
        share = torch.where(apart == 0, 1.0, (value - other) / apart)
    return entry * share
