"""Neuron sensitivity (Zhang et al. 2019, 1909.06978): how far an attack moves each unit.

Of unit ``k`` it is the mean of ``|a_k(x') - a_k(x)|`` over pairs of an adversarial picture and the
one it was made of; relative, over the unit's standard deviation on real pictures.
"""

from dataclasses import dataclass

import numpy as np

from fluoroscope.neurons.meaning.arrays import Array, Numbers, Values, blocks, spreads


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How far units are moved."""

    units: Array
    """``(K,)``; NaN where there are no pairs."""
    relative: Array
    """Over the unit's spread ``(K,)``; of one that no real picture moves 0 or infinite."""
    pictures: Array
    """The mean over units of the relative one, for each adversarial picture ``(M,)``; of the units
    that real pictures move."""


def sensitivity(real: Values, adversarial: Values, partners: Numbers) -> Sensitivity:
    """Of real activations ``(N, K)`` and adversarial ones ``(M, K)``.

    ``partners`` ``(M,)`` is the row in ``real`` of the picture that each was made of; those of
    which it is not there (-1) do not count.
    """
    spread = spreads(real)
    moves = spread > 0
    total, pairs = np.zeros(real.shape[1]), 0
    pictures = np.full(len(adversarial), np.nan)
    paired = np.flatnonzero(partners >= 0)
    for block in blocks(len(paired)):
        rows = paired[block]
        moved = np.abs(adversarial[rows].astype(np.float64) - real[partners[rows]])
        total += moved.sum(0)
        pairs += len(rows)
        if moves.any():
            pictures[rows] = (moved[:, moves] / spread[moves]).mean(1)
    units = total / pairs if pairs else np.full_like(total, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(units == 0, 0.0, units / spread)
    return Sensitivity(units, relative, pictures)
