"""Accuracy against the bound: one search for each sample's closest misclassified image tells all of
it.

A sample survives at every bound below the distance ``d`` of its closest misclassified image and at
none from there on, so the accuracy is the step function ``A(eps) = |{d > eps}| / N`` and never
rises. ``d`` is the smallest over all stages, and 0 where the clean image was misclassified. It is
an upper bound of the true one, as every attack's is: accuracies are upper bounds too.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fluoroscope.arrow import array_of
from fluoroscope.engine.intervals import Interval, wilson
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.history import ROUNDING
from fluoroscope.evaluation.rows import CLEAN
from fluoroscope.pictures import html
from fluoroscope.pictures.curves import robustness_curves
from fluoroscope.pictures.plots import SERIES, page_style
from fluoroscope.words import count, number, percent

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Those of the smallest perturbation that are reported."""
# Points of the curve that are written down and drawn; the rows of a run have them all.
_MOST = 200


@dataclass(frozen=True)
class Point:
    """The accuracy at one bound."""

    eps: float
    accuracy: float
    interval: Interval
    """Of the accuracy at this bound alone, not of the whole curve at once."""


@dataclass(frozen=True, repr=False)
class Curve(html.Shown):
    """Accuracy against ``eps``, from the distances of ``N`` samples' closest misclassified
    images.
    """

    norm: str
    distance: NDArray[np.float64]
    """``(N,)``; 0 where the clean image was misclassified, infinite where no misclassified one was
    found.
    """
    label: NDArray[np.int64]
    """``(N,)``, the true class of each."""
    names: tuple[str, ...] | None = None
    """The classes' names."""

    def __len__(self) -> int:
        return len(self.distance)

    @cached_property
    def _sorted(self) -> NDArray[np.float64]:
        return np.sort(self.distance)

    @property
    def eps(self) -> NDArray[np.float64]:
        """Where the accuracy falls, ascending, and 0 before all."""
        return np.unique(np.append(self._sorted[np.isfinite(self._sorted)], 0.0))

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """The share that survives at each of ``eps``."""
        return self._surviving(self.eps) / max(len(self), 1)

    def at(self, eps: float) -> Point:
        """The accuracy at a bound, as the verdict counts it, with its 95 % interval of Wilson's.

        Raises:
            InvalidParameterError: a bound below 0.
        """
        if not eps >= 0:
            raise InvalidParameterError(f"eps is {eps}; expected 0 or more")
        surviving = int(self._surviving(np.array([eps]))[0])
        return Point(eps, surviving / max(len(self), 1), wilson(surviving, len(self)))

    def points(self, most: int = _MOST) -> list[Point]:
        """The curve from 0 to where it ends, at no more than ``most`` of its steps."""
        eps = self.eps
        kept = np.unique(np.linspace(0, len(eps) - 1, min(most, len(eps))).round().astype(int))
        return [self.at(float(value)) for value in eps[kept]]

    def quantile(self, share: float) -> float:
        """The distance within which this share of the samples classified correctly can be
        misclassified.

        It is that of a sample, not between two; infinite where fewer were misclassified, ``nan``
        where none was classified correctly.
        """
        if not 0 <= share <= 1:
            raise InvalidParameterError(f"share is {share}; expected 0 to 1")
        right = self._sorted[self._sorted > 0]
        if not len(right):
            return math.nan
        return float(right[max(math.ceil(share * len(right)) - 1, 0)])

    @property
    def median(self) -> float:
        """The median smallest perturbation of the samples classified correctly."""
        return self.quantile(0.5)

    @property
    def right(self) -> int:
        """Samples whose clean image is classified correctly."""
        return int((self.distance > 0).sum())

    @property
    def classes(self) -> dict[int, "Curve"]:
        """The curve of each class that has samples."""
        return {
            int(label): Curve(self.norm, self.distance[self.label == label], own, self.names)
            for label in np.unique(self.label)
            for own in [self.label[self.label == label]]
        }

    def _line(self) -> str:
        clean = self.right / max(len(self), 1)
        return (
            f"{self.norm}: median smallest change {number(self.median)} over "
            f"{count(len(self), 'picture')}, clean accuracy {percent(clean)}"
        )

    def _view(self) -> Iterator[html.Html]:
        points = [(at.eps, at.accuracy, *at.interval) for at in self.points()]
        with page_style():
            figure = robustness_curves({"all": points}, norm=self.norm, colors=SERIES)
        yield html.plot(figure, f"accuracy against the bound in {self.norm}")
        yield html.table(
            ["of those classified correctly", *(f"{share:.0%}" for share in QUANTILES)],
            [
                [
                    f"are misclassified within {self.norm}",
                    *(number(self.quantile(share)) for share in QUANTILES),
                ]
            ],
            right=range(1, 1 + len(QUANTILES)),
        )

    def describe(self) -> dict[str, Any]:
        """As plain values; ``None`` stands for a distance that nothing was found within."""
        return {
            **self._summary(),
            "points": [
                {"eps": at.eps, "accuracy": at.accuracy, "interval": list(at.interval)}
                for at in self.points()
            ],
            "classes": [
                {"class": label, "name": self.name(label), **curve._summary()}
                for label, curve in self.classes.items()
            ],
        }

    def name(self, label: int) -> str:
        """What a class is called."""
        return str(label) if self.names is None else self.names[label]

    def _summary(self) -> dict[str, Any]:
        never = int(np.isinf(self.distance).sum())
        return {
            "norm": self.norm,
            "count": len(self),
            "clean_accuracy": self.right / max(len(self), 1),
            "never_misread": never,
            "median": _finite(self.median),
            "quantiles": {str(share): _finite(self.quantile(share)) for share in QUANTILES},
        }

    def _surviving(self, eps: NDArray[np.float64]) -> NDArray[np.int64]:
        """How many samples survive at each bound; a distance that only rounding puts beyond it is
        not.

        At 0 a sample survives if its clean image is classified correctly.
        """
        reach = np.where(eps > 0, eps + ROUNDING, 0.0)
        return len(self) - np.searchsorted(self._sorted, reach, side="right")


def curve_of(
    rows: pa.Table | Sequence[Sequence[pa.Table]],
    norm: str,
    names: Sequence[str] | None = None,
) -> Curve:
    """The curve of a run.

    Args:
        rows: all rows of a run, as :meth:`.RunDirectory.tables` gives them, or the tables of each
            of its parts.
        norm: what their distances are in.
        names: of the network's classes.
    """
    table = rows
    if not isinstance(table, pa.Table):
        table = pa.concat_tables([each for tables in rows for each in tables])
    stages = table["attack"].combine_chunks().dictionary_encode()
    clean = np.array([name == CLEAN for name in stages.dictionary.to_pylist()], dtype=bool)
    unattacked = clean[array_of(stages.indices)] & ~array_of(table["success"])
    distance = np.where(unattacked, np.inf, array_of(table["distance"]))
    _, first, sample = np.unique(array_of(table["index"]), return_index=True, return_inverse=True)
    nearest = np.full(len(first), np.inf)
    np.minimum.at(nearest, sample, distance)
    order = np.argsort(first)  # as the rows have them
    label = array_of(table["label"]).astype(np.int64)[first[order]]
    return Curve(norm, nearest[order], label, None if names is None else tuple(names))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
