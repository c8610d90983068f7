"""Two passes that know of each other: the baseline's, which is remembered, and the picture's.

DeepLIFT (Shrikumar, Greenside, Kundaje 2017, 1704.02685) explains a difference, f(x) - f(b). So at
each operation its rule has to know what the same call was given when the baseline went through. The
baseline goes first, and what each ruled call was given is kept, in order; then the picture goes,
and takes it out again. Nothing depends on where in a tensor the batch lies, nor on how many images
the network takes at a time.
"""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.rules.mode import (
    Coverage,
    Operation,
    Rule,
    Rules,
    depends,
    is_linear,
    tensors_in,
)
from fluoroscope.attribution.rules.parts import Parts
from fluoroscope.errors import InvalidParameterError

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
PairRule = Callable[[Operation, Args, Kwargs, Args, Kwargs], Any]
"""Given an operation, what it is called with, and what it was called with at the baseline: returns
what it returns, with a way back on which the gradient is a multiplier. ``NotImplemented`` of a call
that it is not for."""


Lifts = PairRule | Parts
"""What DeepLIFT has for an operation."""


class Tape:
    """What the baseline's calls were given, in order."""

    def __init__(self) -> None:
        self._calls: deque[tuple[str, Args, Kwargs]] = deque()

    def keep(self, name: str, args: Args, kwargs: Kwargs, *, own: bool) -> None:
        """Remember a call; copies, since the network may write into what it was given.

        ``own`` says that the first argument is a copy already, which nobody else has.
        """
        first = (args[0].detach(),) if own else _kept(args[:1])
        self._calls.append((name, (*first, *_kept(args[1:])), _kept(kwargs)))

    def take(self, name: str, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The call of the same place.

        Raises:
            InvalidParameterError: there was another.
        """
        if self._calls:
            other, then, named = self._calls.popleft()
            if other == name and _shapes((then, named)) == _shapes((args, kwargs)):
                return then, named
        raise InvalidParameterError(
            f"the network goes another way for the picture than for its baseline (at {name}); "
            "expected the same operations for both: use a method without a baseline, or "
            "integrated-gradients"
        )


class _Pass(Rules):
    """What both passes share: which calls are ruled, and how those in parts are made."""

    def __init__(self, rules: Mapping[str, Any], coverage: Coverage, tape: Tape) -> None:
        super().__init__(rules, coverage)
        self._tape = tape

    def rule_of(self, name: str, args: Args, kwargs: Kwargs) -> Rule | None:
        """None for what is linear: its gradient is its multiplier. None of complex numbers: a
        multiplier is the ratio of two real ones."""
        rule: Any = self._rules.get(name)
        if rule is None or is_linear(name, args, kwargs):
            return None
        if any(map(torch.is_complex, tensors_in((args, kwargs)))):
            return None
        if isinstance(rule, Parts):
            return partial(self.in_parts, rule)
        return partial(self._paired, name, rule)

    def _paired(
        self, name: str, rule: PairRule, func: Operation, args: Args, kwargs: Kwargs
    ) -> Any:
        raise NotImplementedError


class AtBaseline(_Pass):
    """The baseline's pass."""

    _in_place = False

    def _ruled(
        self, rule: Rule, func: Operation, args: Args, kwargs: Kwargs, in_place: bool
    ) -> Any:
        self._in_place = in_place  # then the mode has made a copy
        return super()._ruled(rule, func, args, kwargs, in_place)

    def _paired(
        self, name: str, rule: PairRule, func: Operation, args: Args, kwargs: Kwargs
    ) -> Any:
        self._tape.keep(name, args, kwargs, own=self._in_place)
        return func(*args, **kwargs)


class AtPicture(_Pass):
    """The picture's pass, whose way back has multipliers for slopes."""

    def _paired(
        self, name: str, rule: PairRule, func: Operation, args: Args, kwargs: Kwargs
    ) -> Any:
        return rule(func, args, kwargs, *self._tape.take(name, args, kwargs))


def _kept(given: Any) -> Any:
    if isinstance(given, Tensor):
        return given.detach().clone() if depends(given) else given
    if isinstance(given, list | tuple):
        made = [_kept(one) for one in given]
        return made if isinstance(given, list) else tuple(made)
    if isinstance(given, dict):
        return {name: _kept(one) for name, one in given.items()}
    return given


def _shapes(given: Any) -> list[torch.Size]:
    return [one.shape for one in tensors_in(given)]
