"""How well a label's presence explains a unit's activation: the five scores that can be trusted.

Of 18 in use only these pass both tests of Oikarinen, Yan and Weng (2506.05774): a score has to fall
when half of a label's presence is taken away (missing labels), and when as much is added where
there is none (extra labels). Recall, AUC and scores on top and random pictures fail one of them.

``pearson`` and ``cosine`` take a label's presence as a number; ``auprc`` is the average precision
of the pictures that have it, ordered by activation; ``f1`` and ``iou`` compare them with those at
which the unit is on. Each takes a weight for each picture, which is how often it was drawn.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Score = Callable[[Floats, Floats, Floats], Floats]
"""Of an activation ``(N,)``, presences ``(N, L)`` and weights ``(N,)`` the scores ``(L,)``."""


def pearson(activation: Floats, presence: Floats, weights: Floats) -> Floats:
    """Correlation; 0 of what never changes."""
    total = weights.sum()
    a = activation - weights @ activation / total
    c = presence - weights @ presence / total
    return _ratio((weights * a) @ c, np.sqrt(weights @ a**2) * np.sqrt(weights @ c**2))


def cosine(activation: Floats, presence: Floats, weights: Floats) -> Floats:
    """Of the two as vectors over pictures."""
    size = np.sqrt(weights @ activation**2) * np.sqrt(weights @ presence**2)
    return _ratio((weights * activation) @ presence, size)


def auprc(activation: Floats, presence: Floats, weights: Floats) -> Floats:
    """Average precision of what is present (1, else 0); of equal activations all at once."""
    order = np.argsort(-activation, kind="stable")
    ordered = activation[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    hits = np.cumsum(weights[order, None] * presence[order], 0)[ends]
    seen = np.cumsum(weights[order])[ends]
    precision = _ratio(hits, seen[:, None])
    gained = np.diff(hits, axis=0, prepend=0)
    return _ratio((precision * gained).sum(0), hits[-1])


def f1(on: Floats, presence: Floats, weights: Floats) -> Floats:
    """Of the pictures at which the unit is on (1, else 0) and those that have the label."""
    both = (weights * on) @ presence
    return _ratio(2 * both, weights @ on + weights @ presence)


def iou(on: Floats, presence: Floats, weights: Floats) -> Floats:
    """Of the same, the share of those that are either."""
    both = (weights * on) @ presence
    return _ratio(both, weights @ on + weights @ presence - both)


SCORES: dict[str, tuple[Score, bool, bool]] = {
    "pearson": (pearson, False, False),
    "cosine": (cosine, False, False),
    "auprc": (auprc, False, True),
    "f1": (f1, True, True),
    "iou": (iou, True, True),
}
"""By name; whether the unit is taken as on or off, and the label as present or not."""


def _ratio(over: Floats, under: Floats) -> Floats:
    """0 where nothing is below."""
    under = np.broadcast_to(under, over.shape)
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)
