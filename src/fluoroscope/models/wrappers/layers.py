"""A network's inner layers: found by name, and within reach without a trace on the network."""

import copy
from difflib import get_close_matches

import torch
from torch import nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, copied

# So many names fit into a message.
_LISTED = 60


def sharing_twin(model: Classifier) -> Classifier:
    """The same network in modules of its own, which hold the very same weights and buffers."""
    module = model.module
    kept = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    twin = copy.copy(model)
    twin.module = copied(model, kept)
    return twin


def find_layer(model: Classifier, name: str) -> nn.Module:
    """The module of that name within the network, as ``named_modules`` calls it.

    Raises:
        InvalidParameterError: there is none, or it runs where Python does not see it.
    """
    layers = dict(model.module.named_modules())
    del layers[""]
    if name not in layers:
        near = get_close_matches(name, layers, n=1)
        names = list(layers)
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise InvalidParameterError(
            f"layer is {name!r}, which {model.name} does not have; "
            + (f"did you mean {near[0]}? " if near else "")
            + f"expected one of {', '.join(names[:_LISTED]) or 'none, for it has none'}{more}"
        )
    layer: nn.Module = layers[name]
    if isinstance(layer, torch.jit.ScriptModule):
        raise InvalidParameterError(
            f"the layer {name!r} of {model.name} is scripted, so nothing can be done at it; load "
            "the network from Python code or as an exported program"
        )
    return layer
