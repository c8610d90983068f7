"""The rules of products, quotients, gates and attention.

Achtibat et al. 2024 (2402.05602), section 3.3: of n factors that depend on the picture each gets
``R / n``; a softmax has its gradient. That loses relevance at each softmax, so by default what a
softmax or a sigmoid weighs gets all, and its weights are held: Ali et al. 2022 (2202.07304) for
attention, "the signal takes all" of Arras et al. 2017 (1706.07206) for gates.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from fluoroscope.attribution.rules.lrp.back import gone_back, shared_out, slope_of
from fluoroscope.attribution.rules.lrp.context import Context
from fluoroscope.attribution.rules.lrp.operations import Args, Kwargs, alone, mapped, named, passed
from fluoroscope.attribution.rules.mode import Operation, depends, operation, tensors_in

# What a factor of a product is made by where it weighs the other one.
_GATES = ("Sigmoid", "Hardsigmoid", "Softmax", "Rsqrt", "SafeSoftmax")
# What passes a gate on as it is.
_MOVING = (
    "View", "UnsafeView", "ReshapeAlias", "Expand", "Unsqueeze", "Squeeze", "Permute", "Transpose",
    "T", "Clone", "Alias", "Select", "Slice", "ToCopy",
)  # fmt: skip


class Gate:
    """The way back of a squashing function, by which a product knows it."""

    def __init__(self, slope: Tensor) -> None:
        self.slope = slope

    def __call__(self, slope: Tensor) -> tuple[Tensor]:
        return (slope * self.slope,)


def gate(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """Relevance passes; where a product is weighed by it, none comes here."""
    x, found = alone(func, args, kwargs)
    return gone_back(found, Gate(slope_of(found, x)), x)


def product(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """Of factors that depend on the picture each gets the same part; a gate gets nothing.

    Achtibat et al. 2024, section 3.3.2: ``R / n`` for each of n factors. What a sigmoid or a
    softmax weighs gets all of it (Arras et al. 2017: the signal takes all; Ali et al. 2022).
    """
    factors = [each for each in tensors_in((args, kwargs)) if depends(each)]
    if len(factors) < 2:
        return func(*args, **kwargs)
    held = [each for each in factors if _is_gate(here, each)]
    if len(held) == len(factors):
        held = []
    parts = len(factors) - len(held)

    def each(given: Tensor) -> Tensor:
        if not depends(given):
            return given
        if any(given is other for other in held):
            return given.detach()
        return given if parts == 1 else shared_out(given, parts)

    args, kwargs = mapped((args, kwargs), each)
    return func(*args, **kwargs)


def quotient(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """What is divided gets all; the divisor is held."""
    above, below = args[0], args[1] if len(args) > 1 else kwargs["other"]
    if operation(func)[0] == "rdiv":
        above, below = below, above
    if not (isinstance(below, Tensor) and depends(below)):
        return func(*args, **kwargs)
    if not (isinstance(above, Tensor) and depends(above)):
        return passed(here, func, args, kwargs)
    return func(*(each.detach() if each is below else each for each in args), **kwargs)


def attention(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """Fused attention with its weights held: the values get all."""
    given = named(("query", "key", "value"), args[:3], kwargs)
    query, key, value = given.pop("query"), given.pop("key"), given.pop("value")
    if not depends(value):
        return NotImplemented
    return func(query.detach(), key.detach(), value, *args[3:], **given)


def _is_gate(here: Context, tensor: Tensor) -> bool:
    for node in _makers(tensor):
        if isinstance(getattr(node, "back", None), Gate):
            return True
        name = type(node).__name__.removesuffix("Backward0").removesuffix("Backward1")
        if name in _GATES:
            return here.how.held or "oftmax" not in name
    return False


def _makers(tensor: Tensor) -> Iterator[Any]:
    """What made a tensor, and whatever it only moved before."""
    node = tensor.grad_fn
    while node is not None:
        yield node
        name = type(node).__name__.removesuffix("Backward0").removesuffix("Backward1")
        node = node.next_functions[0][0] if name in _MOVING and node.next_functions else None
