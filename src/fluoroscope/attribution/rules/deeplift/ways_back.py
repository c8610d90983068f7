"""The two ways in which a rule hands multipliers to autograd, as if they were slopes."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

Made = Callable[[], tuple[Tensor, Tensor]]
"""Makes what an operation returns, and its multiplier for each element."""


def scaled(given: Tensor, made: Made) -> Tensor:
    """What an element-wise operation returns; what comes back is multiplied by the multiplier."""
    return cast(Tensor, _Scaled.apply(given, made))


def standing_for(value: Tensor, other: Tensor) -> Tensor:
    """The numbers of ``value``, a tensor of nobody else's, and the way back of ``other``."""
    return cast(Tensor, _StandingFor.apply(other, [value]))


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: Tensor, made: Made) -> Tensor:
        value, multiplier = made()
        ctx.save_for_backward(multiplier)
        return value

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (multiplier,) = ctx.saved_tensors
        return slope * multiplier, None


class _StandingFor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, other: Tensor, value: list[Tensor]) -> Tensor:
        return value[0]  # in a list, else it would be taken for a view of an argument

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope, None
