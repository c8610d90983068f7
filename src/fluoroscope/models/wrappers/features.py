"""What a layer makes of a picture, beside the logits: for searches that look inside a network.

The answer is ``[logits | readout(features)]``, in which an objective sees all columns and everyone
else only the logits (``Classifier.logits_first``).
"""

import hashlib
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import find_layer, outputs_of, tapped
from fluoroscope.models.wrappers.likewise import Likewise

Readout = Callable[[Tensor], Tensor]
"""From a layer's output ``(N, ...)`` to numbers ``(N, D)``, differentiable."""


class Features(Likewise):
    """A network that tells beside its logits what one of its layers gave out.

    The network itself is left alone; weights changed later are seen here too. ``plain`` is the
    plain network, whose answers have no further columns.

    Args:
        model: the network.
        layer: the layer by its name in ``model.module.named_modules()``. Of a layer that is used
            several times the last output counts.
        readout: what is told of its output; by default all of it.

    Raises:
        InvalidParameterError: the network has no layer of that name.
    """

    def __init__(self, model: Classifier, layer: str, readout: Readout | None = None) -> None:
        find_layer(model, layer)
        super().__init__(model)
        self._classes, self.layer, self.readout = model.num_classes, layer, readout

    @property
    def plain(self) -> Classifier:
        """The plain network: what a verdict is read from."""
        return self.model.plain

    @property
    def logits_first(self) -> int | None:
        """How many columns are logits."""
        return self.num_classes

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """A copy on another device or in another precision; this one stays as it is."""
        return type(self)(self.model.to(device, dtype), self.layer, self.readout)

    def fingerprint(self) -> str:
        """SHA-256 of the network's own and the layer's name."""
        stated = f"features {self.layer} {self.model.fingerprint()}"
        return hashlib.sha256(stated.encode()).hexdigest()

    def __call__(self, images: Tensor) -> Tensor:
        """``(N, classes + D)``: logits, and what is read out of the layer.

        Raises:
            InvalidParameterError: the layer was not used, or gave out no tensor of ``N`` rows.
        """
        with tapped(self.model, self.layer) as kept:
            logits = self.model(images)
        output = torch.cat(outputs_of(kept, self.layer, len(images), self.model))[: len(images)]
        told = output.flatten(1) if self.readout is None else self.readout(output)
        return torch.cat([logits, told.to(logits.dtype)], 1)
