"""Whether a network is as sure as it is right (Guo et al. 2017, 1706.04599).

Expected calibration error = Σ_b n_b/n · |accuracy_b − confidence_b|, over bins b of equal width of
the winner's probability. Few pictures alone make it larger than 0; :attr:`Calibration.by_chance`
says how large, so that a small set is not taken for a bad network.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
_DRAWS = 400


@dataclass(frozen=True)
class Bin:
    """The pictures that a network was about equally sure of."""

    low: float
    high: float
    count: int
    confidence: float
    """Their mean confidence; the bin's middle where it is empty."""
    accuracy: float
    """The share of them classified correctly; 0 where it is empty."""


@dataclass(frozen=True)
class Calibration:
    """Confidence beside accuracy."""

    error: float
    """The expected calibration error, from 0 to 1."""
    by_chance: float
    """What a network that is exactly as sure as it is right stays below on as many pictures, in 19
    of 20 draws."""
    confidence: float
    """Mean probability of the winner."""
    accuracy: float
    bins: tuple[Bin, ...]


def calibration(
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    *,
    bins: int = BINS,
    seed: int = 0,
) -> Calibration:
    """Hold the winners' probabilities ``(N,)`` against whether they were right ``(N,)``."""
    sure = np.asarray(confidence, dtype=np.float64)
    rows = np.minimum((sure * bins).astype(int), bins - 1)
    counts = np.bincount(rows, minlength=bins)
    filled = np.maximum(counts, 1)
    means = np.bincount(rows, sure, bins) / filled
    shares = np.bincount(rows, right, bins) / filled
    error = float(counts @ np.abs(shares - means) / len(sure))
    # Each picture is right with the probability that the network states.
    draws = np.random.default_rng(seed).random((_DRAWS, len(sure))) < sure
    drawn = np.stack([np.bincount(rows, draw, bins) for draw in draws]) / filled
    errors = np.abs(drawn - means) @ counts / len(sure)
    edges = np.linspace(0, 1, bins + 1)
    return Calibration(
        error,
        by_chance=float(np.quantile(errors, 0.95)),
        confidence=float(sure.mean()),
        accuracy=float(np.mean(right)),
        bins=tuple(
            Bin(
                float(edges[b]),
                float(edges[b + 1]),
                int(counts[b]),
                float(means[b] if counts[b] else edges[b : b + 2].mean()),
                float(shares[b]),
            )
            for b in range(bins)
        ),
    )
