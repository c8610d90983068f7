"""Reading what a layer's units say of the pictures of a data set, in one pass over it.

Pictures go through the network in batches, a whole number of which make a part; what is kept of a
part is one number for each unit and picture (:mod:`.reduction`), what the network predicted, and a
checksum of each picture as it was shown. Memory does not grow with the data where a directory is
given.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from fluoroscope.arrow import table_of
from fluoroscope.attacks.parts import part_size
from fluoroscope.data.columns import read_classes
from fluoroscope.data.imageset import ImageSet
from fluoroscope.data.sources import ArraySource
from fluoroscope.engine.classes import Given, class_values, names_of
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.first_look import PICTURES, first_look, notes_of, remind
from fluoroscope.engine.labels import Truth
from fluoroscope.engine.memory import fewer_at_once
from fluoroscope.engine.predict import check_batch_size, suitable_batch
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, UnknownLabelError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.layers import outputs_of, tapped
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.neurons.reading.reduction import Reduction, as_reduction
from fluoroscope.neurons.reading.store import (
    SCHEMA,
    UNKNOWN,
    Found,
    Store,
    check_pictures,
    checksums,
    finished,
    opening,
)
from fluoroscope.neurons.reading.units import Units, find_units, units_of
from fluoroscope.neurons.reading.usual import usual_layer
from fluoroscope.notices import collected, distinct
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count

if TYPE_CHECKING:
    from os import PathLike

Images = ImageSet | Tensor | tuple[Tensor, Given | None]
Cancelled = Callable[[], bool]


def read(
    model: Classifier | nn.Module,
    images: Images,
    layer: str | None = None,
    *,
    call: int | None = None,
    reduction: str | Reduction = "mean",
    out: "str | PathLike[str] | None" = None,
    batch_size: int | None = None,
    on_share: Callable[[float], None] | None = None,
    cancelled: Cancelled | None = None,
) -> Activations:
    """What every unit of a layer says of every picture: one number each, ``(N, K)``.

    Args:
        model: the network; its modules are in evaluation mode meanwhile, and as they were after.
        images: a data set, a batch ``(N, C, H, W)`` in ``[0, 1]``, or a pair of one and its labels.
        layer: by its name; ``fluoroscope neurons list`` lists them. By default
            :func:`.usual_layer`.
        call: which use of it in a pass, from 0; by default the last.
        reduction: the ``mean`` over a unit's places, the largest (``max``), or at one of them:
            ``"3,4"`` is row 3, column 4, and of tokens ``"0"`` is the first.
        out: a directory to keep them in: there the numbers stay on disk, and a call that was killed
            goes on. Without one they are in memory.
        batch_size: pictures at once; by default 64, or fewer large ones on a processor.
        on_share: called after each batch with the share that lies behind.
        cancelled: asked after each batch; once true, the result is of the first pictures alone.

    Raises:
        InvalidParameterError: no such layer or call, one without units, a directory that holds
            another reading.
        InvalidImagesError: no pictures, or none that the network takes.
        StorageError: the disk has too little room, or refuses.
    """
    [found] = _read(
        as_classifier(model), images, None if layer is None else [layer], call, reduction,
        [out], batch_size, on_share, cancelled,
    )  # fmt: skip
    return found


def read_layers(
    model: Classifier | nn.Module,
    images: Images,
    layers: Sequence[str],
    *,
    call: int | None = None,
    reduction: str | Reduction = "mean",
    outs: "Sequence[str | PathLike[str]] | None" = None,
    batch_size: int | None = None,
    on_share: Callable[[float], None] | None = None,
    cancelled: Cancelled | None = None,
) -> list[Activations]:
    """The same of several layers in one pass over the pictures; ``outs`` has a directory for each.

    Raises:
        InvalidParameterError, InvalidImagesError, StorageError: see :func:`read`.
    """
    if outs is not None and len(outs) != len(layers):
        raise InvalidParameterError(
            f"outs names {count(len(outs), 'directory', 'directories')} for "
            f"{count(len(layers), 'layer')}; expected one each"
        )
    return _read(
        as_classifier(model), images, layers, call, reduction, outs or [None] * len(layers),
        batch_size, on_share, cancelled,
    )  # fmt: skip


@dataclass(frozen=True)
class Job:
    """Everything that reading a part needs."""

    model: Classifier
    images: ImageSet
    layers: tuple[Units, ...]
    reduction: Reduction
    batch_size: int

    def read(self, positions: Sequence[int]) -> Iterator[list[Found]]:
        """What each layer says of these pictures of the set, a batch at a time."""
        batches = self.images.select(positions).batches(
            self.batch_size, fit=self.model.preprocessing
        )
        while True:
            with collected() as told:
                batch = next(batches, None)
                if batch is None:
                    return
                numbers, predicted, confidence = self._ask(batch.images)
            seen = {
                "predicted": predicted.numpy(),
                "confidence": confidence.numpy(),
                "picture": checksums(batch.images),
            }
            yield [Found(each.numpy(), seen, distinct(told)) for each in numbers]

    def _ask(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Numbers ``(n, K)`` of each layer, the predicted classes and how sure of them."""
        found: list[list[Tensor]] = []
        done, at_once = 0, len(images)
        while done < len(images):
            part = images[done : done + at_once]
            try:
                found.append(self._pass(part.to(self.model.device, self.model.dtype)))
            except RuntimeError as problem:
                at_once = fewer_at_once(problem, len(part))
                continue
            done += len(part)
        *numbers, logits = [torch.cat(each) for each in zip(*found, strict=True)]
        confidence, predicted = logits.softmax(1).max(1)
        return numbers, predicted, confidence.float()

    def _pass(self, images: Tensor) -> list[Tensor]:
        """Of one pass the numbers of each layer, and the logits; on the CPU."""
        model = self.model
        with ExitStack() as taps:
            kept = [taps.enter_context(tapped(model, units.layer)) for units in self.layers]
            logits = evaluate(model, images, look=False).logits
        numbers = []
        for units, found in zip(self.layers, kept, strict=True):
            outputs = outputs_of(found, units.layer, len(images), model, units.call)
            reduced = [self._reduced(units, output) for output in outputs]
            numbers.append(torch.cat(reduced)[: len(images)].cpu())
        return [*numbers, logits.cpu()]

    def _reduced(self, units: Units, output: Tensor) -> Tensor:
        """One float32 for each unit and picture; sums of half precision would lose them."""
        if output.dtype in (torch.float16, torch.bfloat16):
            output = output.float()
        shape = tuple(output.shape[1:])
        if shape != units.shape:  # pictures of another size
            other = units_of(self.model, units.layer, shape, units.call)
            if other is None or other.count != units.count:
                raise InvalidParameterError(
                    f"the layer {units.layer!r} of {self.model.name} gives out {units.shape} for "
                    f"the first picture and {shape} for another; expected as many units for all: "
                    "choose another layer, or pictures of one size"
                )
            units = other
        return self.reduction(units, output).float()


def _read(
    model: Classifier,
    images: Images,
    layers: Sequence[str] | None,
    call: int | None,
    reduction: str | Reduction,
    outs: "Sequence[str | PathLike[str] | None]",
    batch_size: int | None,
    on_share: Callable[[float], None] | None,
    cancelled: Cancelled | None,
) -> list[Activations]:
    data, how = as_set(model, images), as_reduction(reduction)
    few = data.take(PICTURES, first=True).batches(1, fit=model.preprocessing, workers=0)
    first = [batch.images.to(model.device, model.dtype) for batch in few]
    size = (first[0].shape[2], first[0].shape[3])
    remind(model)
    first_look(model, torch.cat([each for each in first if each.shape == first[0].shape]))
    units = [find_units(model, name, call, size) for name in layers or [usual_layer(model, size)]]
    for each in units:  # a position that it does not have is refused before anything is read
        how(each, torch.zeros(1, *each.shape, dtype=torch.float32, device="cpu"))
    at_once = suitable_batch(first[0]) if batch_size is None else check_batch_size(batch_size)
    part = max(1, part_size(model) // at_once) * at_once
    known, about = _Known.of(model, data), provenance(model)
    shared = {
        **{key: about[key] for key in ("model", "model_sha256", "prepared", "precision")},
        "data": data.identity(), "reduction": str(how), "batch_size": at_once, "part": part,
        "columns": known.hash,
    }  # fmt: skip
    with ExitStack() as opened:
        stores = []
        for each, out in zip(units, outs, strict=True):
            identity = {**shared, "layer": each.layer, "call": each.call, "shape": each.shape}
            shape = (len(data), each.count)
            if out is None:
                stores.append(Store(identity, shape, part))
            else:
                name = len(data.names(data.indices[-1:])[0].encode())
                stores.append(opened.enter_context(opening(Path(out), identity, shape, part, name)))
        whole = [None if store.path is None else finished(store) for store in stores]
        for store, found in zip(stores, whole, strict=True):
            if found is not None and store.path is not None:
                check_pictures(found, data, store.path, model)
        open_ = [number for number, found in enumerate(whole) if found is None]
        job = Job(model, data, tuple(units[number] for number in open_), how, at_once)
        going = [stores[number] for number in open_]
        stopped = not _go_through(job, going, on_share, cancelled)
        told = (*known.notes, *notes_of(model))
        made = {n: Activations.stored(each, data) for n, each in enumerate(whole) if each}
        for number, store in zip(open_, going, strict=True):
            made[number] = _made(store, units[number], how, known, about, told, stopped=stopped)
    return [made[number] for number in range(len(units))]


def _go_through(
    job: Job, stores: Sequence[Store], on_share: Callable[[float], None] | None,
    cancelled: Cancelled | None,
) -> bool:  # fmt: skip
    """Read the parts that any of the stores lacks; whether none is missing now."""
    if not stores:
        return True
    parts, total = stores[0].parts, len(job.images)
    missing = [
        number for number in range(len(parts)) if any(number not in each.done for each in stores)
    ]
    positions = [position for number in missing for position in parts[number]]
    behind = total - len(positions)
    if on_share is not None:
        on_share(behind / total)
    batches = job.read(positions) if positions else iter(())
    for number in missing:
        got: list[list[Found]] = []
        while sum(len(each[0].values) for each in got) < len(parts[number]):
            if cancelled is not None and cancelled():
                return False
            got.append(next(batches))
            behind += len(got[-1][0].values)
            if on_share is not None:
                on_share(behind / total)
        for store, found in zip(stores, zip(*got, strict=True), strict=True):
            if number not in store.done:
                store.put(number, Found.joined(found))
    return True


def _made(
    store: Store, units: Units, how: Reduction, known: "_Known", about: dict[str, Any],
    told: tuple[str, ...], *, stopped: bool,
) -> Activations:  # fmt: skip
    """The result of a store: of all its parts, or of those at the beginning that there are."""
    parts, done = store.parts, store.done
    there = next((n for n in range(len(parts)) if n not in done), len(parts))
    many = parts[there - 1].stop if there else 0
    notes = [*told, *(note for number in range(there) for note in done[number].notes)]
    strange = sum(done[number].not_finite for number in range(there))
    if strange:
        notes.append(
            f"{strange:,} of {many * units.count:,} numbers are NaN or infinite, and are kept as "
            "they are"
        )
    if stopped:
        notes.append(
            f"stopped early: the first {many:,} of {count(len(known), 'picture')} are read"
        )
    final = distinct(notes)
    record = {
        **about, **units.describe(), "reduction": str(how),
        "labels": list(known.model.labels), "data": store.identity["data"],
        "seen": known.images.class_counts(), "pictures_of": known.images.describe_classes(),
        "batch_size": store.identity["batch_size"], "notes": list(final),
    }  # fmt: skip
    tables = [known.rows(parts[number], done[number]) for number in range(there)]
    if store.path is not None and not stopped:
        store.seal(tables, record)
    return Activations(
        values=store.values()[:many], rows=pa.concat_tables([SCHEMA.empty_table(), *tables]),
        units=units, reduction=how, record={**record, "identity": store.identity}, notes=final,
        images=known.images,
    )  # fmt: skip


def as_set(model: Classifier, images: Images) -> ImageSet:
    """Pictures as a set: they are one, or a batch with or without labels.

    Raises:
        InvalidImagesError, UnknownLabelError: no pictures, or labels that do not fit.
    """
    if isinstance(images, ImageSet):
        if not len(images):
            raise InvalidImagesError(f"{images.name} has no pictures; expected 1 or more")
        return images
    batch, labels = images if isinstance(images, tuple) else (images, None)
    batch = check_images(batch, model.channels).cpu()
    classes = None
    if labels is not None:
        names = names_of(model, batch)
        classes = class_values(labels, len(batch), names, model.name, whole=True)
    return ImageSet(ArraySource(batch, "array", classes), "array", channels=batch.shape[1])


@dataclass(frozen=True)
class _Known:
    """What is known of the pictures without looking at any."""

    model: Classifier
    images: ImageSet
    indices: tuple[int, ...]
    labels: Tensor
    targets: Tensor
    sources: Tensor
    notes: tuple[str, ...]

    @classmethod
    def of(cls, model: Classifier, images: ImageSet) -> "_Known":
        """Labels and targets in the network's numbering; where they have none in it, a note."""
        notes = list(images.notes)
        labels = targets = None
        if images.class_numbers() is None and images.why_unlabelled:
            notes.append(f"the pictures have no labels: {images.why_unlabelled}")
        try:
            truth = Truth.of(model, images)
            notes = [*notes, *(note for note in truth.notes if note not in notes)]
            labels = _numbered(truth, images.class_numbers())
            targets = _numbered(truth, _column(images, "target"))
        except UnknownLabelError as problem:
            notes.append(f"labels and targets of {images.name} are not used: {problem}")
            labels = targets = None
        sources = _column(images, "source", words=False)
        unknown = torch.full((len(images),), UNKNOWN, device="cpu")
        labels, targets, sources = (
            unknown if each is None else each for each in (labels, targets, sources)
        )
        return cls(model, images, images.indices, labels, targets, sources, tuple(notes))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def hash(self) -> str:
        """Of labels, targets and sources."""
        digest = hashlib.sha256()
        for column in (self.labels, self.targets, self.sources):
            digest.update(column.numpy().data)
        return digest.hexdigest()

    def rows(self, positions: range, found: Found) -> pa.Table:
        """The rows of a part."""
        at = slice(positions.start, positions.stop)
        indices = self.indices[at]
        columns: dict[str, Any] = {
                "index": indices, "name": self.images.names(indices),
                "label": self.labels[at].numpy(), "target": self.targets[at].numpy(),
                "source": self.sources[at].numpy(), **found.seen,
        }  # fmt: skip
        return table_of(columns, SCHEMA)


def _numbered(truth: Truth, given: Tensor | None) -> Tensor | None:
    """The data's class numbers as the network's; -1 stays."""
    if given is None:
        return None
    model, numbers = truth.model, truth.numbers
    if int(given.max()) >= (model.num_classes if numbers is None else len(numbers)):
        raise UnknownLabelError(
            f"there is a class {int(given.max())}, and {model.name} has "
            f"{count(model.num_classes, 'class', 'classes')}, 0 to {model.num_classes - 1}"
        )
    own = given if numbers is None else numbers[given.clamp_min(0)]
    return torch.where(given >= 0, own, UNKNOWN)


def _column(images: ImageSet, name: str, *, words: bool = True) -> Tensor | None:
    """The numbers of a column of the data, or of the classes that it names; ``None`` of others."""
    if name not in images.columns:
        return None
    values = images.column(name)
    if any(isinstance(each, str) for each in values) and not (words and images.labels):
        return None
    return read_classes(values, images.labels).numbers
