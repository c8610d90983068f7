"""An attack that knows of the detector: pictures whose representation goes with the decision, too.

The ensemble-optimisation attack on one network, with one more term: while the representation is not
nearer to the mean of the wanted class than to any other's, by a margin, that is lowered as well.

    argmin over x* of  weight * d(x, x*) - log p(y*) + evasion * max(0, margin + log d_y* - log d_c)

with ``d_c`` the distance to the nearest mean of another class. That a detector withstands attacks
that do not know of it says nothing (Carlini and Wagner 2017, 1705.07263).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.attack import as_plain
from fluoroscope.attacks.transfer.ensemble_optimisation import (
    EnsembleOptimisation,
    OptimisationState,
)
from fluoroscope.engine.objectives import LOG_PROBABILITY, Objective
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.features import Features
from fluoroscope.neurons.detection.reference import Reference
from fluoroscope.neurons.reading.reduction import Reduction
from fluoroscope.neurons.reading.units import Units


@dataclass(frozen=True, kw_only=True)
class Evading(EnsembleOptimisation):
    """Lead pictures to a class, and their representation to its mean.

    ``reference`` is the detector's, of the layer of ``units`` read by ``reduction``; ``evasion``
    weighs its part of the sum, and ``margin`` is how much nearer the wanted class is to be: as much
    as is usual of real pictures and their class, to pass for one.
    """

    weight: float = 10.0
    steps: int = 100
    reference: Reference
    units: Units
    reduction: Reduction
    evasion: float = 10.0
    margin: float = 0.1

    paper: ClassVar[str] = "after Carlini and Wagner 2017 (1705.07263)"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(0, "evasion", "margin")

    @property
    def stated(self) -> dict[str, Any]:
        """Its name and parameters as plain values; of what it knows, where that is from."""
        plain = {
            name: as_plain(value)
            for name, value in vars(self).items()
            if name not in ("reference", "units", "reduction")
        }
        known = {"layer": self.units.layer, "reduction": str(self.reduction)}
        return {"attack": type(self).__name__, "parameters": plain | known}

    def surrogate(self, model: Classifier, seed: int) -> Classifier:
        """The network with the distance to each class's mean beside its logits."""
        return Features(model.plain, self.units.layer, self._distances)

    def start(self, samples: Samples) -> OptimisationState:
        """At the picture.

        Raises:
            InvalidParameterError: away from a class.
        """
        if bool((samples.towards < 0).any()):
            raise InvalidParameterError(
                "targeted is False; an attack that evades a detector leads to a class: expected "
                "targeted=True"
            )
        return super().start(samples)

    def ask(self, state: OptimisationState) -> Query:
        """The present pictures."""
        wanted = state.updates < self.steps
        return Query(state.images, wanted, self._objective, state.samples.classes)

    def _distances(self, output: Tensor) -> Tensor:
        return self.reference.distances(self.reduction(self.units, output))

    @property
    def _objective(self) -> Objective:
        def value(columns: Tensor, classes: Tensor) -> Tensor:
            logits, apart = columns.tensor_split([columns.shape[1] // 2], 1)
            own = apart.gather(1, classes[:, None]).squeeze(1).log()
            other = apart.scatter(1, classes[:, None], torch.inf).amin(1).log()
            return LOG_PROBABILITY(logits, classes) - self.evasion * (
                (self.margin + own - other).clamp(min=0)
            )

        return Objective("log-probability and nearness", value)
