"""Class-specific gates (Liang et al. 2020, 2007.08194): each filter is to serve few classes.

A matrix ``G`` in ``[0, 1]``, classes by filters, is learnt beside the network. On the *gated* path
the filters of a layer are multiplied by the row ``G[y]`` of the picture's true class, and the rest
of the network has to make do with what is left. A gated step lowers

    ``CE(f(x), y) + CE(f_G(x), y) + weight * relu(|G|_1 - density * C * K)``

after which every filter's column is divided by its largest gate and clamped to ``[0, 1]``: each
filter stays open to some class. Other steps lower ``CE(f(x), y)`` alone. The gates are for the
training; the network that comes of it has none.

The paper's path shares the way up to the layer; here it is a second pass of the whole network, so
that any network can be gated at any layer, and one behind a skip connection, too. A gated step
costs two passes. Statistics of batch norms are those of the ungated path alone.

What the gates multiply comes after the layer's activation in the paper. Before a ReLU would be the
same, since gates are not negative; before a batch norm would not, for it divides by the spread. So
where no layer is named, it is the last that gives out maps of the form of the last convolution's:
behind its batch norm, its ReLU and its skip connection.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.frozen import frozen
from fluoroscope.models.layers import Use, find_layer, traced
from fluoroscope.notices import tell_all
from fluoroscope.pictures.maps import write_figure
from fluoroscope.training.gates.judging import judged
from fluoroscope.training.gates.matrix import ENDING, GateMatrix
from fluoroscope.training.losses.attacked import AttackLoss
from fluoroscope.training.losses.moved import MovedLoss
from fluoroscope.training.trainer.companion import Running, begun
from fluoroscope.training.trainer.preprocessed import (
    check_convolution,
    last_convolution,
    network_of,
)
from fluoroscope.training.trainer.step import Loss, Moment, Ready, Terms, named_terms, prepare
from fluoroscope.words import count, percent

FAR = 1.5
"""So many times the density that was asked for is told of at the end."""


@dataclass(frozen=True, kw_only=True)
class ClassGates:
    """Settings of a loss with gates; `fit_stream` takes it as its ``loss``.

    Numbers not explained are the authors' code's.

    Raises:
        InvalidParameterError: a number outside its range.
    """

    layer: str | None = None
    """Whose filters are gated; by default where the last convolution's maps end."""
    density: float = 0.2
    """Of all gates, the share that may be open before the penalty sets in, from 0 to 1."""
    weight: float = 1e-3
    """Of the penalty, for each gate that is open beyond that. More closes no more gates: what all
    gates of a filter lose alike, the division by the largest gives back."""
    start: float = 0.5
    """Of every gate, above 0 up to 1."""
    warm_up: int = 1
    """Epochs without gates at the beginning."""
    every: int = 3
    """After these, every so manieth batch is gated."""
    rate: float = 10.0
    """Learning rate of the gates, in units of the network's. Of ours: theirs is a hundred times
    that of a network which is there already; at the network's own, gates stay open for long."""
    adversarial: MovedLoss | AttackLoss | None = None
    """What the ungated path lowers in place of the cross-entropy, to train against attacks."""

    def __post_init__(self) -> None:
        for name, low, high, example in (
            ("density", 0.0, 1.0, "0.2"), ("start", 0.0, 1.0, "0.5"),
            ("weight", 0.0, math.inf, "0.001"), ("rate", 0.0, math.inf, "1"),
        ):  # fmt: skip
            value = getattr(self, name)
            zero = name in ("density", "weight")
            if not (low <= value <= high and (zero or value > low) and math.isfinite(value)):
                bounds = f"from {low:g} to {high:g}" if high < math.inf else f"of {low:g} or more"
                above = "" if zero else ", and above 0"
                raise InvalidParameterError(
                    f"{name} is {value}; expected a number {bounds}{above}, such as {example}"
                )
        for name, least in (("warm_up", 0), ("every", 1)):
            if getattr(self, name) < least:
                raise InvalidParameterError(
                    f"{name} is {getattr(self, name)}; expected {least} or more"
                )

    def begin(self, module: nn.Module, classes: int) -> "RunningGates":
        """Gates for a network of so many classes."""
        if classes < 2:
            raise InvalidParameterError(
                f"the network tells {count(classes, 'class', 'classes')} apart; expected 2 or more "
                "for class-specific gates"
            )
        if self.layer is None:
            with _in_words_of_gates():
                check_convolution(module)
        return RunningGates(self, begun(self.adversarial, module, classes), classes)


class RunningGates(Running):
    """The loss, and the gates that are learnt with it; of one training."""

    gates: nn.Parameter
    """``(C, K)``, classes by filters."""
    layer: str
    """Whose ``K`` filters they are."""

    def __init__(self, settings: ClassGates, adversarial: Loss | None, classes: int) -> None:
        self.settings = settings
        self._ungated = adversarial or _standard
        self.rate = settings.rate
        self._classes = classes
        # Batches after the warm-up.
        self._batches = 0

    def meet(self, module: nn.Module, images: Tensor) -> None:
        """Find the layer, and make a gate for each class and filter of it."""
        use, self._calls = _gated_layer(module, images, self.settings.layer)
        self.layer = use.name
        size = (self._classes, use.output.shape[1])
        with torch.inference_mode(False):
            like = next(module.parameters())
            self.gates = nn.Parameter(
                torch.full(size, self.settings.start, dtype=like.dtype, device=like.device)
            )
        labels = torch.zeros(1, dtype=torch.long, device=self.gates.device)
        with frozen(module), torch.no_grad(), self._open_for(module, labels):
            module(images)  # or is refused before anything is learnt

    def parameters(self) -> list[nn.Parameter]:
        return [self.gates]

    def tensors(self) -> dict[str, Tensor]:
        behind = torch.tensor([self._batches], dtype=torch.int64, device="cpu")
        return {"gates": self.gates, "batches": behind}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self.gates.copy_(tensors["gates"])
        self._batches = int(tensors["batches"])

    def __call__(
        self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Terms, Tensor]:
        """The terms to lower, and the logits of the ungated path ``(N, classes)``."""
        return self.prepare(module, images, labels, moment)()

    def prepare(self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Ready:
        """Move the pictures of the ungated path, where it is trained against attacks."""
        if labels.is_floating_point() or labels.dim() != 1:
            raise InvalidParameterError(
                f"targets are {labels.dtype} of shape {tuple(labels.shape)}; expected a class for "
                "each picture: gates are those of classes"
            )
        ungated = prepare(self._ungated, module, images, labels, moment)

        def lowered() -> tuple[Terms, Tensor]:
            terms, logits = ungated()
            if not self._gated_now(moment):
                return terms, logits
            with self._open_for(module, labels), _statistics_at_rest(module):
                gated = module(images)
            settings = self.settings
            open_beyond = self.gates.abs().sum() - settings.density * self.gates.numel()
            return {
                **named_terms(terms),
                "gated": F.cross_entropy(gated, labels),
                "density penalty": settings.weight * open_beyond.relu(),
            }, logits

        return lowered

    def after(self, module: nn.Module, moment: Moment) -> None:
        """Project what a gated step made of the gates."""
        if self._gated_now(moment):
            with torch.no_grad():
                self.gates.copy_(projected(self.gates))
        self._batches += moment.epoch > self.settings.warm_up

    def end(self, module: nn.Module) -> None:
        """Say so where the gates are far from as few as was asked for."""
        tell_all(self.doubts)

    @property
    def doubts(self) -> tuple[str, ...]:
        """No batch was gated, or the gates are far from as few as was asked for."""
        if self._batches < self.settings.every:
            warm_up = count(self.settings.warm_up, "epoch")
            return (
                "no batch was gated: the training ended "
                f"{count(self._batches, 'batch', 'batches')} after a warm-up of {warm_up}; "
                "expected more epochs, or a shorter warm-up",
            )
        density = float(self.gates.detach().mean())
        asked = max(self.settings.density, 1 / self._classes)
        if density <= FAR * asked:
            return ()
        return (
            f"gates are open to {percent(density)} on average, {percent(asked)} was asked for: "
            "filters still serve many classes; expected more epochs, or a higher rate of the "
            "gates",
        )

    def matrix(self, classes: tuple[str, ...] | None = None) -> GateMatrix:
        """The gates as they are now, with the names of the classes."""
        names = classes or tuple(map(str, range(self._classes)))
        return GateMatrix(self.gates.detach().float().cpu().clone(), self.layer, names)

    def findings(self, model: Classifier, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """Numbers of the matrix, and of what its filters say of the test pictures."""
        return {"gates": judged(model, images, labels, self.matrix(model.labels))}

    def write(self, weights: Path, classes: tuple[str, ...]) -> list[Path]:
        """``NAME.gates.safetensors`` and the picture of it, ``NAME.gates.png``."""
        gates = self.matrix(classes)
        kept = gates.save(weights.with_suffix(ENDING))
        return [kept, write_figure(kept.with_suffix(".png"), gates.figure())]

    def _gated_now(self, moment: Moment) -> bool:
        every, warm = self.settings.every, moment.epoch <= self.settings.warm_up
        return not warm and self._batches % every == every - 1

    @contextmanager
    def _open_for(self, module: nn.Module, labels: Tensor) -> Iterator[None]:
        """Inside, this thread's pass goes through the gates of the labels, at the layer's last
        use.
        """
        gates = self.gates[labels][:, :, None, None]
        thread, calls = get_ident(), 0

        def gate(layer: nn.Module, given: Any, output: Any) -> Tensor | None:
            nonlocal calls
            if get_ident() != thread:
                return None
            if not isinstance(output, Tensor):
                raise InvalidParameterError(
                    f"layer is {self.layer!r}, which gives out a {type(output).__name__}; expected "
                    "one that gives out a single tensor, such as a convolution"
                )
            calls += 1
            return output * gates if calls == self._calls else None

        layer = dict(_network(module).named_modules())[self.layer]
        hook = layer.register_forward_hook(gate)
        try:
            yield
        finally:
            hook.remove()


def _standard(
    module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
) -> tuple[Terms, Tensor]:
    logits = module(images)
    return {"standard": F.cross_entropy(logits, labels)}, logits


def projected(gates: Tensor) -> Tensor:
    """Gates ``(C, K)`` such that every filter's largest is 1, and all lie in ``[0, 1]``.

    Each column is divided by its largest. Where that is not above zero, nothing can be divided by
    it; there the largest becomes 1 by addition.
    """
    largest = gates.amax(0)
    closed = largest <= torch.finfo(gates.dtype).tiny
    opened = torch.where(closed, gates - largest + 1, gates / largest.where(~closed, 1.0))
    return opened.clamp(0, 1)


@contextmanager
def _in_words_of_gates() -> Iterator[None]:
    """A network without convolutions is refused for what gates need one for."""
    try:
        yield
    except InvalidParameterError as problem:
        raise InvalidParameterError(
            "the network has no convolution; expected one with filters that gates can act on, "
            "such as digits-cnn"
        ) from problem


def _gated_layer(module: nn.Module, images: Tensor, name: str | None) -> tuple[Use, int]:
    """The last use of the layer, and how many there are in a pass.

    Raises:
        InvalidParameterError: no such layer, one without filters, a network without convolutions.
    """
    model = network_of(module, images.shape[1])
    if name is not None:
        find_layer(model, name)
    else:
        with _in_words_of_gates():
            convolution = last_convolution(module, images)
    with torch.inference_mode(False), torch.no_grad(), traced(model) as uses:
        model(images[:1])
    if name is None:
        last = max(number for number, use in enumerate(uses) if use.name == convolution)
        shape = uses[last].output.shape
        chosen = [use for use in uses[last:] if use.output.shape == shape][-1]
    else:
        own = [use for use in uses if use.name == name]
        if not own:
            raise InvalidParameterError(
                f"layer is {name!r}, which {model.name} does not use on its way to the logits; "
                "expected one that it does"
            )
        chosen = own[-1]
    if chosen.output.dim() != 4 or not chosen.output.is_floating_point():
        raise InvalidParameterError(
            f"layer is {chosen.name!r}, which gives out {tuple(chosen.output.shape[1:])} for a "
            "picture; expected one with filters, (K, H, W), such as a convolution"
        )
    return chosen, sum(use.name == chosen.name for use in uses)


def _network(module: nn.Module) -> nn.Module:
    """The module whose layers the names are of."""
    return network_of(module, 1).module


@contextmanager
def _statistics_at_rest(module: nn.Module) -> Iterator[None]:
    """Inside, norms use the batch's statistics as they do in training, and note none of them."""
    noting = [
        part
        for part in module.modules()
        if isinstance(part, _NormBase) and part.training and part.track_running_stats
    ]
    for part in noting:
        part.track_running_stats = False
    try:
        yield
    finally:
        for part in noting:
            part.track_running_stats = True
