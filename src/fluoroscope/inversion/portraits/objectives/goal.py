"""What a goal is: a number for each view of a portrait, of its logits and of layers; values that
add, subtract and multiply."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fluoroscope.engine.inside import Place, Seen


@dataclass(frozen=True)
class Views:
    """Views ``(m, C, H, W)`` of portraits, as one network sees them."""

    seen: Seen
    """Logits, classes and layers of each view."""
    whose: Tensor
    """``(m,)`` ascending, the portrait of each, from 0."""
    copies: int
    """Views of each portrait, which follow each other."""


@dataclass(frozen=True)
class Goal:
    """A number for each view to raise; the sign of a portrait's direction is not its own matter."""

    name: str
    function: Callable[[Views], Tensor]
    """Gives ``(m,)``."""
    places: tuple[Place, ...] = ()
    """The layers that it reads."""
    together: bool = False
    """Whether it looks at several portraits at once: then they depend on each other."""

    def __call__(self, views: Views) -> Tensor:
        return self.function(views)

    def __str__(self) -> str:
        return self.name

    def __add__(self, other: "Goal") -> "Goal":
        return Goal(
            f"({self} + {other})",
            lambda views: self(views) + other(views),
            tuple(dict.fromkeys(self.places + other.places)),
            self.together or other.together,
        )

    def __mul__(self, factor: float) -> "Goal":
        return Goal(
            f"{factor:g} * {self}", lambda views: factor * self(views), self.places, self.together
        )

    __rmul__ = __mul__

    def __neg__(self) -> "Goal":
        return -1 * self

    def __sub__(self, other: "Goal") -> "Goal":
        return self + (-other)
