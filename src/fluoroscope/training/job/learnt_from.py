"""Which network a checkpoint goes on with: what else than its number of weights tells it apart."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from fluoroscope.models.classifier import Classifier
from fluoroscope.training.trainer.companion import Running


@dataclass(frozen=True)
class LearntFrom:
    """A network's name, how it sees pictures, and the weights that it starts from if they were
    loaded: a training with others is another one. It does nothing but stand in the checkpoint.
    """

    network: str
    seen: dict[str, Any]
    outputs: str
    weights: str | None

    @classmethod
    def of(cls, model: Classifier) -> "LearntFrom":
        """What is to be known of a network before it is trained."""
        seen = model.preprocessing.describe()
        del seen["stated_by"]
        weights = model.fingerprint()[:16] if model.weights_from else None
        return cls(model.name, seen, model.outputs, weights)

    def begin(self, module: nn.Module, classes: int) -> Running:
        """For one training."""
        running = Running()
        running.settings = self
        return running
