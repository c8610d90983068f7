"""What class histograms of units say: how consistent they are, how alike, and which class it is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoroscope.neurons.meaning.arrays import Array, Numbers

# What rounding leaves between two shares that are equal.
_ROUNDING = 1e-9


def level_of_consistency(
    histograms: Array, similarity: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """``pᵀAp`` ``(K,)`` of histograms ``(K, C)`` and a similarity of classes ``(C, C)``.

    As precise as the similarity is.
    """
    shares = histograms.astype(similarity.dtype, copy=False)
    found: NDArray[np.floating[Any]] = ((shares @ similarity) * shares).sum(1)
    return found


def cosines(first: Array, second: Array) -> Array:
    """Of each unit's two histograms ``(K, C)``, ``(K,)``; NaN where it has none."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    found: Array = (first * second).sum(1) / lengths
    return found


def cosines_at_chance(histograms: Array, labels: Numbers, drawn: int) -> Array:
    """The cosine ``(K,)`` of histograms ``(K, C)`` with that of so many pictures drawn at random.

    Of pictures of classes ``(M,)``, without repeats: the expected product over the square root of
    the expected squared length. Fewer pictures have a longer histogram, so that it is no cosine
    with the distribution of all. Of a handful it is some per cent too low.
    """
    many, drawn = len(labels), min(drawn, len(labels))
    every = shares(labels, histograms.shape[1])
    own = (every**2).sum()
    squared = own + (1 - own) / drawn * (many - drawn) / max(1, many - 1)
    found: Array = histograms @ every / (np.linalg.norm(histograms, axis=1) * np.sqrt(squared))
    return found


def labels_of(histograms: Array) -> Numbers:
    """The class of most of a unit's pictures ``(K,)``; -1 where several are at the top, or none."""
    known = np.nan_to_num(histograms, nan=0.0)
    best = known.max(1, keepdims=True)
    alone = ((known >= best - _ROUNDING).sum(1) == 1) & (best[:, 0] > 0)
    return np.where(alone, known.argmax(1), -1)


def flips(before: Numbers, after: Numbers) -> float:
    """The share of the units that have a label before ``(K,)`` and another, or none, after.

    NaN where none has one.
    """
    labelled = before >= 0
    return float((before != after)[labelled].mean()) if labelled.any() else float("nan")


def shares(labels: Numbers, classes: int) -> Array:
    """The share of pictures of each class ``(classes,)``."""
    found: Array = np.bincount(labels, minlength=classes) / max(1, len(labels))
    return found
