"""What a training step is given and what comes of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fluoroscope.pictures import html
from fluoroscope.process import random_state_lock
from fluoroscope.words import duration, percent


@dataclass(frozen=True)
class Moment:
    """When in a training a batch comes, for losses that draw or change with time."""

    indices: Tensor
    """``(N,)``, which of the training pictures these are; those of a second source count on after
    the last of the first."""
    epoch: int
    """From 1."""
    share: float
    """Of all steps, this one included: from just above 0 to 1."""
    seed: int
    """The training's."""
    mean: Callable[[Sequence[Tensor]], list[Tensor]] = list
    """Of gradients and other means over these pictures, those over the whole batch, of which a
    process has a share where several learn; else as they are."""


Terms = Tensor | Mapping[str, Tensor]
"""The number to lower, or by name the numbers whose sum is lowered."""
Loss = Callable[[nn.Module, Tensor, Tensor, Moment], tuple[Terms, Tensor]]
"""From the network, a batch and its moment to what is lowered and logits ``(N, classes)``."""
Ready = Callable[[], tuple[Terms, Tensor]]
"""What is lowered for a batch and its logits, at the weights that the network has when called."""


@runtime_checkable
class Prepares(Protocol):
    """A loss that does something once for a batch before it is lowered: it moves the pictures."""

    def prepare(self, module: nn.Module, images: Tensor, targets: Tensor, moment: Moment) -> Ready:
        """Do it, and give the loss of what came of it, to be asked once or several times."""
        ...


def prepare(
    loss: Loss, module: nn.Module, images: Tensor, targets: Tensor, moment: Moment
) -> Ready:
    """The loss of a batch, to be asked at other weights, too, on the same moved pictures."""
    if isinstance(loss, Prepares):
        return loss.prepare(module, images, targets, moment)
    return partial(loss, module, images, targets, moment)


def named_terms(terms: Terms) -> dict[str, Tensor]:
    """What is lowered, by name."""
    return {"loss": terms} if isinstance(terms, Tensor) else dict(terms)


def summed(terms: Terms) -> Tensor:
    """The one number that is lowered."""
    return terms if isinstance(terms, Tensor) else torch.stack(list(terms.values())).sum()


class Task(Protocol):
    """What a network is to learn: which targets fit it, and how good an answer is."""

    def check(self, module: nn.Module, images: Tensor, targets: Any) -> tuple[Tensor, int]:
        """The targets, a row for each image ``(N, C, H, W)``, and how many classes there are."""
        ...

    def right(self, answer: Tensor, targets: Tensor) -> Tensor:
        """Of each answer ``(N,)``, how right it is from 0 to 1."""
        ...


@dataclass(frozen=True, repr=False)
class FitStep(html.Shown):
    """What one batch taught."""

    number: int
    """Batches learnt from, this one included."""
    epoch: int
    """From 1."""
    loss: float
    """Mean of the batch, before the update."""
    accuracy: float
    """Share of the batch classified correctly, before the update and in training mode; in
    adversarial training, of the moved pictures."""
    learning_rate: float
    seconds: float
    """Since the start; of a training that went on, without the pause."""
    held_out: float | None
    """After the last batch of an epoch: share of the held-out pictures classified correctly."""
    held_out_adversarial: float | None = None
    """Share of them still classified correctly under attack, where somebody looked."""
    terms: dict[str, float] = field(default_factory=dict)
    """By name, the parts of the loss, where it has more than one."""

    def _line(self) -> str:
        parts = ", ".join(f"{name} {value:.4g}" for name, value in self.terms.items())
        parts = f" ({parts})" if parts else ""
        held_out = "" if self.held_out is None else f", {percent(self.held_out)} held out"
        return (
            f"{self.number} of epoch {self.epoch}: loss {self.loss:.4g}{parts}, accuracy "
            f"{percent(self.accuracy)} of the batch{held_out}, {duration(self.seconds)}"
        )


def _norms_at_rest(module: nn.Module) -> list[nn.Module]:
    """Norms with statistics that somebody put in evaluation mode, one by one."""
    return [
        part
        for holder in module.modules()
        if holder.training
        for part in holder.children()
        if isinstance(part, nn.modules.batchnorm._NormBase) and not part.training
    ]


@contextmanager
def learning(module: nn.Module, seed: int, device: torch.device) -> Iterator[None]:
    """Training mode, gradients, and a random state of our own inside the block; all undone."""
    modes = {part: part.training for part in module.modules()}
    at_rest = _norms_at_rest(module)
    elsewhere = [] if device.type == "cpu" else [device]
    with (
        random_state_lock,
        torch.random.fork_rng(elsewhere, device_type=device.type),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        torch.default_generator.manual_seed(seed)
        if elsewhere:
            torch.get_device_module(device).manual_seed(seed)
        module.train()
        for part in at_rest:
            part.training = False
        try:
            yield
        finally:
            # The flag is set by hand: train() may be overridden and do more than set it.
            for part, mode in modes.items():
                part.training = mode
