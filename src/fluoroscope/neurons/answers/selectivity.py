"""Which classes a unit answers to, how many pictures it answers to at all, and whether it does.

The class-selectivity index (Morcos et al. 2018, 1803.06959; 1702.00382): of the mean activations of
the classes the largest against the mean of the others, ``(mu_max - mu_rest) / (mu_max + mu_rest)``:
0 if all classes are alike, 1 if but one excites it. It is made for activations that are not
negative. So what is below zero counts as zero here, as after a ReLU, and how much that is is said.

Lifetime sparsity (Treves and Rolls 1991; Vinje and Gallant 2000), of rectified activations over
``N`` pictures: ``(1 - mean(r)^2 / mean(r^2)) / (1 - 1/N)``: 0 if all pictures excite it alike, 1 if
but one does. Beside it stands the plain share of pictures that excite it not at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fluoroscope.engine.information import Information, information
from fluoroscope.errors import InvalidParameterError
from fluoroscope.neurons.reading.reduction import Reduction
from fluoroscope.neurons.reading.units import Units
from fluoroscope.pictures import html
from fluoroscope.words import class_names, count, number, percent, shortened

Floats = NDArray[np.float64]
_TOP, _CHUNK = 100, 4096
_LISTED = 5


class Read(Protocol):
    """What was read of a layer: of ``N`` pictures a number of each of ``K`` units."""

    @property
    def values(self) -> NDArray[np.float32]: ...
    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def predicted(self) -> NDArray[np.int64]: ...
    @property
    def units(self) -> Units: ...
    @property
    def reduction(self) -> Reduction: ...
    @property
    def record(self) -> dict[str, Any]: ...


@dataclass(frozen=True, repr=False)
class UnitStatistics(html.Shown):
    """Numbers of each of the ``K`` units of a layer, over ``N`` pictures of ``C`` classes."""

    units: Units
    classes: tuple[str, ...]
    by: str
    """``labels``, or ``predicted`` where the pictures have no labels: what tells their classes."""
    pictures: NDArray[np.int64]
    """``(C,)`` of each class; without those whose class is not known."""
    means: Floats
    """``(K, C)``, the mean activation of each class, as it was read; NaN without pictures."""
    histogram: NDArray[np.int64]
    """``(K, C)``, the classes of the ``top`` pictures that excite a unit most."""
    top: int
    selectivity: Floats
    """``(K,)``; NaN of a unit that nothing excites."""
    favourite: NDArray[np.int64]
    """``(K,)``, the class of the largest mean; -1 of a unit that nothing excites."""
    sparsity: Floats
    """``(K,)``, lifetime sparsity; NaN of a unit that nothing excites."""
    zero: Floats
    """``(K,)``, the share of pictures in which it is at zero or below."""
    negative: Floats
    """``(K,)``, the share in which it is below zero."""
    dead: NDArray[np.bool_]
    """``(K,)``, whether it is the same in every picture."""
    information: Information
    """What each unit tells of each class: mutual information ``(K, C)``, and by chance."""
    record: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def said(self, unit: int) -> str:
        """A line on a unit."""
        if self.dead[unit]:
            return "dead: the same in every picture"
        if self.favourite[unit] < 0:
            return "no picture excites it: never above zero"
        name = class_names(self.classes)[int(self.favourite[unit])]
        return (
            f"mostly {name}, selectivity {number(self.selectivity[unit], 2)}, sparsity "
            f"{number(self.sparsity[unit], 2)}"
        )

    def top_classes(self, unit: int, most: int = _LISTED) -> list[tuple[str, int]]:
        """The classes of its top pictures and how many are of each, the most first."""
        row = self.histogram[unit]
        order = np.argsort(-row, kind="stable")[:most]
        return [(self.classes[place], int(row[place])) for place in order if row[place]]

    def describe(self) -> dict[str, Any]:
        """As plain values; what is undefined is ``None``."""
        return {
            "layer": self.units.describe(), "classes_by": self.by, "top": self.top,
            "pictures": int(self.pictures.sum()), "notes": list(self.notes),
            **self.information.describe(),
            "units": [
                {
                    "unit": unit,
                    "selectivity": _plain(self.selectivity[unit]),
                    "favourite": self._name(self.favourite[unit]),
                    "sparsity": _plain(self.sparsity[unit]),
                    "zero": float(self.zero[unit]),
                    "negative": float(self.negative[unit]),
                    "dead": bool(self.dead[unit]),
                    "information": _plain(self.information.of_class[unit].max()),
                    "informs_of": self._name(self._informs_of(unit)),
                    "top_classes": dict(self.top_classes(unit)),
                }
                for unit in range(self.units.count)
            ],
        }  # fmt: skip

    def _informs_of(self, unit: int) -> int:
        row = self.information.of_class[unit]
        return -1 if np.isnan(row).any() else int(row.argmax())

    def _name(self, label: int) -> str | None:
        return None if label < 0 else self.classes[int(label)]

    def _line(self) -> str:
        known = self.selectivity[~np.isnan(self.selectivity)]
        middle = f", median selectivity {number(float(np.median(known)))}" if len(known) else ""
        return (
            f"{count(self.units.count, 'unit')} of {self.units.layer} over "
            f"{count(int(self.pictures.sum()), 'picture')}; {int(self.dead.sum()):,} dead{middle}"
        )

    def _view(self) -> Iterator[html.Html]:
        order = np.argsort(-np.nan_to_num(self.selectivity, nan=-1), kind="stable")
        rows = [
            [str(unit), self.said(unit), _listed(self.top_classes(unit, 3))]
            for unit in order.tolist()[: html.ROWS + 1]
        ]
        yield html.table(["unit", "what excites it", f"of its top {self.top}"], rows)
        if self.information.said:
            yield html.paragraph(f"mutual information: {self.information.said}")
        yield html.notes(self.notes)


def unit_statistics(
    activations: Read, classes: Sequence[str] | None = None, *, top: int | None = None
) -> UnitStatistics:
    """Class histogram, selectivity, sparsity and life of every unit that was read.

    Args:
        activations: what :func:`fluoroscope.neurons.read` gave; anything with its ``values``
            ``(N, K)``, ``labels`` and ``predicted`` ``(N,)`` (-1 where unknown), and ``units``.
        classes: their names; by default those of the record, else numbers.
        top: how many pictures that excite a unit most its class histogram counts; by default 100,
            or a tenth of fewer than 1,000.

    Raises:
        InvalidParameterError: no pictures, or ``top`` below 1.
    """
    if not hasattr(activations, "units"):
        raise InvalidParameterError(
            f"activations are a {type(activations).__name__}; expected what fs.neurons.read gives"
        )
    values = activations.values
    if not len(values):
        raise InvalidParameterError("activations are of no pictures; expected 1 or more")
    top = max(1, min(_TOP, len(values) // 10)) if top is None else top
    if top < 1:
        raise InvalidParameterError(f"top is {top}; expected 1 or more")
    labels, by = np.asarray(activations.labels), "labels"
    if not (labels >= 0).any():
        labels, by = np.asarray(activations.predicted), "predicted"
    names = tuple(classes or activations.record.get("labels") or ())
    many = max(len(names), int(labels.max()) + 1)
    names += tuple(map(str, range(len(names), many)))
    sums = _summed(values, labels, many)
    top = min(top, len(values))
    histogram = np.zeros((values.shape[1], many), dtype=np.int64)
    for unit, rows in enumerate(top_rows(values, top)):
        own = labels[rows]
        histogram[unit] = np.bincount(own[own >= 0], minlength=many)
    told = information(values, labels, many)
    return _made(activations, names, by, sums, histogram, top, told)


@dataclass
class _Sums:
    """Over all pictures, unit by unit."""

    pictures: NDArray[np.int64]
    of_class: Floats
    rectified: Floats
    total: Floats
    squares: Floats
    zero: NDArray[np.int64]
    negative: NDArray[np.int64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    count: int


def _summed(values: NDArray[np.float32], labels: NDArray[np.int64], many: int) -> _Sums:
    """Read once, some rows at a time."""
    units = values.shape[1]
    known = labels >= 0
    found = _Sums(
        np.bincount(labels[known], minlength=many),
        np.zeros((units, many)), np.zeros((units, many)), np.zeros(units), np.zeros(units),
        np.zeros(units, np.int64), np.zeros(units, np.int64),
        np.full(units, np.inf, np.float32), np.full(units, -np.inf, np.float32), len(values),
    )  # fmt: skip
    for start in range(0, len(values), _CHUNK):
        rows = np.asarray(values[start : start + _CHUNK], dtype=np.float64)
        positive = rows.clip(min=0)
        own = labels[start : start + _CHUNK]
        here = own >= 0
        one_hot = np.zeros((int(here.sum()), many))
        one_hot[np.arange(len(one_hot)), own[here]] = 1
        found.of_class += rows[here].T @ one_hot
        found.rectified += positive[here].T @ one_hot
        found.total += positive.sum(0)
        found.squares += (positive**2).sum(0)
        found.zero += (rows <= 0).sum(0)
        found.negative += (rows < 0).sum(0)
        found.low = np.minimum(found.low, rows.min(0)).astype(np.float32)
        found.high = np.maximum(found.high, rows.max(0)).astype(np.float32)
    return found


def _made(
    activations: Read, names: tuple[str, ...], by: str, sums: _Sums,
    histogram: NDArray[np.int64], top: int, told: Information,
) -> UnitStatistics:  # fmt: skip
    there = sums.pictures > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(there, sums.of_class / sums.pictures, np.nan)
        rectified = sums.rectified[:, there] / sums.pictures[there]
        selectivity = selectivity_index(rectified)
        sparsity = lifetime_sparsity(sums.total, sums.squares, sums.count)
    favourite = np.full(len(means), -1)
    excited = sums.total > 0
    if there.any():
        favourite = np.where(rectified.max(1) > 0, np.flatnonzero(there)[rectified.argmax(1)], -1)
    notes = []
    negative = sums.negative / sums.count
    below = int((negative > 0).sum())
    if below:
        notes.append(
            f"{count(below, 'unit')} of {len(means):,} {'goes' if below == 1 else 'go'} below "
            f"zero, in {percent(float(negative[negative > 0].mean()))} of the pictures on average: "
            "selectivity and sparsity count that as zero, as after a ReLU"
        )
    if by == "predicted":
        notes.append("the pictures have no labels: their classes are those predicted")
    elif (lost := sums.count - int(sums.pictures.sum())) > 0:
        notes.append(f"{count(lost, 'picture')} without a label: not in what is said of classes")
    if there.sum() == 1:
        notes.append("the pictures are of one class, so no selectivity can be told")
    return UnitStatistics(
        units=activations.units, classes=names, by=by, pictures=sums.pictures, means=means,
        histogram=histogram, top=top, selectivity=selectivity, favourite=favourite,
        sparsity=np.where(excited, sparsity, np.nan), zero=sums.zero / sums.count,
        negative=negative, dead=sums.low == sums.high, information=told, notes=tuple(notes),
        record={"reduction": str(activations.reduction), "pictures": sums.count},
    )  # fmt: skip


def selectivity_index(means: Floats) -> Floats:
    """Of the mean rectified activations ``(K, C)`` of classes; NaN where all are zero, or of one
    class.
    """
    if means.shape[1] < 2:
        return np.full(len(means), np.nan)
    most = means.max(1)
    rest = (means.sum(1) - most) / (means.shape[1] - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(most > 0, (most - rest) / (most + rest), np.nan)


def lifetime_sparsity(total: Floats, squares: Floats, pictures: int) -> Floats:
    """Of sums and sums of squares ``(K,)`` of rectified activations; NaN of one picture."""
    if pictures < 2:
        return np.full(len(total), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = (total / pictures) ** 2 / (squares / pictures)
        return (1 - alike) / (1 - 1 / pictures)


def top_rows(values: NDArray[np.float32], top: int) -> Iterator[NDArray[np.int64]]:
    """For each unit the rows of its largest values, the largest first; of equal ones the earlier.

    Read once, some rows at a time; memory is that of the rows that are kept.
    """
    kept = torch.empty(0, values.shape[1], dtype=torch.float32, device="cpu")
    rows = torch.empty(0, values.shape[1], dtype=torch.long, device="cpu")
    for start in range(0, len(values), _CHUNK):
        new = torch.from_numpy(np.array(values[start : start + _CHUNK], dtype=np.float32))
        numbers = torch.arange(start, start + len(new), device="cpu")
        kept = torch.cat([kept, new])
        rows = torch.cat([rows, numbers[:, None].expand(-1, values.shape[1])])
        kept, order = kept.sort(dim=0, descending=True, stable=True)
        kept, rows = kept[:top], rows.gather(0, order)[:top]
    return iter(rows.T.numpy())


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _listed(classes: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{shortened(name)} {many}" for name, many in classes)
