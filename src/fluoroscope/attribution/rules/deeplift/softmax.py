"""Softmax and its logarithm.

``p = exp(z - l)`` with ``l = log sum exp z``. By the rescale rule for exp ``dp = L (dz - dl)``,
where ``L`` is the logarithmic mean of ``p`` and ``p'``, ``(p - p') / (log p - log p')``. The
shares add up to 1 at both, so ``sum dp = 0`` and ``dl = sum L dz / sum L``, exactly. At equal
pictures all of it is the gradient. No exponential overflows and nothing large cancels, however far
the two are apart, which does not hold for exp, reciprocal and product one after the other.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.rules.deeplift.passes import Args, Kwargs
from fluoroscope.attribution.rules.mode import Operation

Back = Callable[[Tensor, Tensor, int], Tensor]


def softmax(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Shares along an axis."""
    return _along(func, args, kwargs, then, named, _back_softmax)


def log_softmax(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Their logarithms."""
    return _along(func, args, kwargs, then, named, _back_log_softmax)


def _along(
    func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs, back: Back
) -> Any:
    given, base = (args[0], then[0]) if args else (kwargs["input"], named["input"])
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if not isinstance(dim, int):
        return NotImplemented
    return _Along.apply(given, base, dim, lambda: func(*args, **kwargs), back)


def log_sum_exp(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """``l`` itself."""
    return _along(func, args, kwargs, then, named, _back_log_sum_exp)


class _Along(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, given: Tensor, base: Tensor, dim: int, value: Callable[[], Tensor], back: Back
    ) -> Tensor:
        logs, logs_then = given.log_softmax(dim), base.log_softmax(dim)
        apart = (logs - logs_then).abs()
        shares = torch.where(apart > 0, -torch.expm1(-apart) / apart, 1.0)
        means = shares.mul_(torch.maximum(logs, logs_then).exp())
        ctx.save_for_backward(means)  # 0 of what is masked, which is so at both
        ctx.dim, ctx.back = dim, back
        return value()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None, None]:
        (means,) = ctx.saved_tensors
        found: Tensor = ctx.back(slope.to(means.dtype), means, ctx.dim)
        return found, None, None, None, None


def _back_softmax(slope: Tensor, means: Tensor, dim: int) -> Tensor:
    middle = (slope * means).sum(dim, keepdim=True) / means.sum(dim, keepdim=True)
    return means * (slope - middle)


def _back_log_softmax(slope: Tensor, means: Tensor, dim: int) -> Tensor:
    shares = means / means.sum(dim, keepdim=True)
    return slope - shares * slope.sum(dim, keepdim=True)


def _back_log_sum_exp(slope: Tensor, means: Tensor, dim: int) -> Tensor:
    slope = slope if slope.dim() == means.dim() else slope.unsqueeze(dim)
    return means / means.sum(dim, keepdim=True) * slope
