"""Guided backpropagation and deconvolution: ways back on which only what speaks for a class passes.

At each ReLU ``y = max(x, 0)`` with the gradient ``g`` that comes back to ``y``:

* plain gradient: ``g`` where ``x > 0``, else 0;
* deconvolution (Zeiler & Fergus 2013, 1311.2901): ``max(g, 0)``, wherever ``x`` is;
* guided backpropagation (Springenberg et al. 2014, 1412.6806): ``max(g, 0)`` where ``x > 0``,
  else 0.

All else is gone back through as the plain gradient does; max-pools send ``g`` to the maximum, which
are deconvolution's "switches". Both papers know ReLUs alone. For the activations that took the
ReLU's place (:data:`EXTENDED`) it is read as "what comes back is rectified": guided
backpropagation multiplies ``max(g, 0)`` by their own slope, deconvolution by 1. Coverage names
these, for no paper says so. Both methods draw edges whatever the class is (Adebayo et al. 2018,
1810.03292; Nie et al. 2018, 1805.07039): they are here to be compared with.
"""

from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.rules.mode import Operation

_NAMES = """
    relu6 hardtanh leaky_relu rrelu prelu elu selu celu gelu silu mish hardswish softplus
"""
EXTENDED = frozenset(_NAMES.split())
"""Activations that took the ReLU's place, to which the papers' rules are extended."""


def guided(func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What comes back is rectified, then goes on by the activation's own slope."""
    rectified: Tensor = _Rectified.apply(func(*args, **kwargs))
    return rectified


def deconvolution(func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What comes back is rectified, and goes on as it is."""
    given = args[0] if args else kwargs["input"]
    with torch.no_grad():
        answer = func(*args, **kwargs)
    rectified: Tensor = _RectifiedTo.apply(given, answer)
    return rectified


def guided_clamp(func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A clamp at 0 alone is a ReLU; no other is."""
    return guided(func, args, kwargs) if _is_relu(*args, **kwargs) else NotImplemented


def deconvolution_clamp(func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A clamp at 0 alone is a ReLU; no other is."""
    return deconvolution(func, args, kwargs) if _is_relu(*args, **kwargs) else NotImplemented


def _is_relu(input: Tensor, min: Any = None, max: Any = None) -> bool:
    return max is None and not isinstance(min, Tensor) and min == 0


class _Rectified(torch.autograd.Function):
    """The same numbers; only what is positive goes back."""

    @staticmethod
    def forward(ctx: Any, answer: Tensor) -> Tensor:
        return answer.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope.clamp(min=0)


class _RectifiedTo(torch.autograd.Function):
    """The answer to what was given; only what is positive goes back."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, answer: Tensor) -> Tensor:
        return answer.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope.clamp(min=0), None
