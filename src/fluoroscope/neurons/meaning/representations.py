"""Whose side the representation of an adversarial picture takes: its own class's, or its target's.

A representation is what all units of a layer say of a picture; distances are Euclidean. Two ratios
of them are taken of each adversarial picture, below 1 where it lies nearer to its own side:

``r1`` = distance from the mean of its own class ÷ from the mean of the target class, and
``r2`` = distance from the picture it was made of ÷ from the nearest real picture of the target.

Fig. 9 of Dong et al. (2017) shows two such ratios; which distances theirs are of is inferred.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoroscope.neurons.meaning.arrays import Array, Numbers, Values, blocks, class_sums


@dataclass(frozen=True, eq=False)
class Ratios:
    """Of each adversarial picture ``(M,)``; NaN where something that it needs is not there."""

    r1: Array
    r2: Array
    r1_real: Array
    """``r1`` of the real picture that it was made of, with the same target."""


def ratios(
    real: Values, labels: Numbers, adversarial: Values, own: Numbers, targets: Numbers,
    partners: Numbers, classes: int,
) -> Ratios:  # fmt: skip
    """Ratios of adversarial representations ``(M, K)`` among real ones ``(N, K)``.

    Args:
        real: of real pictures.
        labels: their classes ``(N,)``.
        adversarial: of adversarial pictures.
        own: their true classes ``(M,)``.
        targets: the classes that they were aimed at ``(M,)``.
        partners: for each the row in ``real`` that it was made of ``(M,)``, -1 where it is not
            there. It is left out of the mean of its class, if that has any other picture.
        classes: how many there are.
    """
    sums, counts = class_sums(real, labels, classes)
    parts = [
        _means_ratios(real, labels, sums, counts, adversarial[rows], own[rows], targets[rows],
                      partners[rows])
        for rows in blocks(len(adversarial))
    ]  # fmt: skip
    r1, own_distance, r1_real = (np.concatenate(each) for each in zip(*parts, strict=True))
    nearest = _nearest_of_target(real, labels, adversarial, targets)
    return Ratios(r1, ratio(own_distance, nearest), r1_real)


def ratio(first: Array, second: Array) -> Array:
    """One distance over another; 1 where both are 0, infinite where only the second is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = first / second
    return np.where((first == 0) & (second == 0), 1.0, found)


def _means_ratios(
    real: Values, labels: Numbers, sums: Array, counts: Numbers, adversarial: Values,
    own: Numbers, targets: Numbers, partners: Numbers,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """``r1``, the distance from the source, and ``r1`` of the source."""
    points = adversarial.astype(np.float64)
    sources = real[partners.clip(0)].astype(np.float64)
    there = partners >= 0
    # A source is one of its class's pictures, and would pull its mean to what was made of it.
    among = there & (labels[partners.clip(0)] == own) & (counts[own] > 1)
    totals, many = sums[own], counts[own].astype(np.float64)
    totals = totals - sources * among[:, None]
    many = many - among
    means, goals = _means(totals, many), _means(sums[targets], counts[targets])
    r1 = ratio(_lengths(points - means), _lengths(points - goals))
    r1_real = ratio(_lengths(sources - means), _lengths(sources - goals))
    away = np.where(there, _lengths(points - sources), np.nan)
    return r1, away, np.where(among, r1_real, np.nan)


def _means(totals: Array, many: NDArray[np.generic]) -> Array:
    counts = many.astype(np.float64)[:, None]
    return np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)


def _nearest_of_target(
    real: Values, labels: Numbers, adversarial: Values, targets: Numbers
) -> Array:
    """The distance of each adversarial picture from the nearest real one of its target class."""
    found = np.full(len(adversarial), np.nan)
    for target in np.unique(targets):
        members = np.flatnonzero(labels == target)
        aimed = np.flatnonzero(targets == target)
        for block in blocks(len(aimed)):
            rows = aimed[block]
            points = adversarial[rows].astype(np.float64)
            best, at = np.full(len(rows), np.inf), np.full(len(rows), -1)
            for part in blocks(len(members)):
                others = real[members[part]].astype(np.float64)
                # Only to find which one it is: rounding makes no distance of this.
                near = (others**2).sum(1) - 2 * points @ others.T
                place = near.argmin(1)
                value = near[np.arange(len(rows)), place]
                at = np.where(value < best, members[part][place], at)
                best = np.minimum(value, best)
            if len(members):
                found[rows] = _lengths(points - real[at].astype(np.float64))
    return found


def _lengths(rows: Array) -> Array:
    found: Array = np.sqrt((rows**2).sum(1))
    return found
