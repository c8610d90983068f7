"""What a goal is: a number for each view of a portrait, of its logits and of layers; values that
add, subtract and multiply."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor

from fluoroscope.engine.inside import Place, Seen
from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True)
class Views:
    """Views ``(m, C, H, W)`` of portraits, as one network sees them."""

    seen: Seen
    """Logits, classes and layers of each view."""
    whose: Tensor
    """``(m,)`` ascending, the portrait of each, from 0."""
    copies: int
    """Views of each portrait, which follow each other."""
    towards: Tensor
    """``(m,)``, 1 of a portrait for its goal, -1 of one against it."""
    beside: Mapping[Place, Tensor] = field(default_factory=dict)
    """What layers make of the same views of the pictures that were started from, without a graph;
    empty where no prior asks for it."""


@dataclass(frozen=True)
class Goal:
    """A number for each view to raise."""

    name: str
    function: Callable[[Views], Tensor]
    """Gives ``(m,)``."""
    places: tuple[Place, ...] = ()
    """The layers that it reads, of the network under study."""
    together: bool = False
    """Whether it looks at several portraits at once: then they depend on each other."""
    whole: bool = False
    """Whether it needs all views of a portrait at once; else they may be seen part by part."""
    of_class: bool = False
    """Whether it speaks of the portrait's class."""
    needs_data: bool = False
    """Whether it was made of real pictures."""
    opposite: Callable[[Views], Tensor] | None = None
    """What a portrait against it raises, ``(m,)``; by default the number with its sign changed."""
    parts: tuple[tuple[float, "Goal"], ...] = ()
    """Of a sum: so many times each of several goals that are none."""

    @property
    def _parts(self) -> tuple[tuple[float, "Goal"], ...]:
        return self.parts or ((1.0, self),)

    def __call__(self, views: Views) -> Tensor:
        return self.function(views)

    def against(self, views: Views) -> Tensor:
        """What a portrait against it raises, ``(m,)``."""
        return -self(views) if self.opposite is None else self.opposite(views)

    def raised(self, views: Views) -> Tensor:
        """What each portrait raises, for the goal or against it, ``(m,)``."""
        down = views.towards < 0
        if not bool(down.any()):
            return self(views)
        if self.opposite is None:
            found = self(views)
            return torch.where(down, -found, found)
        return torch.where(down, self.opposite(views), self(views))

    def __str__(self) -> str:
        return self.name

    def __add__(self, other: "Goal") -> "Goal":
        if not isinstance(other, Goal):
            return NotImplemented
        return _sum(f"({self} + {other})", self._parts + other._parts)

    def __mul__(self, factor: float) -> "Goal":
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            return NotImplemented
        if not isfinite(factor):
            raise InvalidParameterError(f"a goal was multiplied by {factor}; expected a number")
        parts = tuple((factor * each, one) for each, one in self._parts)
        return _sum(f"{factor:g} * {self}", parts)

    __rmul__ = __mul__

    def __neg__(self) -> "Goal":
        return -1 * self

    def __sub__(self, other: "Goal") -> "Goal":
        return self + (-other) if isinstance(other, Goal) else NotImplemented


def watched(goal: Goal) -> Goal:
    """A goal whose number is told and not raised: the priors alone lead."""
    return Goal(
        f"{goal}, watched and not raised",
        lambda views: goal(views).detach(),
        goal.places,
        goal.together,
        goal.whole,
        goal.of_class,
    )


def _sum(name: str, parts: tuple[tuple[float, Goal], ...]) -> Goal:
    """So many times each of several goals."""
    goals = [one for _, one in parts]

    def function(views: Views) -> Tensor:
        return torch.stack([factor * one(views) for factor, one in parts]).sum(0)

    def opposite(views: Views) -> Tensor:
        # Less than nothing of a goal is against it: against that is the goal itself.
        found = [
            factor * one.against(views) if factor >= 0 else -factor * one(views)
            for factor, one in parts
        ]
        return torch.stack(found).sum(0)

    return Goal(
        name,
        function,
        tuple(dict.fromkeys(place for one in goals for place in one.places)),
        together=any(one.together for one in goals),
        whole=any(one.whole for one in goals),
        of_class=any(one.of_class for one in goals),
        needs_data=any(one.needs_data for one in goals),
        opposite=None if all(one.opposite is None for one in goals) else opposite,
        parts=parts,
    )
