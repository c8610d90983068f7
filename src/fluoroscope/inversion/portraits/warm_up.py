"""Starts behind dead ReLUs: in the first steps what would open one is let through.

A portrait that excites no unit of a ReLU at all gets no gradient through it, and stays the noise
that it began as. Lucid's way out: where nothing of a sample would pass a ReLU, what pushes its
negative inputs up is let through, and of a ReLU6 what pushes those above 6 down. Where anything
passes, the gradient is the plain one. Scripted and compiled parts are not seen.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.rules.mode import Coverage, Operation, Rules

_INFINITE = float("inf")


def opened(rows: Tensor) -> Callable[[], Rules]:
    """Makes the mode of a pass in which ReLUs of those images ``(N,)``, booleans, are opened."""

    def limited(low: float, high: float) -> Any:
        def rule(func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            given = args[0] if args else kwargs["input"]
            if not given.dim() or len(given) % len(rows):
                return NotImplemented  # not of these images, one after the other
            return _Opened.apply(given, lambda: func(*args, **kwargs), rows, low, high)

        return rule

    relu, relu6 = limited(0.0, _INFINITE), limited(0.0, 6.0)

    def hardtanh(func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        low, high = _bounds(args, kwargs, "min_val", "max_val", (-1.0, 1.0))
        return limited(low, high)(func, args, kwargs) if low == 0 else NotImplemented

    def clamp(func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        low, high = _bounds(args, kwargs, "min", "max", (None, None))
        if isinstance(low, Tensor) or isinstance(high, Tensor) or low != 0:
            return NotImplemented
        return limited(low, _INFINITE if high is None else high)(func, args, kwargs)

    rules = {
        "relu": relu, "relu6": relu6, "hardtanh": hardtanh, "clamp": clamp, "clamp_min": clamp,
    }  # fmt: skip
    return lambda: Rules(rules, Coverage())


def _bounds(
    args: tuple[Any, ...], kwargs: dict[str, Any], low: str, high: str, usual: tuple[Any, Any]
) -> tuple[Any, Any]:
    return (
        args[1] if len(args) > 1 else kwargs.get(low, usual[0]),
        args[2] if len(args) > 2 else kwargs.get(high, usual[1]),
    )


class _Opened(torch.autograd.Function):
    """The same numbers; where nothing of a sample would go back, what leads inside does."""

    @staticmethod
    def forward(
        ctx: Any, given: Tensor, call: Callable[[], Tensor], rows: Tensor, low: float, high: float
    ) -> Tensor:
        answer = call()
        if answer.data_ptr() == given.data_ptr():
            answer = answer.clone()
        # It is cut off just where what was given is, which need not be kept for that.
        ctx.save_for_backward(answer, rows)
        ctx.low, ctx.high = low, high
        return answer

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None, None]:
        answer, rows = ctx.saved_tensors
        plain = torch.ops.aten.hardtanh_backward(slope, answer, ctx.low, ctx.high)
        some = plain
        while some.dim() > 2:
            some = some[..., some.shape[-1] // 2]
        # Mostly something passes at the middle already, and there is nothing to open.
        if bool((some.reshape(len(rows), -1).any(1) | ~rows).all()):
            return plain, None, None, None, None
        below, above = answer <= ctx.low, answer >= ctx.high
        inwards = (below & (slope > 0)) | (above & (slope < 0))
        dead = (plain.reshape(len(rows), -1) == 0).all(1) & rows
        open_at = dead.repeat_interleave(len(answer) // len(rows)).view(
            -1, *[1] * (answer.dim() - 1)
        )
        return torch.where(inwards & open_at, slope, plain), None, None, None, None
