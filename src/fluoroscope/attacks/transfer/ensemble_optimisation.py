"""The ensemble-optimisation attack: near a picture and, for several networks, of another class.

Dong, Su, Zhu and Bao 2017 (1708.05493), after Liu, Chen, Liu and Song 2017 (1611.02770): with the
members ``f_i`` of an ensemble and a wanted class ``y*``

    argmin over x* of  weight * d(x, x*) + (1/k) * sum_i cross-entropy(f_i(x*), y*)

by ``steps`` of Adam from the picture itself. ``d`` is the root mean square of the differences, or
their Euclidean length. Away from a class the cross-entropy is raised instead.

No code of theirs was published, and neither weight nor step is in what could be read of the paper.
The defaults are ours: 20 steps of Adam at 2/255, with a weight of 30 on the root mean square of
pixel values in ``[0, 1]``. A larger weight keeps pictures nearer, and some from their class.

Without a norm nothing but the distance in the sum holds a picture back; with one it is projected,
too. A network that is no ensemble is one of a single member. To end where the sum ends, and not at
the first success: ``keep="last"``.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from fluoroscope.attacks.adam import adam
from fluoroscope.attacks.attack import Method
from fluoroscope.engine.bounds import as_number
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat, Unbounded
from fluoroscope.engine.vectors import column, lengths
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.ensemble import Ensemble

Distance = Literal["rms", "l2"]
_NO_BOUND = Unbounded()


@dataclass(frozen=True)
class OptimisationState:
    """Where ``n`` searches are."""

    samples: Samples
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    mean: Tensor
    """``(n, C, H, W)``, Adam's running mean of the gradient."""
    square: Tensor
    """``(n, C, H, W)``, and of its square."""
    updates: Tensor
    """``(n,)``, steps made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class EnsembleOptimisation(Method):
    """Lower the distance and the members' mean cross-entropy together, by Adam.

    ``steps`` is how many it makes, ``step_size`` Adam's rate, ``weight`` that of the distance,
    which is ``rms`` (root mean square) or ``l2``. Of an ``fs.Ensemble`` the mean loss is taken,
    whatever mean it answers with.
    """

    threat: Threat = _NO_BOUND
    steps: int = 20
    step_size: float | str = "2/255"
    weight: float = 30.0
    distance: Distance = "rms"

    paper: ClassVar[str] = "Dong et al. 2017 (1708.05493)"
    norms: ClassVar[tuple[str, ...]] = ("none", "linf", "l2")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "steps")
        self._expect(0, "weight")
        if not as_number(self.step_size, "step_size") > 0:
            raise InvalidParameterError(f"step_size is {self.step_size}; expected more than 0")
        if self.distance not in get_args(Distance):
            raise InvalidParameterError(f"distance is {self.distance!r}; expected 'rms' or 'l2'")

    def surrogate(self, model: Classifier, seed: int) -> Classifier:
        """The ensemble with the mean of its members' losses."""
        if not isinstance(model, Ensemble) or model.average == "loss":
            return model
        return _MeanLoss(model)

    def start(self, samples: Samples) -> OptimisationState:
        """At the picture."""
        count, nothing = torch.zeros_like(samples.classes), torch.zeros_like(samples.images)
        return OptimisationState(samples, samples.images, nothing, nothing, count, count > 0)

    def ask(self, state: OptimisationState) -> Query:
        """The present pictures; after the last step nobody needs their gradient."""
        wanted = state.updates < self.steps
        objective = LOG_PROBABILITY.towards(state.samples.towards)
        return Query(state.images, wanted, objective, state.samples.classes)

    def tell(self, state: OptimisationState, answer: Answer) -> OptimisationState:
        """One step of Adam; done once the network has seen the picture after the last one."""
        done = state.updates >= self.steps
        if answer.gradient is None:
            return replace(state, done=done)
        updates = state.updates + 1
        slope = self.weight * self._slope(state.images - state.samples.images) - answer.gradient
        along, mean, square = adam(slope, state.mean, state.square, column(updates))
        moved = state.images - as_number(self.step_size, "step_size") * along
        images = self.threat.project(moved, state.samples.images)
        return replace(
            state, images=images, mean=mean, square=square, updates=updates, done=done
        )  # fmt: skip

    def _slope(self, away: Tensor) -> Tensor:
        """The derivative of the distance at each difference ``(n, C, H, W)``; of none it is 0."""
        length = column(lengths(away))
        slope = torch.where(length > 0, away / length, 0)
        return slope if self.distance == "l2" else slope / away[0].numel() ** 0.5


class _MeanLoss(Ensemble):
    """An ensemble's members, answering with their mean loss; the given one judges."""

    def __init__(self, given: Ensemble) -> None:
        super().__init__(
            given.members, average="loss", input_size=given.input_size, name=given.name
        )
        self._given = given

    @property
    def plain(self) -> Classifier:
        """What the given ensemble's plain networks say."""
        return self._given.plain
