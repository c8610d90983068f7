"""Linear operations as the rules see them: an input, weights, and a bias."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from fluoroscope.attribution.rules.lrp.context import Context
from fluoroscope.attribution.rules.mode import Operation, depends, operation

Kind = Literal["conv", "depthwise", "dense"]


@dataclass(frozen=True)
class Layer:
    """``apply(x, weights) + bias``, linear in both; ``x`` alone depends on the picture."""

    apply: Callable[[Tensor, Tensor], Tensor]
    x: Tensor
    weights: Tensor
    kind: Kind
    bias: Tensor | None = None
    """In the shape in which it is added to what comes out."""
    fused: Callable[[Tensor], Tensor] | None = None
    """All of it in one call, where there is a bias."""

    def whole(self, x: Tensor) -> Tensor:
        """What the layer makes of ``x``."""
        return self.apply(x, self.weights) if self.fused is None else self.fused(x)


def as_layer(func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Layer | None:
    """The operation as a layer; ``None`` where more than its input depends on the picture."""
    name, _ = operation(func)
    if name.startswith("conv") or name == "linear":
        return _with_bias(name, func, args, kwargs)
    if name == "einsum" and len(args) == 3:
        return _of_two(lambda one, other: func(args[0], one, other), *args[1:])
    if name in ("matmul", "mm", "bmm", "mv", "rmatmul") and len(args) == 2:
        return _of_two(func, *args)
    if name in ("addmm", "baddbmm") and len(args) == 3 and not kwargs and not depends(args[0]):
        plain = _of_two(torch.mm if name == "addmm" else torch.bmm, *args[1:])
        if plain is not None:
            fused = _with_input(func, args, plain.x)
            return replace(plain, bias=args[0], fused=fused)
    return None


def _with_input(func: Operation, args: tuple[Any, ...], x: Tensor) -> Callable[[Tensor], Tensor]:
    """The operation as a function of the one argument that is ``x``."""
    return lambda given: func(*(given if each is x else each for each in args))


def _of_two(product: Operation, one: Any, other: Any) -> Layer | None:
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)) or depends(one) == depends(
        other
    ):
        return None
    if depends(one):
        return Layer(product, one, other, "dense")
    return Layer(lambda x, w: product(w, x), other, one, "dense")


def _with_bias(
    name: str, func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Layer | None:
    names = ("input", "weight", "bias")
    given = dict(zip(names, args, strict=False)) | {
        key: kwargs[key] for key in names if key in kwargs
    }
    rest, options = args[3:], {key: kwargs[key] for key in kwargs if key not in names}
    x, weights, bias = given["input"], given["weight"], given.get("bias")
    if not depends(x) or depends(weights) or (bias is not None and depends(bias)):
        return None

    def apply(x: Tensor, weights: Tensor) -> Tensor:
        found: Tensor = func(x, weights, None, *rest, **options)
        return found

    def fused(x: Tensor) -> Tensor:
        found: Tensor = func(x, weights, bias, *rest, **options)
        return found

    kind: Kind = "dense" if name == "linear" else "conv"
    if kind == "conv":
        channels = x.shape[1 - weights.dim()]
        # One input for each group: the second axis has a group's inputs, but if transposed all.
        groups = channels if "transpose" in name else channels // weights.shape[1]
        given_groups = (
            rest[3 if "transpose" not in name else 4]
            if len(rest) > 4
            else options.get("groups", groups)
        )
        kind = "depthwise" if 1 < channels == groups == given_groups else "conv"
    shape = (
        None
        if bias is None
        else (bias if kind == "dense" else bias.view(-1, *[1] * (weights.dim() - 2)))
    )
    return Layer(apply, x, weights, kind, shape, None if bias is None else fused)


class Applied:
    """A layer that was gone through, with what its rule needs for the way back."""

    def __init__(self, here: Context, layer: Layer) -> None:
        self.layer = layer
        self._gone = Through(layer.whole, layer.x)
        self._x, self._y = here.keep(layer.x), here.keep(self._gone.found)
        self.sign: Tensor | None = None
        """-1 for outputs that the batch norm behind turns round, else 1."""

    @property
    def x(self) -> Tensor:
        """What went in."""
        return self._x.tensor

    @property
    def y(self) -> Tensor:
        """What came out."""
        return self._y.tensor

    @property
    def z(self) -> Tensor:
        """What came out without the bias: the sum of all contributions."""
        return self.y if self.layer.bias is None else self.y - self.layer.bias

    def back(self, slope: Tensor) -> Tensor:
        """The plain way back."""
        return self._gone.back(slope)

    def through(self, x: Tensor, weights: Tensor) -> "Through":
        """The same operation at another input and with other weights."""
        return Through(lambda each: self.layer.apply(each, weights), x)


class Through:
    """A linear operation at an input, and its way back."""

    def __init__(self, apply: Callable[[Tensor], Tensor], x: Tensor) -> None:
        with torch.enable_grad():
            self._leaf = x.detach().requires_grad_()
            self._out = apply(self._leaf)
        self.found = self._out.detach()

    def back(self, slope: Tensor) -> Tensor:
        """From a slope at what came out to that at the input."""
        (found,) = torch.autograd.grad(self._out, self._leaf, slope, retain_graph=True)
        return found
