"""From the name of a recipe and its options to what is lowered, and what goes along.

A recipe is added here by one function of `RECIPES`, or of `BESIDE` for what goes along with any
training, and in `names.py` by its words.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.invertible.backwards import invertible_in
from fluoroscope.models.layers import find_layer
from fluoroscope.training.beside.averaging import WeightAverage
from fluoroscope.training.beside.awp import AdversarialWeightPerturbation
from fluoroscope.training.gates.gates import ClassGates
from fluoroscope.training.losses.adversarial import AdversarialLoss
from fluoroscope.training.losses.attacked import AttackLoss
from fluoroscope.training.losses.consistent import ConsistentLoss
from fluoroscope.training.losses.latent import LatentLoss
from fluoroscope.training.trainer.companion import Companion, Running
from fluoroscope.training.trainer.fitting import cross_entropy
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.second import SecondSource
from fluoroscope.training.trainer.step import Loss
from fluoroscope.words import count


@dataclass(frozen=True)
class Asked:
    """What a recipe is made from."""

    model: Classifier
    """The network under its own name, whose layers are found by theirs."""
    learner: nn.Module
    """What is trained of it: from images in ``[0, 1]`` to logits."""
    options: Mapping[str, Any]
    """By argument; those that were given alone."""
    moved_by: AdversarialLoss | AttackLoss | None
    """How pictures are moved against the network; ``None`` where they are not."""
    seed: int
    read: Callable[[Any], tuple[Tensor, Tensor]]
    """Other data by its name: 8-bit images ``(N, C, H, W)`` and the network's classes ``(N,)``."""
    epochs: int
    """How long it will learn."""


def _of_layer(asked: Asked, *names: str) -> dict[str, Any]:
    """What was given of these options; a layer that is not there is refused by the user's names."""
    if (layer := asked.options.get("layer")) is not None:
        find_layer(asked.model, layer)
    return {name: asked.options[name] for name in names if name in asked.options}


def _consistent(asked: Asked) -> ConsistentLoss:
    own = _of_layer(asked, "layer", "weight", "distance")
    assert asked.moved_by is not None
    return ConsistentLoss(base=asked.moved_by, **own)


def _selective(asked: Asked) -> Companion:
    from fluoroscope.training.losses.selective import SelectiveLoss

    own = _of_layer(asked, "layer", "weight")
    return SelectiveLoss(base=asked.moved_by or cross_entropy, **own)


def _gates(asked: Asked) -> ClassGates:
    """Class-specific gates; what their settings say of themselves is said of the options."""
    layer = _of_layer(asked, "layer")
    given = {
        name.removeprefix("gate_"): value
        for name, value in asked.options.items()
        if name.startswith("gate_")
    }
    try:
        found = ClassGates(**layer, **given, adversarial=asked.moved_by)
    except InvalidParameterError as problem:
        raise InvalidParameterError(f"gate_{problem}") from problem
    if found.warm_up >= asked.epochs:
        raise InvalidParameterError(
            f"gate_warm_up is {found.warm_up} and the training has {count(asked.epochs, 'epoch')}, "
            "so nothing would be gated; expected more epochs, or a shorter warm-up"
        )
    return found


def _multi_norm(asked: Asked) -> Companion:
    from fluoroscope.engine.threats import as_threat
    from fluoroscope.training.losses.multi_norm import MultiNormLoss

    given = asked.options.get("norms")
    if not given:
        raise InvalidParameterError(
            "norms is missing; recipe multi-norm expects two balls or more, such as "
            "linf:8/255,l1:12"
        )
    threats = tuple(as_threat(one.strip()) for one in given.split(","))
    renamed = {"adversarial_steps": "steps", "ramp": "ramp"}
    own = {to: asked.options[name] for name, to in renamed.items() if name in asked.options}
    return MultiNormLoss(threats=threats, **own)


def _average(asked: Asked) -> Companion:
    with _by_option("decay", "ema"):
        return WeightAverage(asked.options["ema"])


def _perturbed(asked: Asked) -> Companion:
    with _by_option("gamma", "awp"):
        return AdversarialWeightPerturbation(asked.options["awp"])


@contextmanager
def _by_option(argument: str, option: str) -> Iterator[None]:
    """What is said of an argument inside is said of the option that stands for it."""
    try:
        yield
    except InvalidParameterError as problem:
        words = str(problem).removeprefix(f"{argument} is")
        if words == str(problem):
            raise
        raise InvalidParameterError(f"{option} is{words}") from problem


RECIPES: dict[str, Callable[[Asked], Loss | Companion]] = {
    "consistent": _consistent,
    "selective": _selective,
    "gates": _gates,
    "multi-norm": _multi_norm,
}
"""What is lowered, by the recipe's name."""
BESIDE: dict[str, Callable[[Asked], Companion | Running]] = {"awp": _perturbed, "ema": _average}
"""What goes along, by the option that asks for it."""


def made(recipe: str | None, asked: Asked) -> tuple[Loss | Companion, list[Companion | Running]]:
    """What is lowered by the recipe of this name, and what goes along.

    Raises:
        InvalidParameterError: options that make no sense, or a network that the recipe is not for.
    """
    if isinstance(asked.moved_by, LatentLoss):
        invertible_in(asked.model, "adversarial latent")
    usual = asked.moved_by or cross_entropy
    loss = RECIPES[recipe](asked) if recipe in RECIPES else usual
    return loss, [make(asked) for name, make in BESIDE.items() if name in asked.options]


def second_source(asked: Asked, recipe: Recipe) -> SecondSource | None:
    """More pictures to learn from, where they are asked for.

    Raises:
        InvalidParameterError: a share of a batch that is none, or all of it.
    """
    if "second" not in asked.options:
        return None
    share = asked.options.get("second_share", SecondSource.share)
    with _by_option("share", "second_share"):  # before anything is read
        second = SecondSource(torch.zeros(0, device="cpu", dtype=torch.uint8), (), share)
        second.of_batch(recipe)
    images, labels = asked.read(asked.options["second"])
    return replace(second, images=images, labels=labels)
