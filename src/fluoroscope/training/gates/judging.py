"""What a training with gates came to: numbers of the matrix, and of what its filters say."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.engine.information import correlation, information, mean_of_largest
from fluoroscope.models.classifier import Classifier
from fluoroscope.training.gates.matrix import OPEN, GateMatrix
from fluoroscope.training.reading import answers, evenly


def judged(model: Classifier, images: Tensor, labels: Tensor, gates: GateMatrix) -> dict[str, Any]:
    """As plain values for a record, over some thousands of the images, evenly among them.

    Of each filter counts the mean over its places. ``agreement`` is the share of filters that are
    open to the class with whose pictures they are correlated most, and ``agreement_by_chance`` what
    it is of classes drawn at random: gates that are open to all classes agree with any.

    Args:
        model: the trained network.
        images: ``(N, C, H, W)``, 8-bit, or floats in ``[0, 1]``, of the network's size.
        labels: ``(N,)``, the class of each.
        gates: those of the training.
    """
    chosen = evenly(len(images))
    own = labels[chosen].numpy()
    values = features(model, images[chosen], gates.layer)
    told = information(values, own, len(gates.classes))
    related = correlation(values, own, len(gates.classes))
    agrees, by_chance = agreement(gates, related)
    return {
        **gates.describe(),
        "pictures": len(chosen),
        **told.describe(),
        "correlation": mean_of_largest(related),
        "agreement": agrees,
        "agreement_by_chance": by_chance,
    }


def features(model: Classifier, images: Tensor, layer: str) -> NDArray[np.float64]:
    """Of each filter of a layer the mean over its places, ``(N, K)``."""
    found = [answer.flatten(2).mean(2) for answer in answers(model, images, layer)]
    return torch.cat(found).numpy()


def agreement(gates: GateMatrix, related: NDArray[np.float64]) -> tuple[float, float]:
    """The share of filters that are open to the class they go with most; the dead ones do not.

    And its chance level, for a class drawn at random for each filter.
    """
    known = ~np.isnan(related).all(1)
    most = np.where(np.isnan(related), -np.inf, related).argmax(1)
    opened = gates.values.numpy() > OPEN
    own = opened[most, np.arange(len(most))]
    return float((own & known).mean()), float((opened.mean(0) * known).mean())
