"""Fitting networks to labelled images, and hardening them."""

from fluoroscope.training.classification import accuracy
from fluoroscope.training.fitting import fit, fit_stream
from fluoroscope.training.gates.gates import ClassGates
from fluoroscope.training.gates.matrix import GateMatrix, load_gates
from fluoroscope.training.losses.adversarial import (
    AdversarialLoss,
    FGSMLoss,
    PGDLoss,
    TRADESLoss,
)
from fluoroscope.training.losses.attacked import AttackLoss, attack_loss
from fluoroscope.training.losses.by_name import adversarial_loss
from fluoroscope.training.losses.consistent import ConsistentLoss, feature_distance
from fluoroscope.training.recipe import Recipe
from fluoroscope.training.run import Trained, TrainingRun, train
from fluoroscope.training.step import FitStep, Moment

__all__ = [
    "AdversarialLoss",
    "AttackLoss",
    "ClassGates",
    "ConsistentLoss",
    "FGSMLoss",
    "FitStep",
    "GateMatrix",
    "Moment",
    "PGDLoss",
    "Recipe",
    "TRADESLoss",
    "Trained",
    "TrainingRun",
    "accuracy",
    "adversarial_loss",
    "attack_loss",
    "feature_distance",
    "fit",
    "fit_stream",
    "load_gates",
    "train",
]
