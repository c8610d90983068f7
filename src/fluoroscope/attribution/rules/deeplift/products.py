"""Products and quotients of two tensors that both depend on the picture.

A product's difference is, exactly, ``da * (c + c')/2 + (a + a')/2 * dc`` (``'`` at the baseline):
so a bilinear operation's multiplier is its own gradient half-way between picture and baseline. A
quotient's is ``(da - q' dc) / c = (da - q dc) / c'`` with ``q = a / c``; the larger divisor is
taken, so that nothing large has to cancel.
"""

from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.rules.deeplift.passes import Args, Kwargs
from fluoroscope.attribution.rules.deeplift.ways_back import standing_for
from fluoroscope.attribution.rules.mode import Operation, depends, tensors_in


def bilinear(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Of what is linear in each of two factors; something may be added to their product."""
    if func_name(func) == "einsum" and sum(map(depends, tensors_in(args))) > 2:
        return NotImplemented
    half = func(*_half_way(args, then), **_half_way(kwargs, named))
    with torch.no_grad():
        value = func(*args, **kwargs)
    return standing_for(value, half)


def quotient(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Of a quotient whose divisor depends on the picture, and whose dividend may."""
    if kwargs.get("rounding_mode") is not None:
        return NotImplemented
    both, both_then = (*args, *kwargs.values())[:2], (*then, *named.values())[:2]
    with torch.no_grad():
        value = func(*args, **kwargs)
    return _quotient(value, both, both_then)


def reversed_quotient(
    func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs
) -> Any:
    """Of one whose divisor is named first."""
    with torch.no_grad():
        value = func(*args, **kwargs)
    return _quotient(value, args[1::-1], then[1::-1])


def _quotient(value: Tensor, given: Args, then: Args) -> Tensor:
    (above, below), (above_then, below_then) = given, then
    with torch.no_grad():
        own = below.abs() >= below_then.abs()
        divisor = torch.where(own, below, below_then)
        other = torch.where(own, above_then / below_then, value)
    return standing_for(value, (above - other * below) / divisor)


def _half_way(given: Any, then: Any) -> Any:
    """What depends on the picture, moved half-way to the baseline; the way back is its own."""
    if isinstance(given, Tensor):
        return given - (given.detach() - then) / 2 if depends(given) else given
    if isinstance(given, list | tuple):
        moved = [_half_way(one, other) for one, other in zip(given, then, strict=True)]
        return moved if isinstance(given, list) else tuple(moved)
    if isinstance(given, dict):
        return {name: _half_way(one, then[name]) for name, one in given.items()}
    return given


def func_name(func: Operation) -> str:
    """An operation's own name."""
    return str(getattr(func, "__name__", func))
