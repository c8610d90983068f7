"""Which real pictures portraits were made with: such ones have an advantage in many measures."""

from typing import Any

from torch import Tensor

from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.inversion.portraits.recipe import Recipe
from fluoroscope.inversion.prior_files import GREY, SHIPPED, shipped


def real_pictures(recipe: Recipe, prior: DataPrior, start: Tensor | None) -> dict[str, Any]:
    """What a record says of it.

    ``needs_data``: whether somebody had to give real pictures; ``real_pictures``: what was measured
    on these, in words; ``shipped``: the prior of the package whose statistics were begun from, for
    which nobody has to give any, or nothing.
    """
    of_package = prior.name in SHIPPED and prior is shipped(prior.name)
    nothing = prior.name == GREY and not prior.record
    words = [] if of_package or nothing else [f"statistics of {prior.name}"]
    words += [each.prior.name for each in recipe.priors if each.prior.needs_data]
    words += [recipe.goal.name] if recipe.goal.needs_data else []
    words += [] if start is None else ["a start that was given"]
    return {
        "needs_data": bool(words),
        "real_pictures": words,
        "shipped": prior.name if of_package else None,
    }
