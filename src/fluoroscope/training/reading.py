"""What a layer answers to test pictures, for what is found of a training."""

from collections.abc import Iterator

import torch
from torch import Tensor

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.models.classifier import Classifier
from fluoroscope.training.trainer.classification import pixels_for

# Pictures at once, and at most in all.
_AT_ONCE, MOST = 500, 5000


def evenly(many: int) -> Tensor:
    """The numbers of at most :data:`MOST` of so many pictures, evenly among them."""
    read = min(many, MOST)
    return torch.arange(read, device="cpu") * many // read


def answers(model: Classifier, images: Tensor, layer: str) -> Iterator[Tensor]:
    """What a layer gives out, ``(n, ...)`` in float64 on the CPU, a batch at a time.

    Args:
        model: the network.
        images: ``(N, C, H, W)``, 8-bit, or floats in ``[0, 1]``, of the network's size.
        layer: by its name.
    """
    like = torch.zeros(0, dtype=model.dtype, device=model.device)
    for batch in images.split(_AT_ONCE):
        answer = evaluate(model, pixels_for(batch, like), layer=layer, look=False)
        assert answer.activation is not None
        yield answer.activation.double().cpu()
