"""The part of a network from a layer on: logits of what the layer is made to give out.

What comes before the layer is computed once, for one picture, and handed out as often as it is
asked for. That is done module by module on a twin that shares the weights: each module that is over
before the layer is used answers with what it answered then. What the network computes between its
modules is computed again. The answers are held against those of whole passes in which a hook
replaces what the layer gives out; where they differ, or nothing can be left out (a network that
takes one number of images alone, a wrapper that answers in a way of its own, a module that cannot
be copied), whole passes are made.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.errors import ModelFormatError, ModelOutputError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.frozen import frozen
from fluoroscope.models.layers import find_layer, outputs_of, sharing_twin, tapped

# Two of the same picture: what has two rows then has one for each picture.
_PAIR = 2
# The least that two ways differ by where batches of other sizes add up otherwise: of float32, and
# of what computes in less, in units of its precision.
_NEAR, _EPSILONS = 1e-4, 8


class Rest:
    """A network from a layer on.

    Args:
        model: the network; it is not touched but for hooks during a call.
        layer: the layer's name, as in ``model.module.named_modules()``.
        call: which use of it in a pass, from 0; by default the last.

    Raises:
        InvalidParameterError: no such layer.
    """

    def __init__(self, model: Classifier, layer: str, call: int | None = None) -> None:
        find_layer(model, layer)
        self.model, self.layer, self.call = model, layer, call
        self.calls = 0
        """How often the layer is used in a pass, as the last picture showed."""
        self._twin = _twin_of(model)
        self._image: Tensor | None = None
        self._input: Tensor | None = None
        self._number = 0
        """Of the use of the layer that is replaced, among those of the twin."""
        self._use = 0
        """The same among those that give out a tensor."""
        self._output: Any = None
        """What the layer gave out as a whole, of which the first tensor is replaced."""
        self._kept: dict[nn.Module, list[Any]] = {}
        """What each module that is over before the layer answered, use by use."""
        self._wanted: Tensor | None = None
        self._spare = False
        """Whether what is wanted may be written into."""
        self._copies = False
        """Whether each pass is handed copies, for something writes into them."""
        self._whole = True
        """Whether passes go through the whole network."""

    @property
    def skips(self) -> bool:
        """Whether what comes before the layer is left out of the passes."""
        return not self._whole and bool(self._kept)

    def see(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Look at a picture ``(1, C, H, W)``: what the layer gives out ``(1, ...)``, and logits.

        Both without a graph; what is asked afterwards is of this picture.

        Raises:
            InvalidParameterError: the layer is not used, or gives out no tensor of a row for each
                picture.
        """
        model = self.model
        with torch.inference_mode(False), torch.no_grad(), model.held():
            self._image = image.detach().clone()
            if not self.calls and model.batch_size is None:
                model(
                    self._image
                )  # one that takes but one number of images shows it now, or with a pair
            pair = _rows(self._image, _PAIR)
            activation, logits = self._seen(pair)
            self._kept, self._copies, self._whole = {}, False, True
            if self._twin is not None and model.batch_size is None:
                self._try_twin(self._twin, pair, activation)
        return activation, logits

    def held(self) -> AbstractContextManager[None]:
        """Hold what is asked still, for many calls; undone after the block."""
        return self.model.held() if self._twin is None else frozen(self._twin.module)

    def __call__(self, activations: Tensor, *, spare: bool = False) -> Tensor:
        """Logits ``(B, classes)`` where the layer gives out ``(B, ...)``; differentiable in it.

        What is ``spare`` may be written into by what comes next.
        """
        with torch.inference_mode(False):
            if self._whole or self._twin is None:
                return self.whole(activations)
            return self._by_twin(self._twin, activations, spare=spare)

    def _seen(self, pair: Tensor) -> tuple[Tensor, Tensor]:
        """A whole pass: what the layer gives out for the first, and its logits."""
        size = self.model.batch_size
        with tapped(self.model, self.layer) as kept:
            logits = self.model(pair)
            if self.model.batch_size != size:  # others were tried on the way
                kept.clear()
                logits = self.model(pair)
        found = outputs_of(kept, self.layer, len(pair), self.model, self.call)[0]
        self._use = next(number for number, each in enumerate(kept) if each is found)
        batches = -(-len(pair) // (self.model.batch_size or len(pair)))
        self.calls = len(kept) // batches
        return found[:1].clone(), logits[:1].clone()

    def whole(self, activations: Tensor) -> Tensor:
        """Whole passes of the network itself, in which a hook puts in what the layer gives out."""
        assert self._image is not None
        rows, thread, uses = len(activations), get_ident(), 0
        size = self.model.batch_size or rows
        batches = activations.split(size)

        def put(module: nn.Module, given: object, output: object) -> object:
            nonlocal uses
            if _first(output) is None or get_ident() != thread:
                return None
            batch, use = divmod(uses, self.calls)
            uses += 1
            if use != self._use:
                return None
            wanted = batches[batch]
            filling = wanted[-1:].expand(size - len(wanted), *wanted.shape[1:])
            return _with_first(output, torch.cat([wanted, filling]))

        hook = find_layer(self.model, self.layer).register_forward_hook(put)
        try:
            return self.model(_rows(self._image, rows))
        finally:
            hook.remove()

    def _try_twin(self, twin: Classifier, pair: Tensor, activation: Tensor) -> None:
        """Leave out what can be, if the answers are then those of whole passes."""
        wanted = torch.cat([activation, activation / 2])
        expected = self.whole(wanted)
        near = max(_NEAR, _EPSILONS * torch.finfo(self.model.precision).eps)
        near *= float(expected.abs().amax().clamp(min=1))
        kept = self._look(twin, pair)
        # With copies, where something writes into what it is handed out.
        for self._kept, self._copies in ((kept, False), (kept, True), ({}, False)):
            try:
                found = self._by_twin(twin, wanted)
            except ModelOutputError:
                continue
            if bool(((found - expected).abs() <= near).all()):
                self._whole = False
                return

    def _by_twin(self, twin: Classifier, activations: Tensor, *, spare: bool = False) -> Tensor:
        assert self._input is not None
        at = find_layer(twin, self.layer)
        counts: Counter[nn.Module] = Counter()
        self._wanted, self._spare = activations, spare
        try:
            for module in (*self._kept, at):
                self._answering(module, at, counts)
            inputs = self._handed(self._input, len(activations))
            if not self._kept:
                inputs = inputs.clone()
            with frozen(twin.module):
                return twin._batched(inputs)
        finally:
            self._wanted = None
            for module in (*self._kept, at):
                vars(module).pop("forward", None)

    def _answering(self, module: nn.Module, layer: nn.Module, counts: Counter[nn.Module]) -> None:
        own: Callable[..., Any] = module.forward
        at, kept = module is layer, self._kept.get(module, [])

        def forward(*args: Any, **kwargs: Any) -> Any:
            number = counts[module]
            counts[module] += 1
            wanted = self._wanted
            assert wanted is not None
            if at and number == self._number:
                given = wanted if self._spare else wanted.clone()
                return _with_first(self._handed(self._output, len(wanted)), given)
            if at:
                return own(*args, **kwargs)
            return self._handed(kept[number], len(wanted))

        vars(module)["forward"] = forward

    def _handed(self, output: Any, rows: int) -> Any:
        """What was given out for one picture, for so many."""
        return _each(output, lambda one: _expanded(one, rows, self._copies))

    def _look(self, twin: Classifier, pair: Tensor) -> dict[nn.Module, list[Any]]:
        """One pass of the twin: what was given out by modules that were over before the layer."""
        at = find_layer(twin, self.layer)
        over: dict[nn.Module, list[Any]] = {}
        uses: Counter[nn.Module] = Counter()
        reached: list[Any] = []
        before: list[dict[nn.Module, int]] = []

        def ended(module: nn.Module, given: Any, output: Any) -> None:
            uses[module] += 1
            # As it is now: what comes next may work in place.
            over.setdefault(module, []).append(_each(output, _single))
            if module is at:
                reached.append(over[at][-1] if _first(output) is not None else None)
                before.append({each: len(found) for each, found in over.items()})

        hooks = [
            part.register_forward_hook(ended)
            for part in twin.module.modules()
            if part is not twin.module and not isinstance(part, torch.jit.ScriptModule)
        ]
        try:
            inputs = twin._inputs(pair, twin._anchor())
            with frozen(twin.module):
                twin._batched(inputs.clone())
        finally:
            for hook in hooks:
                hook.remove()
        told = [number for number, each in enumerate(reached) if each is not None]
        self._number = told[self._use]
        self._output = reached[self._number]
        self._input = inputs[:1]
        return _over(twin, at, over, uses, before[self._number])


def _twin_of(model: Classifier) -> Classifier | None:
    """The network with modules of its own; ``None`` of one whose answer is not its module's."""
    if type(model).__call__ is not Classifier.__call__:
        return None
    try:
        return sharing_twin(model)
    except ModelFormatError:
        return None


def _over(
    twin: Classifier, at: nn.Module, found: dict[nn.Module, list[Any]],
    uses: Counter[nn.Module], before: dict[nn.Module, int],
) -> dict[nn.Module, list[Any]]:  # fmt: skip
    """What can be handed out: of modules all of whose uses were over, a row for a picture."""
    done = {module for module, many in before.items() if many == uses[module] and module is not at}
    kept: dict[nn.Module, list[Any]] = {}
    inner = set(at.modules())
    for module in twin.module.modules():  # an outer one comes before those within it
        parts = set(module.modules())
        if module in inner or module not in done or at in parts:
            continue
        answers = found[module]
        if all(each is not _NONE for each in answers) and all(
            part in done or not uses[part] for part in parts
        ):
            kept[module] = answers
            inner |= parts
    return kept


def _rows(image: Tensor, many: int) -> Tensor:
    return image.expand(many, *image.shape[1:]).contiguous()


_NONE = object()


def _each(output: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same structure with each tensor changed; ``_NONE`` where it is none that is known."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, tuple | list):
        parts = [_each(one, change) for one in output]
        if any(one is _NONE for one in parts):
            return _NONE
        return type(output)._make(parts) if hasattr(output, "_make") else type(output)(parts)
    if isinstance(output, dict):
        found = {name: _each(one, change) for name, one in output.items()}
        return _NONE if any(one is _NONE for one in found.values()) else found
    return None if output is None else _NONE


def _single(output: Tensor) -> Any:
    """Of what was given out for a pair, the first one's; ``_NONE`` where rows cannot be told."""
    fits = output.dim() > 0 and len(output) == _PAIR
    return output[:1].detach().clone() if fits else _NONE


def _expanded(one: Tensor, rows: int, copies: bool) -> Tensor:
    """As many rows of it, which lie in the same memory unless they are copies."""
    found = one.expand(rows, *one.shape[1:])
    return found.contiguous() if copies and rows > 1 else found


def _first(output: Any) -> Tensor | None:
    found = output[0] if isinstance(output, tuple) and output else output
    return found if isinstance(found, Tensor) else None


def _with_first(output: Any, first: Tensor) -> Any:
    """The output with another first tensor."""
    if isinstance(output, tuple):
        parts = (first, *output[1:])
        return type(output)._make(parts) if hasattr(output, "_make") else parts
    return first
