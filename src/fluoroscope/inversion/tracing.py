"""Which layers a network uses in a pass: what features, goals and paths are found by."""

import torch
from torch import Tensor, nn

from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import Use, traced

_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)


def uses_and_logits(model: Classifier, size: tuple[int, int]) -> tuple[list[Use], Tensor]:
    """Every use of a layer in a pass of one picture of noise, and the logits ``(1, K)`` of it.

    ``size`` is the picture's ``(height, width)`` where the network takes any.
    """
    height, width = model.input_size or size
    key = randomness.keys(0, torch.zeros(1, dtype=torch.long, device=model.device))
    noise = randomness.uniform(key, 0, (model.channels, height, width))
    with traced(model) as uses:
        answer = evaluate(model, noise.to(model.device, model.dtype), look=False)
    return list(uses), answer.logits


def weighted(uses: list[Use]) -> list[Use]:
    """Those of layers with weights: linear ones and convolutions."""
    return [use for use in uses if isinstance(use.layer, _WEIGHTED)]
