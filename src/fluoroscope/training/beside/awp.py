"""Adversarial weight perturbation: the gradient is taken where the loss is highest nearby in the
weights, which flattens it there (Wu, Xia and Wang 2020, 2004.05884).

``v = gamma ||w|| g / ||g||`` for each layer's weights ``w`` and the gradient ``g`` of the loss on
the moved pictures; the update is made from the gradient at ``w + v``, and at ``w``. One step up, as
in the paper's experiments.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.step import Moment

# Of a weight without gradient, what it is divided by.
_TINY = 1e-20


@dataclass(frozen=True)
class AdversarialWeightPerturbation:
    """The gradient of each step, taken at weights that are moved up the loss.

    ``gamma`` is how far, as a share of the norm of each layer's weights: 0.005 to 0.01 in the
    paper. ``warm_up`` is the number of epochs before it begins. Biases and the weights of norms,
    which have one dimension, stay, as in the authors' programme. Cost: one pass forward and back
    more for what is learnt from (the search for moved pictures is made once).

    Raises:
        InvalidParameterError: a ``gamma`` that is not above 0, or a negative ``warm_up``.
    """

    gamma: float = 0.005
    warm_up: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < float("inf"):
            raise InvalidParameterError(f"gamma is {self.gamma}; expected more than 0, as 0.005")
        if self.warm_up < 0:
            raise InvalidParameterError(
                f"warm_up is {self.warm_up}; expected a number of epochs, 0 or more"
            )

    def begin(self, module: nn.Module, classes: int) -> "Perturbing":
        return Perturbing(self)


class Perturbing(Running):
    """The perturbation in one training; it keeps nothing from step to step."""

    def __init__(self, settings: AdversarialWeightPerturbation) -> None:
        self.settings: AdversarialWeightPerturbation = settings

    @contextmanager
    def perturbed(
        self, module: nn.Module, lowered: Callable[[], Tensor], moment: Moment
    ) -> Iterator[None]:
        if moment.epoch <= self.settings.warm_up:
            yield
            return
        moved = [w for w in module.parameters() if w.requires_grad and w.dim() > 1]
        with _buffers_kept(module):
            slopes = torch.autograd.grad(lowered(), moved, allow_unused=True)
        found = [(w, slope) for w, slope in zip(moved, slopes, strict=True) if slope is not None]
        means = moment.mean([slope for _, slope in found])
        own = [weight.detach().clone() for weight in moved]
        try:
            with torch.no_grad():
                for (weight, _), slope in zip(found, means, strict=True):
                    size = self.settings.gamma * weight.norm() / (slope.norm() + _TINY)
                    weight.add_(slope * size)
            yield
        finally:
            with torch.no_grad():
                for weight, before in zip(moved, own, strict=True):
                    weight.copy_(before)


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """The statistics of batch norm are of what is learnt from, seen once."""
    kept = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
