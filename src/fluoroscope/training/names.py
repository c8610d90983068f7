"""The recipes in words, and which options each takes. Imports no PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.names import UNTRAINED
from fluoroscope.models.wording import did_you_mean
from fluoroscope.words import listed

Moved = Literal["may", "must", "never", "itself"]


@dataclass(frozen=True)
class About:
    """What a recipe says of itself."""

    summary: str
    """What is learnt, in a line."""
    options: tuple[str, ...] = ()
    """Of its own, by argument."""
    moved: Moved = "may"
    """Whether it learns from pictures moved against the network, too (``adversarial``); *itself*
    where it says how."""
    with_beside: bool = True
    """Whether what goes along with a training (``BESIDE``) goes along with it."""


RECIPES: dict[str, About] = {
    "consistent": About(
        "features of a picture that agree with those of the moved one, so that units follow what "
        "pictures show",
        options=("layer", "weight", "distance"),
        moved="must",
    ),
    "invertible": About(
        "classes, by a network that can be run backwards, made for the data at hand",
        options=("scales", "blocks", "hidden", "contraction"),
    ),
    "exclude": About(
        "one class more, none of these, from noise and from what the network itself takes for "
        "digits",
        options=("outside",),
        moved="never",
        with_beside=False,
    ),
    "multi-norm": About(
        "classes, from pictures moved within several norms, one for each batch",
        options=("norms",),
        moved="itself",
    ),
    "selective": About(
        "classes, and each unit of a layer to answer to one of them",
        options=("layer", "weight"),
    ),
    "gates": About(
        "filters that each serve few classes, by a matrix of gates that is learnt beside them",
        options=(
            *("layer", "gate_density", "gate_weight", "gate_start", "gate_warm_up", "gate_every"),
            "gate_rate",
        ),
    ),
}
"""By name; without one a network learns classes by the cross-entropy, or against moved pictures."""

BESIDE: dict[str, tuple[str, ...]] = {"awp": (), "ema": (), "second": ("second_share",)}
"""What goes along with any training: by the option that asks for it, the options that belong to it.
"""

MOVING = ("eps", "adversarial_steps", "ramp", "targeted")
"""The options that say how pictures are moved."""


@dataclass(frozen=True)
class Chosen:
    """What of a training is asked for by name."""

    recipe: str | None = None
    adversarial: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the recipe and of what goes along, by argument; those that were given alone."""


def recipe_for(architecture: object, recipe: str | None) -> str | None:
    """The recipe that is asked for: that of an invertible network goes without saying."""
    return "invertible" if recipe is None and architecture in UNTRAINED else recipe


def check_recipe(name: str) -> About:
    """What a recipe says of itself.

    Raises:
        InvalidParameterError: there is none of that name; the message has the nearest.
    """
    if name not in RECIPES:
        raise InvalidParameterError(
            f"recipe is {name!r}; {did_you_mean(name, RECIPES)}expected "
            f"{listed(list(RECIPES), 'or')}, or none for the usual training"
        )
    return RECIPES[name]


def check_chosen(chosen: Chosen) -> None:
    """Refuse options that do not belong to what is asked for.

    Raises:
        InvalidParameterError: an unknown recipe, or options that do not go with it.
    """
    about = None if chosen.recipe is None else check_recipe(chosen.recipe)
    options = chosen.options
    if about is not None and about.moved == "never":
        for name in ("adversarial", *MOVING):
            value = chosen.adversarial if name == "adversarial" else options.get(name)
            if value is not None:
                raise InvalidParameterError(
                    f"{name} is {value}, and recipe {chosen.recipe} learns from no moved pictures; "
                    "expected one of the two"
                )
    if about is not None and about.moved == "itself":
        told = {"adversarial": chosen.adversarial, **options}
        for name in ("adversarial", "eps", "targeted"):
            value = told.get(name)
            if value is not None:
                raise InvalidParameterError(
                    f"{name} is {value}, and recipe {chosen.recipe} says itself how pictures are "
                    f"moved; expected --{about.options[0]} alone"
                )
    if about is not None and about.moved == "must" and chosen.adversarial is None:
        raise InvalidParameterError(
            f"adversarial is missing, and recipe {chosen.recipe} learns from moved pictures; "
            "expected how they are moved, such as fgsm or pgd"
        )
    allowed = (*MOVING, *(about.options if about else ()))
    for name, value in options.items():
        if name in allowed:
            continue
        if name in BESIDE or any(name in its for its in BESIDE.values()):
            _check_beside(name, value, chosen, about)
            continue
        homes = [recipe for recipe, its in RECIPES.items() if name in its.options]
        asked = "no recipe was asked for" if about is None else f"recipe is {chosen.recipe}"
        raise InvalidParameterError(
            f"{name} is {_said(value)}, but {asked}; expected "
            f"{listed([f'--recipe {one}' for one in homes], 'or')} beside it"
        )


def _check_beside(name: str, value: Any, chosen: Chosen, about: About | None) -> None:
    if about is not None and not about.with_beside:
        raise InvalidParameterError(
            f"{name} is {_said(value)}, and recipe {chosen.recipe} takes nothing along; expected "
            "one of the two"
        )
    if name not in BESIDE:
        [home] = [one for one, its in BESIDE.items() if name in its]
        if home not in chosen.options:
            raise InvalidParameterError(
                f"{name} is {_said(value)}, but nothing that it belongs to was asked for; expected "
                f"--{home.replace('_', '-')} beside it"
            )


def _said(value: Any) -> str:
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return repr(value[0] if several and value else value)
