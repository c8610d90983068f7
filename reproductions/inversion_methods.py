"""The ways to make portraits that are held against each other, all with as many gradient passes.

Most are a preset of the package, the others the recipe of the preset ``fourier`` or ``pixels`` with
something else in it. Steps and views are brought to the number of passes; what else a preset
depends on its steps by, it scales itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from torch import Tensor

import fluoroscope as fs
from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.inversion.generator.features import feature_places
from fluoroscope.inversion.portraits.parameterisations.fourier import Fourier
from fluoroscope.inversion.portraits.parameterisations.pyramid import Pyramid
from fluoroscope.inversion.portraits.places import stages
from fluoroscope.inversion.portraits.presets import PRESETS
from fluoroscope.inversion.portraits.priors.pixels import total_variation
from fluoroscope.inversion.portraits.priors.prior import LayerPrior
from fluoroscope.inversion.portraits.priors.statistics import (
    batch_norm_statistics,
    layer_statistics,
)
from fluoroscope.inversion.portraits.priors.vital import sorted_values
from fluoroscope.inversion.portraits.recipe import Recipe, Weighted

REFERENCES = 100
"""Real pictures of other classes, on which layers are measured."""
RATIO = 0.5
"""How strong a prior pulls at the start beside the goal."""


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
    """What :func:`fluoroscope.portrait` is asked for."""

    method: str | Recipe
    model: fs.Classifier
    options: dict[str, Any] = field(default_factory=dict)
    """Its other arguments."""

    @property
    def recipe(self) -> Recipe:
        """The recipe, as far as it is known before a preset is finished."""
        named = self.method
        recipe = PRESETS[named] if isinstance(named, str) else named
        changes = {each.name for each in fields(Recipe)} & set(self.options)
        return replace(recipe, **{name: self.options[name] for name in changes})

    def with_passes(self, passes: int, copies: int, each: int) -> "Asked":
        """With so many gradient passes for each portrait.

        A step has as many views as the recipe has, but no more than ``copies``, of ``each`` passes.
        """
        recipe = self.recipe
        views = max(1, min(copies, recipe.transformations.copies, passes // each))
        steps = max(1, passes // (views * each))
        changes: dict[str, Any] = {"steps": steps, "warm_up": min(recipe.warm_up, steps // 4)}
        if views != recipe.transformations.copies:
            changes["transformations"] = replace(recipe.transformations, copies=views)
        return replace(self, options=self.options | changes)

    def describe(self) -> dict[str, Any]:
        """As plain values, by which it is found again."""
        given = {name: _told(value) for name, value in self.options.items()}
        name = self.method if isinstance(self.method, str) else "recipe"
        return {"method": name, **self.recipe.describe(), "given": given}


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str
    make: Callable[[Field], Asked]
    """Raises `InvalidParameterError` where it says nothing on a network."""
    copies: int = 1
    """Views at a step, at the most: with few passes, more steps of one view lead further."""
    each: int = 1
    """Passes of a view."""
    together: bool = False
    """Whether portraits depend on each other, so that all are under way at once."""
    needs: str = ""
    """The real pictures that it is given, if any."""

    def asked(self, field: Field, passes: int) -> Asked:
        """What to ask for, with so many gradient passes for each portrait.

        Raises:
            InvalidParameterError: it says nothing on this network; says why.
        """
        return self.make(field).with_passes(passes, self.copies, self.each)


def _preset(name: str) -> Callable[[Field], Asked]:
    return lambda field: Asked(name, field.model)


def _pixels(field: Field) -> Asked:
    smooth = Weighted(total_variation(), RATIO)
    return Asked("pixels", field.model, {"priors": (smooth,)})


def _pyramid(field: Field) -> Asked:
    return Asked("fourier", field.model, {"parameterisation": Pyramid()})


def _fitted(field: Field) -> Asked:
    magnitudes = Fourier(magnitudes=True)
    return Asked("fourier", field.model, {"prior": field.fitted, "parameterisation": magnitudes})


def _batch_norm(field: Field) -> Asked:
    return Asked("fourier", field.plain, _led_by(batch_norm_statistics(field.plain)))


def _deepinversion(field: Field) -> Asked:
    batch_norm_statistics(field.plain)  # which refuses where the preset would
    return Asked("deepinversion", field.plain)


def _statistics(field: Field) -> Asked:
    return Asked("fourier", field.model, _led_by(layer_statistics(field.model, field.others)))


def _sorted(field: Field) -> Asked:
    """Without the first stage, whose maps are most of the numbers that are to be sorted."""
    blank = field.real[:1]
    places = [*stages(field.model, blank)[1:], *feature_places(field.model, blank)]
    labels = field.classes
    prior = sorted_values(field.model, field.real, places, labels=_tensor(labels))
    return Asked("fourier", field.model, _led_by(prior))


def _vital(field: Field) -> Asked:
    return Asked("vital", field.model, {"real": (field.real, _tensor(field.classes))})


def _accentuation(field: Field) -> Asked:
    return Asked("accentuation", field.model, {"start": field.stranger})


def _led_by(prior: LayerPrior) -> dict[str, Any]:
    return {"priors": (Weighted(prior, RATIO),)}


def _tensor(numbers: Sequence[int]) -> Tensor:
    import torch

    return torch.tensor(numbers)


def _told(value: Any) -> Any:
    """An argument as a plain value, by which it is told from others."""
    if isinstance(value, Tensor):
        return [list(value.shape), float(value.double().sum())]
    if isinstance(value, DataPrior):
        return [value.name, value.record]
    if isinstance(value, tuple):
        return [_told(one) for one in value]
    return value.prior.name if isinstance(value, Weighted) else repr(value)


_ONE = "the sample's picture of the class"
METHODS = (
    Method("fourier", _preset("fourier")),
    Method("pixels", _preset("pixels")),
    Method("pixels, total variation", _pixels),
    Method("fourier, batch norm", _batch_norm, together=True),
    Method("fourier, layer statistics", _statistics, together=True,
           needs=f"{REFERENCES} pictures of others"),
    Method("fourier, fitted magnitudes", _fitted, needs="statistics of 1,000 pictures"),
    Method("fourier, sorted values", _sorted, needs=_ONE),
    Method("maco", _preset("maco")),
    Method("maco-gated", _preset("maco-gated")),
    Method("pyramid", _pyramid),
    Method("das", _preset("das")),
    Method("accentuation", _accentuation, each=2, needs="a picture to start from"),
    Method("deepinversion", _deepinversion, together=True),
    Method("vital", _vital, needs=_ONE),
)  # fmt: skip
