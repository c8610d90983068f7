"""The rules of what is no layer, no product and no norm; what the rules of all have in common."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.rules.lrp.back import divided, gone_back, scaled, slope_of
from fluoroscope.attribution.rules.lrp.context import Context
from fluoroscope.attribution.rules.mode import Operation, depends, tensors_in

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Relay = Callable[[Context, Operation, Args, Kwargs], Any]
"""A rule: it stands in for an operation, given what the evaluation knows."""


def plain(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """The plain way back conserves: of what is linear in pieces, and winners that take all."""
    return func(*args, **kwargs)


def passed(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """Relevance passes, element by element: the slope is ``f(x) / x``."""
    x, found = alone(func, args, kwargs)
    return scaled(found, slope_of(found, x), x)


def addition(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """Each part of a sum has its share by itself; a constant keeps nothing."""
    given = list(tensors_in((args, kwargs)))
    if sum(map(depends, given)) > 1 or not _adds_something(args, kwargs):
        return func(*args, **kwargs)
    return passed(here, func, args, kwargs)


def concatenation(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """Parts have what is theirs; what a constant part has, such as a class token, the others share.

    In proportion to their size, for each picture.
    """
    parts = args[0] if args else kwargs["tensors"]
    axis = args[1] if len(args) > 1 else kwargs.get("dim", 0)
    constant = [each for each in parts if not depends(each) and bool(each.any())]
    if not constant or axis == 0:
        return func(*args, **kwargs)
    with torch.no_grad():
        found = func(*args, **kwargs)
    moving = [each for each in parts if depends(each)]
    moves = [depends(each) for each in parts]
    size = sum(each.detach().flatten(1).abs().sum(1) for each in moving)
    signs = [each.detach().sign() for each in moving]
    values = [each.detach() for each in parts]

    def back(slope: Tensor) -> list[Tensor]:
        pieces = slope.split([each.shape[axis] for each in parts], axis)
        own = [piece for piece, moved in zip(pieces, moves, strict=True) if moved]
        lost = sum(
            (piece * value).flatten(1).sum(1)
            for piece, value, moved in zip(pieces, values, moves, strict=True)
            if not moved
        )
        share = divided(lost, size)
        return [
            piece + sign * share.view(-1, *[1] * (piece.dim() - 1))
            for piece, sign in zip(own, signs, strict=True)
        ]

    return gone_back(found, back, *moving)


def alone(func: Operation, args: Args, kwargs: Kwargs) -> tuple[Tensor, Tensor]:
    """The one tensor that depends on the picture, and what the operation makes of it."""
    x = next(each for each in tensors_in((args, kwargs)) if depends(each))
    with torch.no_grad():
        found: Tensor = func(*args, **kwargs)
    return x, found.clone() if found.data_ptr() == x.data_ptr() else found


def named(names: tuple[str, ...], args: Args, kwargs: Kwargs) -> Kwargs:
    return dict(zip(names, args, strict=False)) | kwargs


def _adds_something(args: Args, kwargs: Kwargs) -> bool:
    for each in (*args, *kwargs.values()):
        if isinstance(each, Tensor):
            if not depends(each) and bool(each.any()):
                return True
        elif isinstance(each, int | float) and not isinstance(each, bool) and each != 0:
            return True
    return False


def mapped(given: Any, change: Callable[[Tensor], Any]) -> Any:
    """Arguments with every tensor changed."""
    if isinstance(given, Tensor):
        return change(given)
    if isinstance(given, list | tuple):
        made = [mapped(each, change) for each in given]
        return tuple(made) if isinstance(given, tuple) else made
    if isinstance(given, dict):
        return {name: mapped(each, change) for name, each in given.items()}
    return given
