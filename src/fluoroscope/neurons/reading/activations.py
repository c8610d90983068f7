"""What the units of a layer said of pictures: a number for each unit and picture, and the rows.

In memory, or on disk as :mod:`.store` keeps it; then the numbers are read where they lie.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import nn

from fluoroscope.arrow import array_of, table_of
from fluoroscope.data.imageset import ImageSet
from fluoroscope.errors import InvalidParameterError, ResultFormatError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.reading import store
from fluoroscope.neurons.reading.reduction import Reduction, as_reduction
from fluoroscope.neurons.reading.store import SCHEMA, UNKNOWN
from fluoroscope.neurons.reading.units import Units
from fluoroscope.pictures import html
from fluoroscope.words import count, network_name, number, percent

if TYPE_CHECKING:
    from os import PathLike


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Activations(html.Shown):
    """What ``K`` units of a layer said of ``N`` pictures, one number each."""

    values: NDArray[np.float32]
    """``(N, K)``; read-only, and on disk where they were read from or kept there."""
    rows: pa.Table
    """A row for each picture, see :data:`SCHEMA`."""
    units: Units
    reduction: Reduction
    record: dict[str, Any]
    """Network, data, layer, reduction, versions, machine, notes, as plain values."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know."""
    images: ImageSet | None = None
    """The pictures, where they are at hand."""

    @cached_property
    def indices(self) -> NDArray[np.int64]:
        """``(N,)``, the number of each picture in its data set."""
        return array_of(self.rows["index"])

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """``(N,)``, true classes in the network's numbering; -1 where unknown."""
        return array_of(self.rows["label"])

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """``(N,)``, the class with the largest logit."""
        return array_of(self.rows["predicted"])

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """``(N,)``, the probability of that."""
        return array_of(self.rows["confidence"])

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """``(N,)``, the class that each was led to; -1 of pictures that were led nowhere."""
        return array_of(self.rows["target"])

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """``(N,)``, the number of the real picture that each was made of; -1 of real ones."""
        return array_of(self.rows["source"])

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pictures, ``N`` of them."""
        return tuple(self.rows["name"].to_pylist())

    @property
    def classes(self) -> tuple[str, ...]:
        """The network's names of its classes."""
        return tuple(self.record["labels"])

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(
        cls,
        values: NDArray[np.floating[Any]],
        units: Units,
        columns: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None,
        *,
        classes: Sequence[str] = (),
        reduction: Reduction | None = None,
        record: Mapping[str, Any] | None = None,
        notes: tuple[str, ...] = (),
        images: ImageSet | None = None,
    ) -> "Activations":
        """From numbers ``(N, K)`` that come from elsewhere.

        Args:
            values: one for each picture and unit.
            units: what they are of.
            columns: those of :data:`SCHEMA` that are known; the others say so.
            classes: the network's names of its classes.
            reduction: how each number was made of a unit's places; by default the mean.
            record: what else is to be told of them.
            notes: what a reader should know.
            images: the pictures.

        Raises:
            InvalidParameterError: they are not ``(N, K)``, or a column is of another length.
        """
        found = np.ascontiguousarray(values, dtype=np.float32)
        given: dict[str, Any] = dict(columns or {})
        many = len(found) if found.ndim else 0
        wrong = [name for name, column in given.items() if len(column) != many]
        if found.ndim != 2 or found.shape[1] != units.count or wrong:
            raise InvalidParameterError(
                f"values have shape {found.shape}"
                + (f" and the column {wrong[0]!r} {len(given[wrong[0]])} rows" if wrong else "")
                + f"; expected (N, {units.count}), a column for each of the layer's "
                f"{count(units.count, 'unit')}, and N rows in every column"
            )
        unknown = np.full(many, UNKNOWN)
        usual: dict[str, Any] = {
            "index": np.arange(many), "name": [f"picture {each}" for each in range(many)],
            "label": unknown, "predicted": unknown, "confidence": np.zeros(many),
            "target": unknown, "source": unknown, "picture": unknown,
        }  # fmt: skip
        found.flags.writeable = False
        reduction = reduction or Reduction()
        told = {**units.describe(), "reduction": str(reduction), "labels": list(classes)}
        told |= {"notes": list(notes), **(record or {})}
        return cls(
            values=found, rows=table_of({**usual, **given}, SCHEMA), units=units,
            reduction=reduction, record=told, notes=notes, images=images,
        )  # fmt: skip

    @classmethod
    def open(
        cls,
        directory: "str | PathLike[str]",
        model: Classifier | nn.Module | None = None,
        images: ImageSet | None = None,
    ) -> "Activations":
        """What :func:`.read` or :meth:`save` left in a directory; the numbers stay on disk.

        Args:
            directory: where.
            model: the network, if it is to be the one that they were read from.
            images: the pictures, if these are to be those; some of them are looked at.

        Raises:
            ResultFormatError: there are none, or they are damaged or of a newer version.
            InvalidParameterError: they are of another network, or of other pictures.
        """
        stored = store.opened(directory)
        quantity = stored.record.get("quantity", "activation")
        if quantity != "activation":
            raise ResultFormatError(
                f"{directory} holds the {quantity} of units; expected activations, as "
                "fluoroscope neurons read keeps them"
            )
        if model is not None:
            store.check_model(stored, as_classifier(model), directory)
        if images is not None:
            store.check_pictures(stored, images, directory, model)
        return cls.stored(stored, images)

    @classmethod
    def stored(cls, found: store.Stored, images: ImageSet | None) -> "Activations":
        """Those that lie on disk."""
        record = found.record
        return cls(
            values=found.values, rows=found.rows, units=found.units,
            reduction=as_reduction(record["reduction"]), record=record,
            notes=tuple(map(str, record["notes"])), images=images,
        )  # fmt: skip

    def save(self, directory: "str | PathLike[str]") -> list[Path]:
        """Write them as :func:`.read` does: the numbers as they are, the rows, the record.

        Raises:
            InvalidParameterError: the directory cannot be made, or holds other ones.
            StorageError: the disk has too little room, or refuses.
        """
        record = {**self.record, **self.units.describe(), "reduction": str(self.reduction)}
        return store.saved(
            self.values, self.rows, {**record, "notes": list(self.notes)}, Path(directory)
        )

    def describe(self) -> dict[str, Any]:
        """As plain values, without the numbers."""
        told = {name: value for name, value in self.record.items() if name != "identity"}
        return {**told, "pictures": len(self)}

    def _line(self) -> str:
        units = self.units
        return (
            f"{count(len(self), 'picture')}, {units.counted} of the layer {units.layer}, "
            f"{said(self.reduction)}"
        )

    def _view(self) -> Iterator[html.Html]:
        yield html.facts(self.facts())
        yield html.notes(self.notes)

    def facts(self) -> list[tuple[str, str]]:
        """What a reader sees first: names and values."""
        known = self.labels >= 0
        right = int((self.labels == self.predicted)[known].sum())
        some = self.values[: html.ROWS * 100]  # of very many the first
        finite = some[np.isfinite(some)]
        spread = ""
        if finite.size:
            low, middle, high = np.quantile(finite, [0.05, 0.5, 0.95])
            of = "" if len(some) == len(self) else f", of the first {len(some):,} pictures"
            spread = f"{number(middle)}; 90 % from {number(low)} to {number(high)}{of}"
        led = int((self.targets >= 0).sum())
        return [
            ("network", network_name(str(self.record.get("model", "")))),
            ("pictures", str(self.record.get("pictures_of", ""))),
            ("gives out", "×".join(map(str, self.units.shape))),
            ("a unit's number", spread),
            ("classified correctly", percent(right / known.sum()) if known.any() else ""),
            ("led to a target", f"{led:,}" if led else ""),
        ]


def said(reduction: Reduction) -> str:
    """In words what a unit's number for a picture is."""
    if reduction.at is None:
        return f"the {'largest' if reduction.kind == 'max' else 'mean'} over its places"
    if len(reduction.at) == 1:
        return f"at its place {reduction.at[0]}"
    return f"at row {reduction.at[0]}, column {reduction.at[1]}"
