"""The layer whose units are read where nobody names one."""

import torch
from torch import nn

from fluoroscope.attribution.cam.layers import find_place
from fluoroscope.errors import InvalidParameterError, NoGradientError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.layers import traced
from fluoroscope.neurons.reading.units import noise
from fluoroscope.words import some


def usual_layer(model: Classifier | nn.Module, size: tuple[int, int] | None = None) -> str:
    """The last layer with maps that the logits depend on; of a network without such, what gives
    its last linear layer the numbers that it adds up.

    ``size`` is the pictures' ``(height, width)`` where the network takes any. The same as
    class activation maps are read at; see :mod:`fluoroscope.attribution.cam.layers`.

    Raises:
        InvalidParameterError: it has neither.
    """
    model = as_classifier(model)
    picture = noise(model, size)
    try:
        return find_place(model, picture, None, None, gradient=True).layer
    except (InvalidParameterError, NoGradientError):
        return _before_the_last(model, picture)


def _before_the_last(model: Classifier, picture: torch.Tensor) -> str:
    """The layer whose output the last linear layer is given, or the nearest before it."""
    with torch.inference_mode(False), torch.no_grad(), traced(model) as uses:
        model(picture)
    linear = [number for number, use in enumerate(uses) if isinstance(use.layer, nn.Linear)]
    before = uses[: linear[-1]] if linear else []
    given = {id(one) for one in uses[linear[-1]].given} if linear else set()
    leaves = [use for use in before if not list(use.layer.children()) and use.output.dim() > 1]
    same = [use for use in leaves if id(use.output) in given] or leaves
    if not same:
        names = list(dict.fromkeys(use.name for use in uses))
        raise InvalidParameterError(
            f"no layer of {model.name} gives out maps, or comes before a linear one; expected a "
            f"layer's name: one of {some(names)}"
            if names
            else f"{model.name} has no layer that Python sees; expected a network of torch modules "
            "that are no ScriptModules as a whole"
        )
    return same[-1].name
