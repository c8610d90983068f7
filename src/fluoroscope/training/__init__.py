"""Fitting networks to labelled images, and hardening them."""

from typing import TYPE_CHECKING, Any

from fluoroscope.lazy import public

if TYPE_CHECKING:
    from fluoroscope.training.beside.averaging import WeightAverage
    from fluoroscope.training.beside.awp import AdversarialWeightPerturbation
    from fluoroscope.training.beside.watching import Watch
    from fluoroscope.training.gates.gates import ClassGates
    from fluoroscope.training.gates.matrix import GateMatrix, load_gates
    from fluoroscope.training.job.run import TrainingRun, train
    from fluoroscope.training.job.trained import Trained
    from fluoroscope.training.losses.adversarial import (
        AdversarialLoss,
        FGSMLoss,
        PGDLoss,
        TRADESLoss,
    )
    from fluoroscope.training.losses.attacked import AttackLoss, attack_loss
    from fluoroscope.training.losses.by_name import adversarial_loss
    from fluoroscope.training.losses.consistent import ConsistentLoss, feature_distance
    from fluoroscope.training.losses.mart import MARTLoss
    from fluoroscope.training.losses.multi_norm import MultiNormLoss
    from fluoroscope.training.trainer.classification import accuracy
    from fluoroscope.training.trainer.fitting import fit, fit_stream
    from fluoroscope.training.trainer.recipe import Recipe
    from fluoroscope.training.trainer.second import SecondSource
    from fluoroscope.training.trainer.step import FitStep, Moment

_HOMES = {
    "AdversarialLoss": "losses.adversarial",
    "AdversarialWeightPerturbation": "beside.awp",
    "AttackLoss": "losses.attacked",
    "ClassGates": "gates.gates",
    "ConsistentLoss": "losses.consistent",
    "FGSMLoss": "losses.adversarial",
    "FitStep": "trainer.step",
    "GateMatrix": "gates.matrix",
    "MARTLoss": "losses.mart",
    "Moment": "trainer.step",
    "MultiNormLoss": "losses.multi_norm",
    "PGDLoss": "losses.adversarial",
    "Recipe": "trainer.recipe",
    "SecondSource": "trainer.second",
    "TRADESLoss": "losses.adversarial",
    "Trained": "job.trained",
    "TrainingRun": "job.run",
    "Watch": "beside.watching",
    "WeightAverage": "beside.averaging",
    "accuracy": "trainer.classification",
    "adversarial_loss": "losses.by_name",
    "attack_loss": "losses.attacked",
    "feature_distance": "losses.consistent",
    "fit": "trainer.fitting",
    "fit_stream": "trainer.fitting",
    "load_gates": "gates.matrix",
    "train": "job.run",
}
__all__ = [
    "AdversarialLoss",
    "AdversarialWeightPerturbation",
    "AttackLoss",
    "ClassGates",
    "ConsistentLoss",
    "FGSMLoss",
    "FitStep",
    "GateMatrix",
    "MARTLoss",
    "Moment",
    "MultiNormLoss",
    "PGDLoss",
    "Recipe",
    "SecondSource",
    "TRADESLoss",
    "Trained",
    "TrainingRun",
    "Watch",
    "WeightAverage",
    "accuracy",
    "adversarial_loss",
    "attack_loss",
    "feature_distance",
    "fit",
    "fit_stream",
    "load_gates",
    "train",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    return public(__name__, _HOMES, name)
