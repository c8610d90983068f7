"""The rules of norms: what they divide by is held, and what they add keeps nothing, by default."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.rules.lrp.back import (
    divided,
    gone_back,
    rehomed,
    slope_of,
    way_of,
)
from fluoroscope.attribution.rules.lrp.context import Context
from fluoroscope.attribution.rules.lrp.linear import Layered
from fluoroscope.attribution.rules.lrp.operations import Args, Kwargs, alone, named, passed
from fluoroscope.attribution.rules.mode import Operation


def batch_norm(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """A scale and a shift that keeps nothing.

    Straight behind a layer relevance passes, as if both were one layer, and the layer learns which
    of its outputs are turned round. Elsewhere what the shift adds is shared by the channels of a
    place, by size: to pass what belongs to a sum near 0 would blow its parts up.
    """
    x, found = alone(func, args, kwargs)
    given = named(
        ("input", "running_mean", "running_var", "weight", "bias", "training"), args, kwargs
    )
    way, weight = way_of(x), given.get("weight")
    scale = _by_channel(_scale_of(x.detach(), weight, given), x)
    if isinstance(way, Layered) and bool((scale < 0).any()):
        way.applied.sign = torch.where(scale < 0, -1.0, 1.0)
    if here.how.absorbed:
        return gone_back(found, lambda slope: (slope * scale,), x)
    if isinstance(way, Layered):
        kept, made = here.keep(x), here.keep(found)

        def passing(slope: Tensor) -> tuple[Tensor]:
            relevance = made.tensor * slope
            way.told = way.uses == 1
            if not way.told:  # what comes of others is a gradient
                relevance = rehomed(relevance, kept.tensor, kept.tensor == 0)
                relevance = slope_of(relevance, kept.tensor)
            return (relevance,)

        return gone_back(found, passing, x)
    shift = found - scale * x.detach()
    share = divided(x.detach().sign(), x.detach().abs().sum(1, keepdim=True))

    def back(slope: Tensor) -> tuple[Tensor]:
        return (slope * scale + share * (slope * shift).sum(1, keepdim=True),)

    return gone_back(found, back, x)


def _scale_of(x: Tensor, weight: Tensor | None, given: Kwargs) -> Tensor:
    """What a batch norm multiplies each channel by."""
    if given.get("training") or given.get("running_var") is None:
        variance = x.transpose(0, 1).flatten(1).var(1, correction=0)
    else:
        variance = given["running_var"]
    scale: Tensor = (variance + given.get("eps", 1e-5)).rsqrt()
    return scale if weight is None else scale * weight


def _by_channel(numbers: Tensor, x: Tensor) -> Tensor:
    return numbers.view(-1, *[1] * (x.dim() - 2))


def layer_norm(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """Over the last axes."""
    given = named(("input", "normalized_shape", "weight", "bias", "eps"), args, kwargs)
    axes = len(given["normalized_shape"])
    return _held(here, func, args, kwargs, given, lambda x: x.flatten(-axes), by_channel=False)


def group_norm(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """Over groups of channels."""
    given = named(("input", "num_groups", "weight", "bias", "eps"), args, kwargs)
    groups = given["num_groups"]
    return _held(here, func, args, kwargs, given, lambda x: x.reshape(len(x), groups, -1))


def instance_norm(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """Over the places of each channel."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats")
    given = named((*names, "momentum", "eps"), args, kwargs)
    if not given.get("use_input_stats", True):
        return passed(here, func, args, kwargs)
    return _held(here, func, args, kwargs, given, lambda x: x.flatten(2))


def _held(
    here: Context,
    func: Operation,
    args: Args,
    kwargs: Kwargs,
    given: Kwargs,
    grouped: Callable[[Tensor], Tensor],
    by_channel: bool = True,
) -> Tensor:
    """A norm whose deviation is held: linear. What its bias adds is shared by size."""
    x, found = alone(func, args, kwargs)
    flat = grouped(x.detach())
    deviation = (flat.var(-1, keepdim=True, correction=0) + given.get("eps", 1e-5)).sqrt()
    share = divided(flat.sign(), flat.abs().sum(-1, keepdim=True))
    weight, bias = (
        None if each is None else (_by_channel(each, x) if by_channel else each)
        for each in (given.get("weight"), given.get("bias"))
    )

    def back(slope: Tensor) -> tuple[Tensor]:
        weighed = grouped(slope if weight is None else slope * weight) / deviation
        made = weighed - weighed.mean(-1, keepdim=True)
        if bias is not None and not here.how.absorbed:
            made = made + share * grouped(slope * bias).sum(-1, keepdim=True)
        return (made.reshape(x.shape),)

    return gone_back(found, back, x)
