"""How much a number tells of whether a picture is of a class.

*Mutual information* of a number ``v`` and ``1[y = c]``, in nats, by the plug-in estimate: values
are put into ten bins of equal count, equal values into the same one, and

    ``I = sum p(b, y) * log(p(b, y) / (p(b) * p(y)))``

over bins and both answers. Liang et al. (2020, 2007.08194) take scikit-learn's estimate from
nearest neighbours; that wants noise added where values are equal, as most are after a ReLU, and a
search for each number and class. The plug-in estimate is too high by about ``(bins - 1) / 2N``
nats, and the largest over many classes by more: so what it reaches with labels dealt at random
stands beside it.

*Correlation* is Pearson's, of ``v`` and ``1[y = c]``.

Their *mutual-information score* is the mean over numbers of the largest information on a class.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fluoroscope.words import number

Floats = NDArray[np.float64]
Values = NDArray[np.floating[Any]]
BINS = 10
# Counts and values that are there at once.
_AT_ONCE = 2**23


class Information(NamedTuple):
    """What ``K`` numbers tell of each of ``C`` classes."""

    of_class: Floats
    """``(K, C)`` in nats; NaN of a number that is NaN of some picture."""
    by_chance: float
    """The score with labels dealt at random."""

    @property
    def score(self) -> float:
        """The mean over numbers of the largest over classes, in nats; NaN where none is known."""
        return mean_of_largest(self.of_class)

    @property
    def said(self) -> str:
        """The score in words; empty where none is known."""
        if np.isnan(self.score):
            return ""
        return (
            f"{number(self.score)} nats on average of a unit and the class it tells most of, "
            f"{number(self.by_chance)} with labels dealt at random"
        )

    def describe(self) -> dict[str, float | None]:
        """The score as plain values."""
        known = not np.isnan(self.score)
        return {
            "mutual_information": self.score if known else None,
            "by_chance": self.by_chance if known else None,
        }


def information(values: Values, labels: NDArray[np.int64], classes: int) -> Information:
    """Of values ``(N, K)`` and labels ``(N,)``; rows whose label is below 0 do not count."""
    known = np.flatnonzero(labels >= 0)
    own = labels[known]
    dealt = own[np.random.default_rng(0).permutation(len(own))]
    found, chance = (np.full((values.shape[1], classes), np.nan) for _ in range(2))
    if len(known):
        for units, bins in _binned(values, known, classes):
            for made, of_rows in ((found, own), (chance, dealt)):
                told = _from_counts(_counted(bins, of_rows, classes))
                made[units] = np.where((bins < 0).any(0, keepdims=True).T, np.nan, told)
    return Information(found, mean_of_largest(chance))


def correlation(values: Values, labels: NDArray[np.int64], classes: int) -> Floats:
    """Pearson's of values ``(N, K)`` and being of a class, ``(K, C)``; NaN of what never changes.

    Rows whose label is below 0 do not count.
    """
    known = labels >= 0
    own = labels[known]
    rows = np.asarray(values[known], np.float64)
    one_hot = np.eye(classes)[own]
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = rows - rows.mean(0)
        one_hot = one_hot - one_hot.mean(0)
        lengths = np.linalg.norm(rows, axis=0)[:, None] * np.linalg.norm(one_hot, axis=0)
        found: Floats = np.where(lengths > 0, rows.T @ one_hot / lengths, np.nan)
    return found


def mean_of_largest(of_class: Floats) -> float:
    """Of ``(K, C)`` the mean over rows of the largest that is known; NaN where there is none."""
    largest = np.fmax.reduce(of_class, axis=1)  # NaN where all are
    known = largest[~np.isnan(largest)]
    return float(known.mean()) if len(known) else float("nan")


def _binned(
    values: Values, rows: NDArray[np.int64], classes: int
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Some of the units after the other, and the bin of each value, ``(N, units)``; -1 of NaN."""
    at_once = max(1, _AT_ONCE // max(len(rows), BINS * classes))
    places = np.arange(1, BINS) * len(rows) // BINS
    for start in range(0, values.shape[1], at_once):
        units = slice(start, start + at_once)
        some = values[:, units][rows]
        edges = np.sort(some, axis=0)[places]
        bins = np.zeros(some.shape, dtype=np.int64)
        for edge in edges:
            bins += some >= edge
        yield units, np.where(np.isnan(some), -1, bins)


def _counted(bins: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> Floats:
    """How many rows have each bin and class, ``(units, bins, C)``."""
    units = bins.shape[1]
    cell = (np.arange(units) * BINS + bins.clip(min=0)) * classes + labels[:, None]
    counts = np.bincount(cell.ravel(), minlength=units * BINS * classes)
    return counts.reshape(units, BINS, classes).astype(np.float64)


def _from_counts(of_class: Floats) -> Floats:
    """Information on each class, ``(units, C)``, of counts ``(units, bins, C)``."""
    of_bin = of_class.sum(2, keepdims=True)
    many = of_bin.sum(1, keepdims=True)
    in_all = of_class.sum(1, keepdims=True)
    found = np.zeros((len(of_class), of_class.shape[2]))
    for both, whole in ((of_class, in_all), (of_bin - of_class, many - in_all)):
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = both * np.log(both * many / (of_bin * whole))
        found += np.where(both > 0, parts, 0).sum(1) / many[:, 0]
    return found
