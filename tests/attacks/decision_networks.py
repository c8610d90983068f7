"""A network that tells its decision alone, and peers that are stopped at a number of queries."""

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.threats import Threat


class _Sealed(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, logits: Tensor) -> Tensor:
        return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> Tensor:
        raise AssertionError("a gradient was asked for")


class _Decides(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = _Sealed.apply(self.module(pixels))
        return found


def deciding(model: fs.Classifier) -> fs.Classifier:
    """The network with its logits replaced by 1 for the winner and 0 for the others."""
    return fs.Classifier(_Decides(model.module), channels=model.channels)


class _Spent(Exception):  # noqa: N818 it is no error
    pass


class Ledger(nn.Module):
    """Keeps the closest success among the first queries, and stops whoever asks for more."""

    def __init__(self, model: fs.Classifier, threat: Threat, queries: int) -> None:
        super().__init__()
        self._model, self._threat, self._queries = model, threat, queries
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        pixels = pixels.float()
        with torch.no_grad():
            logits = self._model(pixels)
        left, self._made = self._queries - self._made, self._made + len(pixels)
        fooled = (logits.argmax(1) != self._own)[:left].nonzero().squeeze(1)
        if len(fooled):
            far = self._threat.distance((pixels[fooled] - self._image).detach())
            self._best = min(self._best, float(far.min()))
        if self._made >= self._queries:
            raise _Spent
        return logits

    def closest(
        self, peer: Callable[[Tensor, Tensor], object], images: Tensor, classes: Tensor
    ) -> Tensor:
        """The distance that a peer comes to for each image, ``(N,)``."""
        found = []
        for row in range(len(images)):
            torch.manual_seed(0)
            np.random.seed(0)
            self._image, self._own = images[row : row + 1], classes[row]
            self._made, self._best = 0, inf
            with suppress(_Spent):
                peer(images[row : row + 1], classes[row : row + 1])
            found.append(self._best)
        return torch.tensor(found)


def by_foolbox(network: nn.Module, attack: Any) -> Callable[[Tensor, Tensor], object]:
    import foolbox

    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    return lambda images, classes: attack.run(
        model, images, foolbox.criteria.Misclassification(classes)
    )


def by_art(
    network: nn.Module, shape: tuple[int, ...], name: str, **parameters: Any
) -> Callable[[Tensor, Tensor], object]:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    estimator = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), shape, 10, clip_values=(0, 1), device_type="cpu"
    )
    attack = getattr(evasion, name)(estimator, verbose=False, **parameters)
    return lambda images, classes: attack.generate(images.numpy(), classes.numpy())
