"""What class histograms of units say: how consistent they are, how alike, and which class it is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoroscope.neurons.meaning.arrays import Array, Numbers

# What rounding leaves between two shares that are equal.
_ROUNDING = 1e-9
# Of two classes that are level both are the commonest; of more that are all level, none is.
_LEVEL = 2


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


def commonest(histograms: Array) -> NDArray[np.bool_]:
    """The classes that most of a unit's pictures are of ``(K, C)``: several where they are level.

    None of a unit without pictures.
    """
    known = np.nan_to_num(histograms, nan=0.0)
    best = known.max(1, keepdims=True)
    found: NDArray[np.bool_] = (known >= best - _ROUNDING) & (best > 0)
    return found


def has_name(histograms: Array) -> NDArray[np.bool_]:
    """Whether a unit's pictures name it ``(K,)``: not if they are of many classes, all level.

    So are those of every unit where there is but one picture of each class.
    """
    there = (np.nan_to_num(histograms, nan=0.0) > 0).sum(1)
    found: NDArray[np.bool_] = (there <= _LEVEL) | (commonest(histograms).sum(1) < there)
    return found


def labels_of(classes: NDArray[np.bool_]) -> Numbers:
    """The one commonest class of each unit ``(K,)``; -1 where several are level, or none is."""
    return np.where(classes.sum(1) == 1, classes.argmax(1), -1)


def flipped(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Numbers:
    """1 of each unit whose commonest classes ``(K, C)`` have none in common, 0 where they have.

    So a tie counts alike on both sides: where a class is among those of both, nothing is lost.
    -1 of a unit that has none on one side.
    """
    known = before.any(1) & after.any(1)
    return np.where(known, ~(before & after).any(1), -1).astype(np.int64)


def shares(labels: Numbers, classes: int) -> Array:
    """The share of pictures of each class ``(classes,)``."""
    found: Array = np.bincount(labels, minlength=classes) / max(1, len(labels))
    return found
