"""Norms by a picture's own mean and deviation: of layers, groups, instances, and by the square.

``y = (x - mean) * r`` with ``r = 1 / sqrt(v + eps)`` and ``v`` the mean of ``c ** 2``, where
``c = x - mean``. Centring is linear; ``dv`` is the mean of ``(c + c') dc``; ``dr`` follows by
rescaling, ``-dv / (s s' (s + s'))`` with ``s = 1 / r``. Of the product the difference is taken from
one side, ``dc * r + c' * dr`` or ``dc * r' + c * dr``: the side of the smaller ``r``. The two agree
where ``r = r'``. Half-way between them, large numbers would have to cancel wherever one side is
flat (a black baseline without biases has ``r = 1 / sqrt(eps)``).
"""

from typing import Any, cast

import torch
from torch import Tensor

from fluoroscope.attribution.rules.deeplift.passes import Args, Kwargs
from fluoroscope.attribution.rules.deeplift.ways_back import standing_for
from fluoroscope.attribution.rules.mode import Operation, depends, tensors_in


def layer_norm(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Over the last axes."""
    call = _call(("input", "normalized_shape", "weight", "bias", "eps"), args, kwargs)
    base = then[0] if then else named["input"]
    eps = call.get("eps", 1e-5)
    return _over_last(func, args, kwargs, call, base, eps, centred=True)


def rms_norm(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Over the last axes, not centred."""
    call = _call(("input", "normalized_shape", "weight", "eps"), args, kwargs)
    base = then[0] if then else named["input"]
    eps = call.get("eps")
    eps = torch.finfo(call["input"].dtype).eps if eps is None else eps
    return _over_last(func, args, kwargs, call, base, eps, centred=False)


def group_norm(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Over groups of channels and all places."""
    call = _call(("input", "num_groups", "weight", "bias", "eps"), args, kwargs)
    base = then[0] if then else named["input"]
    return _over_groups(func, args, kwargs, call, base, call["num_groups"])


def instance_norm(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Over all places of each channel."""
    names = ("weight", "bias", "running_mean", "running_var", "use_input_stats", "momentum", "eps")
    call = _call(("input", *names), args, kwargs)
    if not call.get("use_input_stats", True):
        return func(*args, **kwargs)  # by statistics that do not depend on the picture
    base = then[0] if then else named["input"]
    return _over_groups(func, args, kwargs, call, base, call["input"].shape[1])


def _call(names: tuple[str, ...], args: Args, kwargs: Kwargs) -> Kwargs:
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _over_last(
    func: Operation, args: Args, kwargs: Kwargs, call: Kwargs, base: Tensor, eps: float,
    *, centred: bool,
) -> Any:  # fmt: skip
    if any(depends(one) for one in tensors_in([call.get("weight"), call.get("bias")])):
        return NotImplemented
    given, axes = call["input"], len(call["normalized_shape"])
    weight = call.get("weight")
    rows = _Normed.apply(given.flatten(-axes), base.flatten(-axes), eps, centred)
    rows = rows if weight is None else rows * weight.flatten()
    return _instead(func, args, kwargs, rows.view_as(given))


def _over_groups(
    func: Operation, args: Args, kwargs: Kwargs, call: Kwargs, base: Tensor, groups: int
) -> Any:
    given, weight = call["input"], call.get("weight")
    if any(depends(one) for one in tensors_in([weight, call.get("bias")])):
        return NotImplemented
    shape = (len(given), groups, -1)
    rows = _Normed.apply(given.reshape(shape), base.reshape(shape), call.get("eps", 1e-5), True)
    rows = rows.view_as(given)
    if weight is not None:
        rows = rows * weight.view(-1, *[1] * (given.dim() - 2))
    return _instead(func, args, kwargs, rows)


def _instead(func: Operation, args: Args, kwargs: Kwargs, lifted: Tensor) -> Any:
    """What the operation itself returns, with another way back."""
    with torch.no_grad():
        value = func(*args, **kwargs)
    if isinstance(value, tuple):
        return (standing_for(value[0], lifted), *value[1:])
    return standing_for(value, lifted)


class _Normed(torch.autograd.Function):
    """Rows ``(..., D)`` normed over the last axis, with the multipliers of :mod:`.norms`."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, base: Tensor, eps: float, centred: bool) -> Tensor:
        own, other = (one - one.mean(-1, keepdim=True) if centred else one for one in (given, base))
        spread, spread_then = (
            (one.square().mean(-1, keepdim=True) + eps).sqrt() for one in (own, other)
        )
        wider = spread >= spread_then
        apart = torch.where(wider, other, own)
        slope = (spread * spread_then * (spread + spread_then) * own.shape[-1]).reciprocal()
        ctx.save_for_backward(own + other, apart, torch.maximum(spread, spread_then), slope)
        ctx.centred = centred
        return own / spread

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        total, apart, spread, steep = ctx.saved_tensors
        back = slope / spread - (slope * apart).sum(-1, keepdim=True) * steep * total
        if ctx.centred:
            back = back - back.mean(-1, keepdim=True)
        return cast(Tensor, back), None, None, None
