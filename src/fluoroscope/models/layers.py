"""A network's inner layers: found by name, and within reach without a trace on the network."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, copied
from fluoroscope.words import count

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


@contextmanager
def tapped(model: Classifier, name: str, call: int | None = None) -> Iterator[list[Tensor]]:
    """Inside, what the layer gives out on each forward pass is put into the list.

    What is kept is the very output, in the graph if there is one; the network goes on with a copy
    of it, for what comes next may work in place. The hook comes off at the end, whatever happened.

    Args:
        model: the network.
        name: the layer's, as in ``model.module.named_modules()``.
        call: of a layer that is used several times in a pass, which use, from 0; by default all.

    Raises:
        InvalidParameterError: the network has no such layer.
    """
    kept: list[Tensor] = []
    calls = 0

    def keep(layer: nn.Module, given: tuple[object, ...], output: object) -> object:
        nonlocal calls
        calls += 1
        found = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(found, Tensor) or (call is not None and calls - 1 != call):
            return None
        kept.append(found)
        copy_of = found.clone()
        return (copy_of, *output[1:]) if isinstance(output, tuple) else copy_of

    hook = find_layer(model, name).register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


def one_output(kept: list[Tensor], name: str, images: int, model: Classifier) -> Tensor:
    """The last of what :func:`tapped` kept in a pass of so many images.

    Raises:
        InvalidParameterError: the layer was not used, or gave out no tensor of ``N`` rows.
    """
    if not kept:
        raise InvalidParameterError(
            f"the layer {name!r} of {model.name} was not used, or gave out no tensor; choose "
            "another layer"
        )
    found = kept[-1]
    if found.dim() < 2 or len(found) != images:
        raise InvalidParameterError(
            f"the layer {name!r} of {model.name} gave out {tuple(found.shape)} for "
            f"{count(images, 'image')}; expected one tensor (N, ...): choose another layer"
        )
    return found
