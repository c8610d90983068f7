"""Fitting networks to labelled images, and hardening them."""

from fluoroscope.training.adversarial import (
    AdversarialLoss,
    FGSMLoss,
    PGDLoss,
    TRADESLoss,
    adversarial_loss,
)
from fluoroscope.training.fitting import FitStep, Moment, Recipe, accuracy, fit, fit_stream
from fluoroscope.training.run import Trained, TrainingRun, train

__all__ = [
    "AdversarialLoss",
    "FGSMLoss",
    "FitStep",
    "Moment",
    "PGDLoss",
    "Recipe",
    "TRADESLoss",
    "Trained",
    "TrainingRun",
    "accuracy",
    "adversarial_loss",
    "fit",
    "fit_stream",
    "train",
]
