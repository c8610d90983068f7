"""How the learning rate of a portrait changes over its steps; values that optimisers share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from fluoroscope.engine.numbers import above_zero, whole_number
from fluoroscope.training.trainer.recipe import half_cosine


@dataclass(frozen=True)
class Schedule(ABC):
    """A share of the learning rate for each step."""

    @abstractmethod
    def share(self, number: int, steps: int) -> float:
        """At the step ``number``, from 0, of ``steps``."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same all the way."""

    def share(self, number: int, steps: int) -> float:
        """All of it."""
        return 1.0


@dataclass(frozen=True)
class Cosine(Schedule):
    """Down a half cosine to nothing, after a straight way up in the first ``warm_up`` steps.

    DeepInversion and VITAL warm up for 100 steps of 2,000.

    Raises:
        InvalidParameterError: no number of steps.
    """

    warm_up: int = 0

    def __post_init__(self) -> None:
        if self.warm_up != 0:
            whole_number("warm_up", self.warm_up)

    def share(self, number: int, steps: int) -> float:
        """Up to all of it, and down."""
        if number < self.warm_up:
            return (number + 1) / self.warm_up
        return half_cosine(number - self.warm_up + 1, steps - self.warm_up)


@dataclass(frozen=True)
class Stairs(Schedule):
    """Times ``factor`` after every so many steps; Mahendran and Vedaldi's is a tenth every 40.

    Raises:
        InvalidParameterError: no step between two, or a factor that is not above 0.
    """

    every: int = 40
    factor: float = 0.1

    def __post_init__(self) -> None:
        whole_number("every", self.every)
        above_zero("factor", self.factor)

    def share(self, number: int, steps: int) -> float:
        """As much as is left."""
        return float(self.factor ** (number // self.every))
