"""Relevance of a layer's units over a data set, kept as activations are: a part at a time.

The class is the predicted one, so a picture that the network errs on tells what erred.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.arrow import array_of, table_of
from fluoroscope.attacks.parts import part_size
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.memory import fewer_at_once
from fluoroscope.engine.predict import check_batch_size, suitable_batch
from fluoroscope.engine.provenance import provenance
from fluoroscope.models.classifier import Classifier
from fluoroscope.neurons.answers.relevance import LayerReader, shown
from fluoroscope.neurons.reading.store import SCHEMA, UNKNOWN, Found, Store, checksums, finished
from fluoroscope.neurons.reading.store import opening as opening_store
from fluoroscope.neurons.reading.units import Units

if TYPE_CHECKING:
    from os import PathLike


@dataclass(frozen=True)
class KeptRelevance:
    """Of ``N`` pictures the relevance of ``K`` units for what each is predicted as."""

    values: NDArray[np.float32]
    """``(N, K)``; on disk where it was kept there."""
    rows: pa.Table
    units: Units
    way: str
    notes: tuple[str, ...]

    def shares(self) -> NDArray[np.float64]:
        """``(K,)``, each unit's mean part of all relevance, for and against, without its sign."""
        total = np.zeros(self.units.count)
        for start in range(0, len(self.values), 1024):
            size = np.abs(self.values[start : start + 1024].astype(np.float64))
            total += (size / np.maximum(size.sum(1, keepdims=True), 1e-30)).sum(0)
        return total / max(1, len(self.values))

    def ranking(self) -> NDArray[np.int64]:
        """The units ``(K,)`` by that share, the largest first."""
        return np.argsort(-self.shares(), kind="stable")

    @property
    def predicted(self) -> NDArray[np.int64]:
        """``(N,)``."""
        return array_of(self.rows["predicted"])


def kept_relevance(
    model: Classifier,
    images: ImageSet,
    layer: str,
    *,
    call: int | None = None,
    way: str | None = None,
    out: "str | PathLike[str] | None" = None,
    batch_size: int | None = None,
    on_share: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> KeptRelevance:
    """The relevance of every unit in every picture's decision.

    With ``out`` it is kept there, and a call that was killed goes on; one that is ``cancelled``
    gives what the first pictures said.

    Raises:
        InvalidParameterError: no such layer, call or way, or a directory that holds another one.
        StorageError: the disk has too little room, or refuses.
    """
    first = shown(model, images, [0]).to(model.device, model.dtype)
    reader = LayerReader(model, first, layer, call=call, way=way)
    at_once = suitable_batch(first) if batch_size is None else check_batch_size(batch_size)
    part = max(1, part_size(model) // at_once) * at_once
    about = provenance(model)
    identity = {
        **{key: about[key] for key in ("model", "model_sha256", "prepared", "precision")},
        "data": images.identity(), "reduction": f"relevance by {reader.way}", "layer": layer,
        "batch_size": at_once, "part": part, "call": call, "shape": reader.units.shape,
    }  # fmt: skip
    shape = (len(images), reader.units.count)
    with ExitStack() as opened:
        if out is None:
            store = Store(identity, shape, part)
        else:
            name = len(images.names(images.indices[-1:])[0].encode())
            store = opened.enter_context(opening_store(Path(out), identity, shape, part, name))
            whole = finished(store)
            if whole is not None:
                return KeptRelevance(
                    whole.values, whole.rows, reader.units, reader.way, reader.notes
                )
        many = 0
        for number, positions in enumerate(store.parts):
            if number not in store.done:
                parts: list[Found] = []
                for one in _read(reader, images.select(positions), at_once):
                    parts.append(one)
                    done = positions.start + sum(len(each.values) for each in parts)
                    if on_share is not None:
                        on_share(done / len(images))
                    if cancelled is not None and cancelled():
                        break
                if sum(len(each.values) for each in parts) < len(positions):
                    break
                store.put(number, Found.joined(parts))
            many = positions.stop
        tables = (
            _rows(images, positions, store.done[number])
            for number, positions in enumerate(store.parts)
            if positions.stop <= many
        )
        if store.path is not None and many == len(images):
            store.seal(
                tables,
                {**about, **reader.units.describe(), "reduction": "mean", "quantity": "relevance",
                 "way": reader.way, "labels": list(model.labels), "notes": list(reader.notes)},
            )  # fmt: skip
            whole = finished(store)
            assert whole is not None
            return KeptRelevance(whole.values, whole.rows, reader.units, reader.way, reader.notes)
        rows = pa.concat_tables([SCHEMA.empty_table(), *tables])
        return KeptRelevance(store.values()[:many], rows, reader.units, reader.way, reader.notes)


def _read(reader: LayerReader, images: ImageSet, at_once: int) -> Iterator[Found]:
    model = reader.model
    for batch in images.batches(at_once, fit=model.preprocessing):
        found = _asked(reader, batch.images.to(model.device, model.dtype))
        seen: dict[str, Any] = {
            "predicted": np.concatenate([each[1] for each in found]),
            "confidence": np.concatenate([each[2] for each in found]),
            "picture": checksums(batch.images),
        }
        yield Found(np.concatenate([each[0] for each in found]), seen)


def _asked(reader: LayerReader, images: Tensor) -> list[tuple[NDArray[Any], ...]]:
    found: list[tuple[NDArray[Any], ...]] = []
    done, at_once = 0, len(images)
    while done < len(images):
        rows = images[done : done + at_once]
        try:
            part = reader.read(rows, None)
        except RuntimeError as problem:
            at_once = fewer_at_once(problem, len(rows))
            continue
        numbers: tuple[Tensor, ...] = (part.values, part.predicted, part.confidence)
        found.append(tuple(each.numpy() for each in numbers))
        done += len(rows)
    return found


def _rows(images: ImageSet, positions: range, found: Found) -> pa.Table:
    indices = images.indices[positions.start : positions.stop]
    unknown = np.full(len(positions), UNKNOWN)
    columns: dict[str, Any] = {
        "index": indices, "name": images.names(indices), "label": unknown, "target": unknown,
        "source": unknown, **found.seen,
    }  # fmt: skip
    return table_of(columns, SCHEMA)


def sample_of(images: ImageSet, most: int) -> ImageSet:
    """Some pictures, spread over the whole set."""
    if len(images) <= most:
        return images
    places = torch.linspace(0, len(images) - 1, most, dtype=torch.float64, device="cpu")
    return images.select(places.round().long().tolist())
