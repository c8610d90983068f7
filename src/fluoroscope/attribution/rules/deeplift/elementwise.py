"""The rescale rule: an element's multiplier is ``(f(x) - f(b)) / (x - b)``.

Where ``x`` and ``b`` are too near for that to be told from rounding, it is the mean of the slopes
at the two, to which it tends: ``f'(x)`` where they are equal. But where the slopes differ by more
than a smooth function's would, there is a bend in between, and the ratio stays. Some functions have
a form without cancellation, such as ``1 / (sqrt(x) + sqrt(b))`` of the root.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.rules.deeplift.passes import Args, Kwargs
from fluoroscope.attribution.rules.deeplift.ways_back import scaled
from fluoroscope.attribution.rules.mode import Operation, depends, tensors_in

Function = Callable[[Tensor], Tensor]
Multiplier = Callable[[Tensor, Tensor], Tensor]
"""Of what an operation is given at the picture and at the baseline."""

# A smooth activation's slope changes by no more than so much from one place to another, for each
# unit between them.
_BEND = 4.0


def rescale(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Of any function of one number, and of numbers or weights that do not depend on the picture.

    The first argument is the one that does.
    """
    if sum(map(depends, tensors_in((args, kwargs)))) != 1:
        return NotImplemented
    first = "input" if not args else None
    given, base = (kwargs["input"], named["input"]) if first else (args[0], then[0])
    if not (isinstance(given, Tensor) and depends(given)):
        return NotImplemented

    def function(x: Tensor) -> Tensor:
        if first:
            answer: Tensor = func(**{**kwargs, "input": x})
        else:
            answer = func(x, *args[1:], **kwargs)
        return answer

    # Weights of a channel each, and bounds for each place, do not fit to some of the elements.
    alone = sum(1 for _ in tensors_in((args, kwargs))) == 1

    def made() -> tuple[Tensor, Tensor]:
        value = function(given)
        return value, multipliers(function, given, base, value, alone)

    return scaled(given, made)


def clip(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Of what is the same number or a bound: a ReLU, a ReLU6, a clamp.

    The ratio is exact, however near the two are: 1 where neither is clipped, 0 where both are.
    """
    given, base = (args[0], then[0]) if args else (kwargs["input"], named["input"])
    if sum(map(depends, tensors_in((args, kwargs)))) != 1 or not depends(given):
        return NotImplemented

    def made() -> tuple[Tensor, Tensor]:
        value = func(*args, **kwargs)
        ratio = (value - func(*then, **named)).div_(given - base)
        if not math.isfinite(ratio.sum()):  # 0 / 0, where the two are equal
            ratio = torch.where(ratio.isnan(), (value == given) & (given != 0), ratio)
        return value, ratio

    return scaled(given, made)


def by_formula(formula: Multiplier) -> Any:
    """The rule of a function of one number whose multiplier is known in closed form."""

    def rule(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
        given, base = (args[0], then[0]) if args else (kwargs["input"], named["input"])
        return scaled(given, lambda: (func(*args, **kwargs), formula(given, base)))

    return rule


def power(func: Operation, args: Args, kwargs: Kwargs, then: Args, named: Kwargs) -> Any:
    """Of ``x ** p``: by the logarithm where both are above 0, and the ratio elsewhere."""
    exponent = args[1] if len(args) > 1 else kwargs.get("exponent")
    if not isinstance(exponent, int | float):
        return rescale(func, args, kwargs, then, named)
    given, base = (args[0], then[0]) if args else (kwargs["input"], named["input"])
    return scaled(given, lambda: (func(*args, **kwargs), _of_power(given, base, float(exponent))))


def _of_power(x: Tensor, b: Tensor, p: float) -> Tensor:
    if p == 2:
        return x + b
    if p == 1:
        return torch.ones_like(x)
    apart = x - b
    ratio = (x.pow(p) - b.pow(p)) / apart
    # b^(p-1) (r^p - 1) / (r - 1) with r = x / b.
    logs = (x / b).log()
    near = b.pow(p - 1) * torch.expm1(p * logs) / torch.expm1(logs)
    near = torch.where(logs == 0, p * b.pow(p - 1), near)
    same = torch.where(apart == 0, p * x.pow(p - 1), ratio)
    return torch.where((x > 0) & (b > 0), near, same).nan_to_num_(0, 0, 0)


def of_exponential(x: Tensor, b: Tensor) -> Tensor:
    """``(exp(x) - exp(b)) / (x - b)``."""
    apart = (x - b).abs()
    share = torch.where(apart > 0, -torch.expm1(-apart) / apart, 1.0)
    return torch.maximum(x, b).exp() * share


def of_logarithm(x: Tensor, b: Tensor) -> Tensor:
    """``(log(x) - log(b)) / (x - b)``; between two zeros 0."""
    low, high = torch.minimum(x, b), torch.maximum(x, b)
    share = (high - low) / low
    return torch.where(share > 0, torch.log1p(share) / share, 1.0).div(low).nan_to_num(0, 0, 0)


def of_root(x: Tensor, b: Tensor) -> Tensor:
    """``1 / (sqrt(x) + sqrt(b))``; between two zeros 0."""
    return (x.sqrt() + b.sqrt()).reciprocal().nan_to_num(0, 0, 0)


def of_inverse_root(x: Tensor, b: Tensor) -> Tensor:
    """``(1 / sqrt(x) - 1 / sqrt(b)) / (x - b)``."""
    one, other = x.sqrt(), b.sqrt()
    return -(one * other * (one + other)).reciprocal()


def of_hard_sigmoid(x: Tensor, b: Tensor) -> Tensor:
    """A sixth of the share of the way that lies within 3 of 0."""
    return _clip(x, b, 3.0)[2].div_(6)


def of_hard_swish(x: Tensor, b: Tensor) -> Tensor:
    """Of ``x * h(x)``, half-way: ``(h(x) + h(b)) / 2 + (x + b) / 2`` times that of ``h``."""
    one, other, share = _clip(x, b, 3.0)
    return (x + b).mul_(share).add_(one).add_(other).div_(12).add_(0.5)


def _clip(x: Tensor, b: Tensor, bound: float) -> tuple[Tensor, Tensor, Tensor]:
    """Both within a bound on either side, and the share of the way between them that is."""
    one, other = x.clamp(-bound, bound), b.clamp(-bound, bound)
    share = (one - other).div_(x - b)
    if not math.isfinite(share.sum()):
        share = torch.where(share.isnan(), (x.abs() < bound).to(share), share)
    return one, other, share


def of_square(x: Tensor, b: Tensor) -> Tensor:
    """``x + b``."""
    return x + b


def of_reciprocal(x: Tensor, b: Tensor) -> Tensor:
    """``-1 / (x b)``."""
    return -(x * b).reciprocal()


def multipliers(
    function: Function, x: Tensor, b: Tensor, value: Tensor, alone: bool = True
) -> Tensor:
    """``(f(x) - f(b)) / (x - b)``, or slopes where the two are near; ``value`` is ``f(x)``.

    ``alone`` says that the function can be asked about some of the elements by themselves.
    """
    apart = x - b
    found = (value - function(b)).div_(apart)
    near = apart.abs_() < torch.finfo(x.dtype).eps ** (1 / 3)
    if not alone:
        return torch.where(near, _slopes(function, x, b, found), found)
    places = near.flatten().nonzero().squeeze(1)
    if len(places):
        slopes = _slopes(function, *(each.take(places) for each in (x, b, found)))
        found.put_(places, slopes)
    return found


def _slopes(function: Function, x: Tensor, b: Tensor, ratio: Tensor) -> Tensor:
    one, other = _slope(function, x), _slope(function, b)
    smooth = (one - other).abs() <= _BEND * (x - b).abs()
    return torch.where(smooth, (one + other) / 2, ratio)


def _slope(function: Function, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(x).sum(), x)
    return slope
