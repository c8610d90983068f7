"""A network's inner layers: found by name, and within reach without a trace on the network."""

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from threading import get_ident

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, copied
from fluoroscope.words import count

# So many names fit into a message.
_LISTED = 60


@dataclass(frozen=True)
class Layer:
    """A layer as one forward pass shows it."""

    name: str
    """As in ``model.module.named_modules()``."""
    kind: str
    """Its class."""
    calls: int
    """How often it is used in a pass."""
    shape: tuple[int, ...] | None
    """Of what it gives out for one picture, at its last use; ``None`` if that is no tensor."""


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a layer in a forward pass."""

    name: str
    layer: nn.Module
    call: int
    """Which use of the layer it is, from 0."""
    given: tuple[Tensor, ...]
    """The tensors it was given; the very objects, so that it can be told whose output they are."""
    output: Tensor
    """What it gave out, or the first of it; the very object too."""


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
        inner = [known for known in layers if name != "" and known.endswith(f".{name}")]
        near = inner or get_close_matches(str(name), layers, n=1)
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
            "the network from the Python code that it was made of"
        )
    return layer


def list_layers(model: Classifier, images: Tensor) -> tuple[Layer, ...]:
    """All layers of a network, with what they give out for the first of ``images``.

    ``images`` are ``(N, C, H, W)`` on the network's device. The layers come in the order of
    ``named_modules()``, those that are not used among them; scripted ones are left out. One pass.
    """
    with torch.inference_mode(False), torch.no_grad(), traced(model) as uses:
        model(images[:1].detach().clone())
    calls = Counter(use.name for use in uses)
    shapes = {use.name: tuple(use.output.shape[1:]) for use in uses}
    return tuple(
        Layer(name, type(layer).__name__, calls[name], shapes.get(name))
        for name, layer in _seen_by_python(model)
    )


@contextmanager
def tapped(
    model: Classifier, name: str, *, cut: bool = False, given: bool = False
) -> Iterator[list[Tensor]]:
    """Inside, what the layer gives out on each forward pass of this thread is put into the list.

    What is kept is the very output, in the graph if there is one; the network goes on with a copy
    of it, for what comes next may work in place. The hook comes off at the end, whatever happened.

    Args:
        model: the network.
        name: the layer's, as in ``model.module.named_modules()``.
        cut: let the graph begin at each output: what lies before it is computed without one.
        given: keep what the layer is given in place of what it gives out.

    Raises:
        InvalidParameterError: the network has no such layer.
    """
    kept: list[Tensor] = []
    thread = get_ident()

    def keep_given(layer: nn.Module, inputs: tuple[object, ...]) -> object:
        found = _first(inputs)
        if found is None or get_ident() != thread:
            return None
        kept.append(found)
        # Batch norm never writes into what it is given, and is what is mostly asked about.
        return None if isinstance(layer, _BatchNorm) else (found.clone(), *inputs[1:])

    def keep(layer: nn.Module, given: tuple[object, ...], output: object) -> object:
        found = _first(output)
        if found is None or get_ident() != thread:
            return None
        if cut and found.is_floating_point():
            found = found.detach().requires_grad_(torch.is_grad_enabled())
        kept.append(found)
        if not isinstance(output, tuple):
            return found.clone()
        goes_on = (found.clone(), *output[1:])
        return type(output)._make(goes_on) if hasattr(output, "_make") else goes_on

    layer = find_layer(model, name)
    hook = (
        layer.register_forward_pre_hook(keep_given) if given else layer.register_forward_hook(keep)
    )
    try:
        yield kept
    finally:
        hook.remove()


def outputs_of(
    kept: list[Tensor], name: str, images: int, model: Classifier, call: int | None = None
) -> list[Tensor]:
    """Of what :func:`tapped` kept in a pass of so many images, the last use or that ``call``.

    One tensor ``(N, ...)``; of a network that takes but one number of images at a time, one for
    each of its batches, the last of which is filled up.

    Raises:
        InvalidParameterError: the layer was not used, or not so often, or gave out no tensor of
            ``N`` rows.
    """
    if not kept:
        raise InvalidParameterError(
            f"the layer {name!r} of {model.name} was not used, or gave out no tensor; choose "
            "another layer"
        )
    size = model.batch_size or images
    parts = math.ceil(images / size)
    calls = len(kept) // parts
    if call is not None and not (type(call) is int and 0 <= call < calls):
        raise InvalidParameterError(
            f"call is {call!r}, and the layer {name!r} of {model.name} is used "
            f"{count(calls, 'time')} in a pass; expected 0"
            + (f" to {calls - 1}" if calls > 1 else "")
        )
    found = kept[(calls - 1 if call is None else call) :: calls] if calls else kept[:1]
    if len(found) != parts or any(one.dim() < 2 or len(one) != size for one in found):
        raise InvalidParameterError(
            f"the layer {name!r} of {model.name} gave out {tuple(found[-1].shape)} for "
            f"{count(size, 'image')}; expected one tensor (N, ...): choose another layer"
        )
    return found


@contextmanager
def traced(model: Classifier, watch: Callable[[Use], None] | None = None) -> Iterator[list[Use]]:
    """Inside, every use of a layer is put into the list, in the order in which they end.

    Only the first pass of this thread counts. All outputs stay in memory with the list: it is meant
    for a picture or two.

    Args:
        model: the network.
        watch: called at each use, while its output is as it was given out.
    """
    uses: list[Use] = []
    calls: Counter[str] = Counter()
    thread, over = get_ident(), False

    def note(name: str, layer: nn.Module, given: list[object], out: object) -> None:
        output = _first(out)
        if output is None or over or get_ident() != thread:
            return
        tensors = tuple(one for one in given if isinstance(one, Tensor))
        uses.append(Use(name, layer, calls[name], tensors, output))
        calls[name] += 1
        if watch is not None:
            watch(uses[-1])

    def end(*_: object) -> None:
        nonlocal over
        over = over or get_ident() == thread

    with ExitStack() as hooks:
        for name, layer in _seen_by_python(model):
            hook = layer.register_forward_hook(
                lambda layer, given, named, out, name=name: note(
                    name, layer, [*given, *named.values()], out
                ),
                with_kwargs=True,
            )
            hooks.callback(hook.remove)
        if not isinstance(model.module, torch.jit.ScriptModule):
            hooks.callback(model.module.register_forward_hook(end).remove)
        yield uses


def _seen_by_python(model: Classifier) -> list[tuple[str, nn.Module]]:
    return [
        (name, layer)
        for name, layer in model.module.named_modules()
        if name and not isinstance(layer, torch.jit.ScriptModule)
    ]


def _first(output: object) -> Tensor | None:
    """What a layer gave out, or the first of several."""
    found = output[0] if isinstance(output, tuple) and output else output
    return found if isinstance(found, Tensor) else None
