"""What a training is where nobody says otherwise: by architecture its recipe and its loss."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from fluoroscope.engine.threats import Linf
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.training.job.augmentation import augmentation, rewrite
from fluoroscope.training.losses.adversarial import AdversarialLoss, PGDLoss
from fluoroscope.training.losses.attacked import AttackLoss
from fluoroscope.training.losses.by_name import adversarial_loss
from fluoroscope.training.trainer.recipe import Recipe

RECIPES = {
    "digits-linear": Recipe(epochs=30, batch_size=256, learning_rate=4e-3, augment=rewrite),
    "digits-cnn": Recipe(
        epochs=12,
        batch_size=128,
        learning_rate=3e-3,
        weight_decay=0.02,
        augment=partial(rewrite, coarse=0.5, shake=0.5),
    ),
    "digits-robust": Recipe(epochs=12, batch_size=64, learning_rate=4e-3),
    # Bounded layers change by what their weights' directions do, and take a higher rate.
    "invertible": Recipe(epochs=10, batch_size=64, learning_rate=1e-2, weight_decay=0.01),
}
# What the recipes lower where it is not the plain cross-entropy.
LOSSES: dict[str, AdversarialLoss] = {
    "digits-robust": PGDLoss(threat=Linf(0.3), steps=7, ramp=0.35)
}
# Of every other network; a tenth of the rate where it starts from weights that are there.
USUAL = Recipe(epochs=10, batch_size=64, learning_rate=1e-3, weight_decay=0.01)
# The share of the steps over which the radius grows, where nobody says another.
RAMP = 0.35


def recipe_of(
    name: str | None, model: Classifier, given: Mapping[str, Any], augment: str | None
) -> Recipe:
    """The recipe of the architecture of this name, with what is given in place of its own."""
    usual = USUAL if name is None else RECIPES.get(name, USUAL)
    if model.weights_from:
        usual = replace(usual, learning_rate=usual.learning_rate / 10)
    changes = {argument: value for argument, value in given.items() if value is not None}
    if augment is not None:
        changes["augment"] = augmentation(augment)
    return replace(usual, **changes)


def moved_by(
    adversarial: str | None, moving: Mapping[str, Any]
) -> AdversarialLoss | AttackLoss | None:
    """How pictures are moved against the network, where that is asked for."""
    if adversarial is not None:
        ramp = moving["ramp"]
        usual = 0.0 if moving["eps"] is None else RAMP  # of no bound, which cannot grow
        return adversarial_loss(
            adversarial,
            moving["eps"],
            steps=moving["adversarial_steps"],
            ramp=usual if ramp is None else ramp,
            targeted=bool(moving["targeted"]),
        )
    for name, value in moving.items():
        if value is not None:
            raise InvalidParameterError(
                f"{name} is {value}, but no adversarial training was asked for; expected "
                "--adversarial pgd, fgsm or trades beside it"
            )
    return None
