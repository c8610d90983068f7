"""Accuracies of slices of a data set: of its classes, of the pictures of each camera or site."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoroscope.engine.intervals import Interval, wilson
from fluoroscope.evaluation.behind import Behind, Measure, classes_behind
from fluoroscope.words import interval, percent

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Slice:
    """The pictures of one class, or of one value of a column."""

    value: str
    count: int
    clean_accuracy: float
    clean_interval: Interval
    robust_accuracy: float | None = None
    """``None`` where nobody attacked."""
    robust_interval: Interval | None = None

    def cells(self) -> list[str]:
        """As a row of a table: the value, pictures, and each accuracy with its interval."""
        cells = [self.value, f"{self.count:,}"]
        cells += [percent(self.clean_accuracy), interval(self.clean_interval)]
        if self.robust_accuracy is not None and self.robust_interval is not None:
            cells += [percent(self.robust_accuracy), interval(self.robust_interval)]
        return cells


@dataclass(frozen=True)
class Slicing:
    """A data set by the values of one column."""

    column: str
    slices: tuple[Slice, ...]
    """The lowest accuracy first: under attack, where somebody attacked."""
    behind: tuple[Behind, ...] = ()
    """Values whose pictures fall far behind all others, as classes do."""

    @property
    def words(self) -> tuple[str, ...]:
        """A sentence on each of them."""
        return tuple(
            f"{one.measure} accuracy falls far behind the others for {self.column} {one}"
            for one in self.behind
        )


def slices_of(
    values: Sequence[str], right: Flags, robust: Flags | None = None
) -> tuple[Slice, ...]:
    """A slice for each value, the lowest first.

    Args:
        values: ``(N,)``, of each picture.
        right: ``(N,)``, whether it is classified correctly.
        robust: ``(N,)``, and stays so under attack.
    """
    of = np.asarray(values, dtype=object)
    found = [_slice(value, right, robust, of == value) for value in sorted(set(values))]
    return tuple(sorted(found, key=_accuracies))


def slicing(
    column: str, values: Sequence[str], right: Flags, robust: Flags | None = None
) -> Slicing:
    """The slices of a column, and which fall far behind the others."""
    names, codes = np.unique(np.asarray(values, dtype=str), return_inverse=True)
    measures: list[tuple[Measure, Flags]] = [("clean", right)]
    measures += [] if robust is None else [("robust", robust)]
    behind = [
        one
        for measure, flags in measures
        for one in classes_behind(codes.astype(np.int64), flags, names.tolist(), measure)
    ]
    return Slicing(column, slices_of(values, right, robust), tuple(behind))


def _slice(value: str, right: Flags, robust: Flags | None, mine: Flags) -> Slice:
    many, clean = int(mine.sum()), int(right[mine].sum())
    found = Slice(value, many, clean / many, wilson(clean, many))
    if robust is None:
        return found
    held = int(robust[mine].sum())
    return Slice(
        value, many, found.clean_accuracy, found.clean_interval, held / many, wilson(held, many)
    )


def _accuracies(one: Slice) -> tuple[float, float, str]:
    lowest = one.clean_accuracy if one.robust_accuracy is None else one.robust_accuracy
    return lowest, one.clean_accuracy, one.value
