"""The part of a network from a layer on: logits of what the layer is made to give out.

What comes before the layer is computed once, for one picture, and handed out as often as it is
asked for. That is done module by module on a twin that shares the weights: each module that is over
before the layer is used answers with what it answered then. What the network computes between its
modules is computed again; it is right in any case, and what is handed out is checked against the
whole pass.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.errors import ModelOutputError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.frozen import frozen
from fluoroscope.models.layers import find_layer, outputs_of, sharing_twin

# Two of the same picture: what has two rows then has one for each picture.
_PAIR = 2
# The least float32 differs by where other batch sizes add up otherwise.
_NEAR = 1e-4


class Rest:
    """A network from a layer on.

    Args:
        model: the network; it is not touched.
        layer: the layer's name, as in ``model.module.named_modules()``.
        call: which use of it in a pass, from 0; by default the last.

    Raises:
        InvalidParameterError: no such layer.
        ModelFormatError: the network cannot be copied.
    """

    def __init__(self, model: Classifier, layer: str, call: int | None = None) -> None:
        find_layer(model, layer)
        self.model, self.layer, self.call = model, layer, call
        self._twin = sharing_twin(model)
        self._at = find_layer(self._twin, layer)
        self._input: Tensor | None = None
        self._number = 0
        """Of the use of the layer that is replaced."""
        self._output: Any = None
        """What the layer gave out as a whole, of which the first tensor is replaced."""
        self._kept: dict[nn.Module, list[Any]] = {}
        """What each module that is over before the layer answered, use by use."""
        self._wanted: Tensor | None = None
        self._copies = False
        """Whether each pass is handed copies, for something writes into them."""

    def see(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Look at a picture ``(1, C, H, W)``: what the layer gives out ``(1, ...)``, and logits.

        Both without a graph; what is asked afterwards is of this picture.

        Raises:
            InvalidParameterError: the layer is not used, or gives out no tensor of a row for each
                picture.
        """
        model = self.model
        with torch.inference_mode(False), torch.no_grad(), model.held():
            pair = image.detach().clone().expand(_PAIR, -1, -1, -1).contiguous()
            activation, logits = self._look(pair)
            self._copies = False
            if self._kept and not self._agrees(activation, logits):
                self._copies = True  # something writes into what it is handed out
                if not self._agrees(activation, logits):
                    self._kept = {}
        return activation, logits

    @property
    def skips(self) -> bool:
        """Whether what comes before the layer is left out of the passes."""
        return bool(self._kept)

    def _agrees(self, activation: Tensor, logits: Tensor) -> bool:
        """Whether the passes from the layer on answer as the whole one did."""
        try:
            found = self(activation.expand(_PAIR, *activation.shape[1:]))
        except ModelOutputError:
            return False
        least = _NEAR * float(logits.abs().amax().clamp(min=1))
        return bool(((found - logits).abs() <= least).all())

    def __call__(self, activations: Tensor) -> Tensor:
        """Logits ``(B, classes)`` where the layer gives out ``(B, ...)``; differentiable in it."""
        assert self._input is not None
        counts: Counter[nn.Module] = Counter()
        self._wanted = activations
        try:
            for module in (*self._kept, self._at):
                self._answering(module, counts)
            inputs = self._handed(self._input, len(activations))
            if not self.skips:
                inputs = inputs.clone()
            with torch.inference_mode(False), frozen(self._twin.module):
                return self._twin._batched(inputs)
        finally:
            self._wanted = None
            for module in (*self._kept, self._at):
                vars(module).pop("forward", None)

    def _answering(self, module: nn.Module, counts: Counter[nn.Module]) -> None:
        own: Callable[..., Any] = module.forward
        at, kept = module is self._at, self._kept.get(module, [])

        def forward(*args: Any, **kwargs: Any) -> Any:
            number = counts[module]
            counts[module] += 1
            wanted = self._wanted
            assert wanted is not None
            if at and number == self._number:
                return _with_first(self._handed(self._output, len(wanted)), wanted)
            if at:
                return own(*args, **kwargs)
            return self._handed(kept[number], len(wanted))

        vars(module)["forward"] = forward

    def _handed(self, output: Any, rows: int) -> Any:
        """What was given out for one picture, for so many."""
        return _each(output, lambda one: _expanded(one, rows, self._copies))

    def _look(self, pair: Tensor) -> tuple[Tensor, Tensor]:
        """One pass of the twin, noting which modules were over before the layer was used."""
        twin = self._twin
        over: dict[nn.Module, list[Any]] = {}
        uses: Counter[nn.Module] = Counter()
        reached: list[Any] = []
        before: list[dict[nn.Module, int]] = []

        def ended(module: nn.Module, given: Any, output: Any) -> None:
            uses[module] += 1
            # As it is now: what comes next may work in place.
            over.setdefault(module, []).append(_each(output, _single))
            if module is self._at:
                reached.append(output if not isinstance(output, Tensor) else output.clone())
                before.append({each: len(found) for each, found in over.items()})

        hooks = [
            part.register_forward_hook(ended)
            for part in twin.module.modules()
            if part is not twin.module and not isinstance(part, torch.jit.ScriptModule)
        ]
        try:
            preprocessing = twin.preprocessing
            inputs = preprocessing.normalize(preprocessing.resample(pair))
            anchor = twin._anchor()
            inputs = inputs if anchor is None else inputs.to(anchor.dtype)
            with frozen(twin.module):
                logits = twin._batched(inputs.clone())
        finally:
            for hook in hooks:
                hook.remove()
        first = [_first(each) for each in reached]
        kept = [each for each in first if each is not None]
        found = outputs_of(kept, self.layer, len(pair), self.model, self.call)[0]
        self._number = next(number for number, each in enumerate(first) if each is found)
        self._output = _each(reached[self._number], _single)
        self._input = inputs[:1]
        fixed = self.model.batch_size is not None
        self._kept = {} if fixed else self._over(over, uses, before[self._number])
        return found[:1].clone(), logits[:1].clone()

    def _over(
        self, found: dict[nn.Module, list[Any]], uses: Counter[nn.Module],
        before: dict[nn.Module, int],
    ) -> dict[nn.Module, list[Any]]:  # fmt: skip
        """What can be handed out: of modules all of whose uses were over, a row for a picture."""
        done = {
            module for module, many in before.items()
            if many == uses[module] and module is not self._at
        }  # fmt: skip
        kept: dict[nn.Module, list[Any]] = {}
        inner = set(self._at.modules())
        for module in self._twin.module.modules():  # an outer one comes before those within it
            parts = set(module.modules())
            if module in inner or module not in done or self._at in parts:
                continue
            answers = found[module]
            if all(each is not _NONE for each in answers) and all(
                part in done or not uses[part] for part in parts
            ):
                kept[module] = answers
                inner |= parts
        return kept


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
    """The output with another first tensor; a copy, for what comes next may work in place."""
    if isinstance(output, tuple):
        parts = (first.clone(), *output[1:])
        return type(output)._make(parts) if hasattr(output, "_make") else parts
    return first.clone()
