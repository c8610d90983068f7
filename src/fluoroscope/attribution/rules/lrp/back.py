"""Operations with another way back, as the rules of relevance need them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Back = Callable[[Tensor], Sequence[Tensor | None]]
"""From the modified gradient at what an operation returned to those at its inputs."""

_TINY = 1e-30
"""Numbers below it count as zero where they would divide."""


class _GoneBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, found: list[Tensor], back: Back, *inputs: Tensor) -> Tensor:
        ctx.back = back
        return found[0].detach()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        return None, None, *ctx.back(slope)


def gone_back(found: Tensor, back: Back, *inputs: Tensor) -> Tensor:
    """``found`` as a function of the inputs, whose way back is ``back``."""
    # In a list, for a tensor that is given and returned would come back as a view of itself.
    made: Tensor = _GoneBack.apply([found], back, *inputs)
    return made


def way_of(tensor: Tensor) -> Any:
    """The way back that made a tensor, if one of ours did."""
    return getattr(tensor.grad_fn, "back", None)


def divided(number: Tensor, by: Tensor) -> Tensor:
    """``number / by``, and 0 where nothing is divided by."""
    if _far_from_zero(by):
        return number / by
    nothing = by.abs() < _TINY
    return (number / by.masked_fill(nothing, 1)).masked_fill_(nothing, 0)


def _far_from_zero(numbers: Tensor) -> bool:
    return numbers.numel() == 0 or float(numbers.min()) > _TINY


def scaled(found: Tensor, slope: Tensor, x: Tensor) -> Tensor:
    """``found`` as a function of ``x`` with that slope, element by element."""
    shape = x.shape
    return gone_back(found, lambda g: (as_shape(g * slope, shape),), x)


def slope_of(found: Tensor, x: Tensor) -> Tensor:
    """``found / x``, the slope by which relevance passes an element; 0 where ``x`` is."""
    return (found / x.detach()).nan_to_num_(0, 0, 0)


def shared_out(x: Tensor, parts: int) -> Tensor:
    """``x`` itself, to which only one part of so many goes back."""
    return gone_back(x.detach().clone(), lambda g: (g / parts,), x)


def as_shape(slope: Tensor, shape: torch.Size) -> Tensor:
    """A gradient at a broadcast tensor, added up to the tensor's own shape."""
    return slope if slope.shape == shape else slope.sum_to_size(shape)


def rehomed(relevance: Tensor, x: Tensor, dead: Tensor) -> Tensor:
    """The relevance of ``x`` ``(N, C, ...)`` with none left where a constant alone made it.

    What ``dead`` entries hold no input made: it goes to the others at the same place in proportion
    to their size, or, where there are none, to the whole picture's.
    """
    lost = torch.where(dead, relevance, 0)
    if not bool(lost.any()):
        return relevance
    size = x.abs().masked_fill(dead, 0)
    here, around = lost.sum(1, keepdim=True), size.sum(1, keepdim=True)
    axes = tuple(range(1, x.dim()))
    left = here.masked_fill(around > 0, 0).sum(axes, keepdim=True)
    share = divided(here, around) + divided(left, size.sum(axes, keepdim=True))
    return (relevance + size * share).masked_fill_(dead, 0)
