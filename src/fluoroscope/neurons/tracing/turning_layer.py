"""The layer at which units are looked at that may change sides, where nobody names one.

Where only a pooling and fixed weights come after units that are never below 0, each speaks for one
of two classes in all pictures, whatever happens: so it is at what follows the last activation of
most convolutional networks. The last layer before that whose units are still mixed tells who turns.
"""

import torch
from torch import Tensor, nn

from fluoroscope.errors import FluoroscopeError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import Use, traced
from fluoroscope.neurons.reading.units import Units, find_units, noise
from fluoroscope.neurons.reading.usual import usual_layer
from fluoroscope.neurons.tracing.ablation import Ablation, as_put, pair_margin
from fluoroscope.neurons.tracing.closed import closed_effects, never_below


def turning_layer(
    model: Classifier, size: tuple[int, int] | None = None
) -> tuple[str, int | None, str]:
    """Its name, which use of it counts, and why it is not the usual one, if it is not.

    It is :func:`.usual.usual_layer`, or, if no unit can turn there, the last layer before it at
    which one can; where there is none it stays with the usual one.

    Raises:
        InvalidParameterError: there is no usual layer.
    """
    usual = usual_layer(model, size)
    picture = noise(model, size)
    units = find_units(model, usual, None, size)
    asked = Ablation(model, picture, units, as_put(model, units, "zero"))
    if closed_effects(asked, _margin) is None or not never_below(asked):
        return usual, None, ""
    for use, call in _before(model, usual, picture):
        if _mixes(model, use.name, call, size, picture, units):
            return use.name, call, (
                f": the last at which units can change sides, for those of {usual!r} are never "
                "below 0 and come to the logits by fixed weights"
            )  # fmt: skip
    return usual, None, ""


_margin = pair_margin((0, 1))


def _before(model: Classifier, usual: str, picture: Tensor) -> list[tuple[Use, int | None]]:
    """Uses of layers before the last one of a layer, the latest first; of what is handed on as it
    is the outermost."""
    with torch.inference_mode(False), torch.no_grad(), traced(model) as uses:
        model(picture)
    end = max(place for place, use in enumerate(uses) if use.name == usual)
    calls = {use.name: use.call for use in uses}
    seen, found = {id(uses[end].output)}, []
    for use in reversed(uses[:end]):
        if id(use.output) not in seen and not isinstance(use.layer, nn.Identity | nn.Dropout):
            found.append((use, None if use.call == calls[use.name] else use.call))
        seen.add(id(use.output))
    return found


def _mixes(
    model: Classifier, layer: str, call: int | None, size: tuple[int, int] | None, picture: Tensor,
    usual: Units,
) -> bool:  # fmt: skip
    """Whether the logits depend on its units, which meet before the last linear layer adds up."""
    try:
        units = find_units(model, layer, call, size)
        if usual.grid is not None and units.grid is None:
            return False
        asked = Ablation(model, picture, units, as_put(model, units, "zero"))
        every = torch.ones(1, units.count, dtype=torch.bool, device=picture.device)
        if torch.equal(asked.without(every, lambda logits: logits), asked.logits):
            return False
        return closed_effects(asked, _margin) is None
    except FluoroscopeError:  # it has no units, or nothing can be asked from there on
        return False
