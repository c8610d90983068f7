"""The ways to make portraits that are held against each other, all with as many gradient passes.

Each is a recipe, most of them a preset's, whose steps and views are brought to the same number of
passes; a schedule's first steps shrink with them.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

import fluoroscope as fs
from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.inversion.portraits.known_transformations import direct_ascent, lucid, maco
from fluoroscope.inversion.portraits.optimisers import Adam
from fluoroscope.inversion.portraits.parameterisations.direct_ascent import DirectAscent
from fluoroscope.inversion.portraits.parameterisations.fourier import Fourier
from fluoroscope.inversion.portraits.parameterisations.maco import MACO
from fluoroscope.inversion.portraits.parameterisations.pyramid import Pyramid
from fluoroscope.inversion.portraits.presets import PRESETS
from fluoroscope.inversion.portraits.priors.pixels import total_variation
from fluoroscope.inversion.portraits.priors.prior import LayerPrior
from fluoroscope.inversion.portraits.priors.statistics import (
    batch_norm_statistics,
    layer_statistics,
)
from fluoroscope.inversion.portraits.priors.vital import sorted_values
from fluoroscope.inversion.portraits.recipe import Recipe, Weighted


@dataclass(frozen=True)
class Field:
    """A network, and the real pictures that methods may be given."""

    name: str
    plain: fs.Classifier
    """As it was loaded, with its batch norms."""
    classes: tuple[int, ...]
    real: Tensor
    """``(N, C, H, W)``, a picture of each class."""
    others: Tensor
    """Of other classes."""
    fitted: DataPrior
    """Measured on pictures of all classes."""
    stranger: Tensor
    """``(C, H, W)``, a picture of none of the classes."""

    @cached_property
    def model(self) -> fs.Classifier:
        """Folded, for speed."""
        return fs.prepare(self.plain)


@dataclass(frozen=True)
class Asked:
    """What :func:`fluoroscope.portrait` is asked for, of some of the classes."""

    recipe: Recipe
    model: fs.Classifier
    classes: tuple[int, ...]
    start: Tensor | None = None
    prior: DataPrior | None = None

    def describe(self) -> dict[str, Any]:
        """As plain values, for a name."""
        return {
            **self.recipe.describe(),
            "classes": self.classes,
            "start": None if self.start is None else float(self.start.double().sum()),
            "fitted": None if self.prior is None else self.prior.record,
        }


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str
    make: Callable[[Field], list[Recipe | Asked]]
    """Raises `InvalidParameterError` where it says nothing on a network."""
    copies: int = 1
    """Views at a step, at the most."""
    needs: str = ""
    """The real pictures that it is given, if any."""

    def asked(self, field: Field, passes: int) -> list[Asked]:
        """What to ask for, with so many gradient passes for each portrait.

        Raises:
            InvalidParameterError: it says nothing on this network; says why.
        """
        found = []
        for each in self.make(field):
            one = each if isinstance(each, Asked) else Asked(each, field.model, field.classes)
            found.append(replace(one, recipe=with_passes(one.recipe, passes, self.copies)))
        return found


def with_passes(recipe: Recipe, passes: int, copies: int) -> Recipe:
    """A recipe of so many gradient passes: as many views as it has, but no more than ``copies``."""
    views = max(1, min(copies, recipe.transformations.copies, passes))
    steps = max(1, passes // views)
    optimiser = recipe.optimiser
    schedule = getattr(optimiser, "schedule", None)
    if is_dataclass(schedule) and not isinstance(schedule, type):
        shrunk = {
            one.name: round(getattr(schedule, one.name) * steps / recipe.steps)
            for one in fields(schedule)
            if one.name == "warm_up"
        }
        kept: Any = optimiser
        optimiser = replace(kept, schedule=replace(schedule, **shrunk))
    transformations = replace(recipe.transformations, copies=views)
    return replace(
        recipe,
        transformations=transformations,
        optimiser=optimiser,
        steps=steps,
        warm_up=min(recipe.warm_up, steps // 4),
    )


FOURIER = replace(PRESETS["fourier"], parameterisation=Fourier(), transformations=lucid())


def _pixels(field: Field) -> list[Recipe | Asked]:
    return [PRESETS["pixels"]]


def _smooth_pixels(field: Field) -> list[Recipe | Asked]:
    return [replace(PRESETS["pixels"], priors=(Weighted(total_variation(), 0.5),))]


def _fourier(field: Field) -> list[Recipe | Asked]:
    return [FOURIER]


def _fitted(field: Field) -> list[Recipe | Asked]:
    return [Asked(FOURIER, field.model, field.classes, prior=field.fitted)]


def _maco(field: Field) -> list[Recipe | Asked]:
    return [_preset("maco", Recipe(MACO(), maco(), optimiser=Adam(0.1)))]


def _gated(field: Field) -> list[Recipe | Asked]:
    (one,) = _maco(field)
    assert isinstance(one, Recipe)
    held: Any = one.parameterisation
    return [replace(one, parameterisation=replace(held, gate=True))]


def _pyramid(field: Field) -> list[Recipe | Asked]:
    return [replace(FOURIER, parameterisation=Pyramid(), paper="")]


def _direct(field: Field) -> list[Recipe | Asked]:
    return [_preset("das", Recipe(DirectAscent(every=4), direct_ascent(), optimiser=Adam(0.02)))]


def _batch_norm(field: Field) -> list[Recipe | Asked]:
    prior = batch_norm_statistics(field.plain)
    recipe = replace(FOURIER, priors=(Weighted(prior, 0.5),))
    return [Asked(recipe, field.plain, field.classes)]


def _statistics(field: Field) -> list[Recipe | Asked]:
    prior = layer_statistics(field.model, field.others)
    return [replace(FOURIER, priors=(Weighted(prior, 0.5),))]


def _sorted(field: Field) -> list[Recipe | Asked]:
    found: list[Recipe | Asked] = []
    for place, one in enumerate(field.classes):
        prior = sorted_values(field.model, field.real[place : place + 1])
        recipe = replace(FOURIER, priors=(Weighted(prior, 1.0),))
        found.append(Asked(recipe, field.model, (one,)))
    return found


def _preset(name: str, otherwise: Recipe) -> Recipe:
    return PRESETS.get(name, otherwise)


REFERENCES = 200
METHODS = (
    Method("pixels", _pixels),
    Method("pixels, total variation", _smooth_pixels),
    Method("Fourier, power law", _fourier),
    Method("Fourier, batch norm", _batch_norm),
    Method("Fourier, layer statistics", _statistics, needs=f"{REFERENCES} pictures of others"),
    Method("MACO", _maco, copies=2),
    Method("MACO, gated", _gated, copies=2),
    Method("pyramid", _pyramid),
    Method("direct ascent", _direct, copies=2),
    Method("Fourier, fitted", _fitted, needs="1,000 pictures"),
    Method("sorted values", _sorted, needs="a picture of the class"),
)


def together(recipe: Recipe) -> bool:
    """Whether portraits of a batch depend on each other."""
    kinds = [each.prior for each in recipe.priors]
    goals = [recipe.goal, *(each.penalty for each in kinds if isinstance(each, LayerPrior))]
    return any(goal.together for goal in goals)
