"""Recipes by name: a paper's own constants, and what here is ours."""

from dataclasses import fields, replace
from typing import Any

from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.known_transformations import lucid
from fluoroscope.inversion.portraits.optimisers import Adam
from fluoroscope.inversion.portraits.parameterisations.fourier import Fourier
from fluoroscope.inversion.portraits.recipe import Recipe
from fluoroscope.models.classifier import Classifier


def as_recipe(
    method: str | Recipe, model: Classifier, *, steps: int | None = None, **options: Any
) -> Recipe:
    """The recipe of that name for a network, or the value itself, with some fields changed.

    Raises:
        InvalidParameterError: no such preset, or no such field.
    """
    recipe = method if isinstance(method, Recipe) else PRESETS.get(method)
    if recipe is None:
        raise InvalidParameterError(
            f"method is {method!r}; expected one of {', '.join(PRESETS)}, or a Recipe"
        )
    known = {field.name for field in fields(Recipe)}
    for name in options:
        if name not in known:
            raise InvalidParameterError(
                f"{name} is no field of a recipe; expected one of {', '.join(sorted(known))}"
            )
    if steps is not None:
        if steps < 1:
            raise InvalidParameterError(f"steps is {steps}; expected 1 or more")
        options["steps"] = steps
    return replace(recipe, **options)


PRESETS: dict[str, Recipe] = {
    "pixels": Recipe(),
    "fourier": Recipe(
        parameterisation=Fourier(),
        transformations=lucid(),
        optimiser=Adam(learning_rate=0.05),
        steps=512,
        paper="Olah et al. 2017, with the constants of Lucid 0.3; mean and colours of the "
        "prior that is given, mid-grey and channels apart without one, are ours",
    ),
}
