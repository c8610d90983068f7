"""Where rules are applied: at each operation, whoever calls it and however it is spelled.

``nn.ReLU``, ``F.relu``, ``torch.relu``, ``x.relu_()``, a module that is used twice: all of them end
in one call that ``torch.overrides.TorchFunctionMode`` sees. So no module is hooked, rewritten or
left changed. What runs below it is not seen: scripted and compiled parts, and the inside of
operations written in C++ or as an ``autograd.Function``. A mode belongs to its thread.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fluoroscope.attribution.rules.operations import LINEAR, PRODUCTS
from fluoroscope.attribution.rules.parts import Parts

Operation = Callable[..., Any]
Rule = Callable[[Operation, tuple[Any, ...], dict[str, Any]], Any]
"""Stands in for an operation: given it and what it is called with, returns what it returns, with
another way back; or ``NotImplemented`` of a call that it is not for. It never works in place, and
neither does the operation that it is given: the mode copies what an in-place call was to write."""

# One name for one operation.
_SAME = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add_", "__sub__": "sub", "__isub__": "sub_",
    "__rsub__": "rsub", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul_", "multiply": "mul",
    "__truediv__": "div", "__itruediv__": "div_", "__rtruediv__": "rdiv", "__rdiv__": "rdiv",
    "true_divide": "div", "divide": "div", "subtract": "sub", "__matmul__": "matmul",
    "__rmatmul__": "rmatmul", "__pow__": "pow", "__rpow__": "rpow", "__neg__": "neg",
    "negative": "neg", "absolute": "abs", "__abs__": "abs", "_softmax": "softmax",
    "native_layer_norm": "layer_norm", "clip": "clamp",
    "_log_softmax": "log_softmax", "_threshold": "threshold",
}  # fmt: skip


# Arguments that hold no tensor.
_PLAIN = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, torch.Size})


@dataclass
class Coverage:
    """Which operations that depend on the picture had a rule, by name and how often."""

    handled: Counter[str] = field(default_factory=Counter)
    """With a rule of their own."""
    extended: Counter[str] = field(default_factory=Counter)
    """Those of them to which the rule was extended, beyond what its paper says."""
    linear: Counter[str] = field(default_factory=Counter)
    """That need none, since they are linear or only move numbers."""
    missed: Counter[str] = field(default_factory=Counter)
    """Without one: there the way back is the plain gradient's."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Functions with a way back of their own, which no mode sees; found in the graph."""

    def describe(self) -> dict[str, dict[str, int]]:
        """As plain values."""
        return {name: dict(sorted(kind.items())) for name, kind in vars(self).items()}


class Rules(TorchFunctionMode):
    """Inside, operations follow their rules.

    Args:
        rules: by the operation's name, without the underscore of in-place calls.
        coverage: where it is noted what had a rule.
        extended: operations whose rule goes beyond what its paper says.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        coverage: Coverage,
        extended: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._rules, self._coverage, self._extended = rules, coverage, extended

    def __torch_function__(
        self,
        func: Operation,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name, in_place = operation(func, kwargs)
        rule = self.rule_of(name, args, kwargs)
        if rule is not None and any(map(depends, tensors_in((args, kwargs)))):
            found = self._ruled(rule, func, args, kwargs, in_place)
            if found is not NotImplemented:
                self._coverage.handled[name] += 1
                if name in self._extended:
                    self._coverage.extended[name] += 1
                return found
        linear = is_linear(name, args, kwargs)
        found = func(*args, **kwargs)
        if name != "__get__" and any(map(depends, tensors_in((found,)))):
            (self._coverage.linear if linear else self._coverage.missed)[name] += 1
        return found

    def rule_of(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Rule | None:
        """The rule of a call, if there is one."""
        return self._rules.get(name)

    def in_parts(
        self, rule: Parts, func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """An operation written out in others, with the rules that these have."""
        own, self._coverage = self._coverage, Coverage()
        try:
            with self:
                found = rule.written_out(*args, **kwargs)
        finally:
            parts, self._coverage = self._coverage, own
        own.missed.update(parts.missed)
        return found

    def _ruled(
        self,
        rule: Rule,
        func: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        in_place: bool,
    ) -> Any:
        if not in_place:
            return rule(func, args, kwargs)
        # A copy is worked on, and what comes of it written where the call would have: so views
        # and other names of the tensor see it, and what the rule has saved stays as it was.
        written = args[0]
        if "inplace" in kwargs:
            kwargs = {**kwargs, "inplace": False}
        else:
            func = _on_a_copy(func)
        made = rule(func, (written.clone(), *args[1:]), kwargs)
        if made is not NotImplemented:
            written.copy_(made)
            made = written
        return made


def _on_a_copy(func: Operation) -> Operation:
    """An operation that works in place, made one that does not."""
    return lambda written, *args, **kwargs: func(written.clone(), *args, **kwargs)


def operation(func: Operation, kwargs: Mapping[str, Any] | None = None) -> tuple[str, bool]:
    """The one name of an operation, and whether this call works in place."""
    name = str(getattr(func, "__name__", func)).partition(".")[0]
    name = _SAME.get(name, name)
    in_place = bool(kwargs and kwargs.get("inplace"))
    if name.endswith("_") and not name.endswith("__"):
        name, in_place = name[:-1], True
        name = _SAME.get(name, name)
    return name, in_place


def is_linear(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call is linear in what depends on the picture."""
    if name == "batch_norm" and (kwargs.get("training") or any(one is True for one in args[5:6])):
        return False  # by the batch's own statistics
    if name not in PRODUCTS:
        return name in LINEAR
    factors = sum(map(depends, tensors_in((args, dict(kwargs)))))
    return factors == 1 and (name != "div" or any(map(depends, tensors_in(args[:1]))))


def tensors_in(given: Any) -> Iterator[Tensor]:
    """All tensors among arguments, those in lists, tuples and dictionaries too."""
    found: list[Tensor] = []
    _collect(given, found)
    return iter(found)


def _collect(given: Any, found: list[Tensor]) -> None:
    # To ask whether a number is a tensor takes as long as a small operation.
    kind = type(given)
    if kind is Tensor:
        found.append(given)
    elif kind is tuple or kind is list:
        for one in given:
            _collect(one, found)
    elif kind is dict:
        _collect([*given.values()], found)
    elif kind in _PLAIN:
        return
    elif isinstance(given, Tensor):
        found.append(given)
    elif isinstance(given, list | tuple | dict):
        _collect([*(given.values() if isinstance(given, dict) else given)], found)


def depends(tensor: Tensor) -> bool:
    """Whether a tensor depends on the picture: no weight does, for all are frozen."""
    return torch.is_grad_enabled() and tensor.requires_grad
