"""A recipe: how a portrait is held, shown, judged and moved; values that compose."""

from dataclasses import dataclass, field
from typing import Any

from fluoroscope.engine.numbers import above_zero
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.objectives.classes import class_goal
from fluoroscope.inversion.portraits.objectives.goal import Goal
from fluoroscope.inversion.portraits.optimisers import Adam, Optimiser
from fluoroscope.inversion.portraits.parameterisations.parameterisation import Parameterisation
from fluoroscope.inversion.portraits.parameterisations.pixels import Pixels
from fluoroscope.inversion.portraits.priors.prior import ImagePrior, Prior
from fluoroscope.inversion.portraits.transformations import Transformations


@dataclass(frozen=True)
class Weighted:
    """A prior with its weight.

    By ``ratio`` the weight is found once, at the start: the prior's gradient at the pixels is then
    ``weight`` times as large as the goal's, in sum of absolute values (Hamblin et al. 2024,
    2402.10039); else it is the number itself.
    """

    prior: Prior
    weight: float = 1.0
    ratio: bool = True


@dataclass(frozen=True)
class Recipe:
    """How portraits are made."""

    parameterisation: Parameterisation = field(default_factory=Pixels)
    transformations: Transformations = field(default_factory=Transformations)
    goal: Goal = field(default_factory=class_goal)
    priors: tuple[Weighted, ...] = ()
    optimiser: Optimiser = field(default_factory=Adam)
    steps: int = 256
    canvas: float = 1.0
    """How many times as high and wide as the network's pictures a portrait is, unless its size is
    given; what the network sees are views of it."""
    warm_up: int = 16
    """First steps in which a portrait that excites nothing is led by open ReLUs (:mod:`.warm_up`);
    the default is Lucid's."""
    paper: str = ""
    """Where its constants come from."""

    def __post_init__(self) -> None:
        above_zero("canvas", self.canvas)
        beyond = [p for p in self.priors if isinstance(p.prior, ImagePrior) and p.prior.unbounded]
        if beyond and not self.parameterisation.cut_off:
            raise InvalidParameterError(
                f"the prior {beyond[0].prior.name!r} is given, and {self.parameterisation} holds "
                "pixels within 0 and 1 by itself, so nothing is ever outside; expected none, or "
                "Pixels() without a sigmoid"
            )
        if any(each.ratio for each in beyond):
            raise InvalidParameterError(
                f"the prior {beyond[0].prior.name!r} is weighed by ratio, and zero at the start; "
                "expected Weighted(value_range(), NUMBER, ratio=False)"
            )

        if self.optimiser.on_pixels and not self.parameterisation.cut_off:
            raise InvalidParameterError(
                f"the optimiser is {self.optimiser}, which moves pixels, and "
                f"{self.parameterisation} has other numbers; expected Pixels() without a sigmoid, "
                "or another optimiser"
            )

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "parameterisation": repr(self.parameterisation),
            "transformations": repr(self.transformations),
            "goal": str(self.goal),
            "priors": [[p.prior.name, p.weight, p.ratio] for p in self.priors],
            "optimiser": repr(self.optimiser),
            "steps": self.steps,
            "canvas": self.canvas,
            "warm_up": self.warm_up,
            "paper": self.paper,
        }
