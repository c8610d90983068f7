"""Reading what a layer's units say of the pictures of a data set, in one pass over it.

Pictures go through the network in batches, a whole number of which make a part; what is kept of a
part is one number for each unit and picture (:mod:`.reduction`), what the network predicted, and a
checksum of each picture as it was shown. Memory does not grow with the data where a directory is
given.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from fluoroscope.attacks.parts import part_size
from fluoroscope.data.imageset import ImageSet
from fluoroscope.data.sources import ArraySource
from fluoroscope.engine.classes import Given, class_values, names_of
from fluoroscope.engine.cluster import Cluster, Part, packed
from fluoroscope.engine.first_look import PICTURES, first_look, notes_of, remind
from fluoroscope.engine.predict import check_batch_size, suitable_batch
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.places import results_directory
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.neurons.reading.job import Job
from fluoroscope.neurons.reading.known import Known
from fluoroscope.neurons.reading.reduction import Reduction, as_reduction
from fluoroscope.neurons.reading.store import (
    SCHEMA,
    Found,
    Store,
    check_pictures,
    finished,
    opening,
)
from fluoroscope.neurons.reading.units import Units, find_units
from fluoroscope.neurons.reading.usual import usual_layer
from fluoroscope.notices import distinct
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
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
) -> Activations:
    """What every unit of a layer says of every picture: one number each, ``(N, K)``.

    Args:
        model: the network; its modules are in evaluation mode meanwhile, and as they were after.
        images: a data set, a batch ``(N, C, H, W)`` in ``[0, 1]``, or a pair of one and its labels.
        layer: by its name; ``fluoroscope neurons list`` lists them. By default
            :func:`.usual_layer`.
        call: which use of it in a pass, from 0; by default the last.
        reduction: the ``mean`` over a unit's places, the largest (``max``), or at one of them:
            ``"3,4"`` is row 3, column 4, and of tokens ``"0"`` is the first. Tokens of no place,
            such as a class token, are in neither the mean nor the largest.
        out: a directory to keep them in: there the numbers stay on disk, and a call that was killed
            goes on. Without one they are in memory.
        batch_size: pictures at once; by default 64, or fewer large ones on a processor.
        on_share: called after each batch with the share that lies behind.
        cancelled: asked after each batch; once true, the result is of the first pictures alone.
        engine: ``local``, or ``ray`` for several processes or machines at once.
        workers, address: of ``ray``, see :func:`fluoroscope.evaluate`.

    Raises:
        InvalidParameterError: no such layer or call, one without units, a directory that holds
            another reading.
        InvalidImagesError: no pictures, or none that the network takes.
        StorageError: the disk has too little room, or refuses.
        MissingExtraError, ClusterError: Ray is not installed; its cluster fails.
    """
    [found] = _read(
        as_classifier(model), images, None if layer is None else [layer], call, reduction,
        [out], batch_size, on_share, cancelled, Cluster.named(engine, workers, address),
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
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
) -> list[Activations]:
    """The same of several layers in one pass over the pictures; ``outs`` has a directory for each.

    Raises:
        InvalidParameterError, InvalidImagesError, StorageError: see :func:`read`.
    """
    if not layers:
        raise InvalidParameterError("layers is empty; expected the names of one or more")
    layers = [layers] if isinstance(layers, str) else layers
    if outs is not None and len(outs) != len(layers):
        raise InvalidParameterError(
            f"outs names {count(len(outs), 'directory', 'directories')} for "
            f"{count(len(layers), 'layer')}; expected one each"
        )
    return _read(
        as_classifier(model), images, layers, call, reduction, outs or [None] * len(layers),
        batch_size, on_share, cancelled, Cluster.named(engine, workers, address),
    )  # fmt: skip


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
    over: Cluster | None,
) -> list[Activations]:
    data, how = as_set(model, images), as_reduction(reduction)
    places = [None if out is None else results_directory(Path(out), data) for out in outs]
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
    known, about = Known.of(model, data), provenance(model)
    shared = {
        **{key: about[key] for key in ("model", "model_sha256", "prepared", "precision")},
        "data": data.identity(), "reduction": str(how), "batch_size": at_once, "part": part,
        "columns": known.hash,
    }  # fmt: skip
    with ExitStack() as opened:
        stores = []
        for each, out in zip(units, places, strict=True):
            identity = {**shared, "layer": each.layer, "call": each.call, "shape": each.shape}
            shape = (len(data), each.count)
            if out is None:
                stores.append(Store(identity, shape, part))
            else:
                name = len(data.names(data.indices[-1:])[0].encode())
                stores.append(opened.enter_context(opening(out, identity, shape, part, name)))
        whole = [None if store.path is None else finished(store) for store in stores]
        for store, found in zip(stores, whole, strict=True):
            if found is not None and store.path is not None:
                check_pictures(found, data, store.path, model)
        open_ = [number for number, found in enumerate(whole) if found is None]
        job = Job(model, data, tuple(units[number] for number in open_), how, at_once)
        going = [stores[number] for number in open_]
        stopped = not _go_through(job, going, on_share, cancelled, over)
        told = (*known.notes, *notes_of(model))
        made = {n: Activations.stored(each, data) for n, each in enumerate(whole) if each}
        for number, store in zip(open_, going, strict=True):
            made[number] = _made(store, units[number], how, known, about, told, stopped=stopped)
    return [made[number] for number in range(len(units))]


def _go_through(
    job: Job, stores: Sequence[Store], on_share: Callable[[float], None] | None,
    cancelled: Cancelled | None, over: Cluster | None,
) -> bool:  # fmt: skip
    """Read the parts that any of the stores lacks; whether none is missing now."""
    if not stores:
        return True
    parts, total = stores[0].parts, len(job.images)
    missing = [
        Part(number, positions)
        for number, positions in enumerate(parts)
        if any(number not in store.done for store in stores)
    ]
    behind = total - sum(len(part.positions) for part in missing)

    def further(pictures: int) -> None:
        nonlocal behind
        behind += pictures
        if on_share is not None:
            on_share(behind / total)

    further(0)
    for number, found in _parts(job, missing, further, cancelled, over):
        for store, each in zip(stores, found, strict=True):
            if number not in store.done:
                store.put(number, each)
    return all(number in store.done for store in stores for number in range(len(parts)))


def _parts(
    job: Job, missing: list[Part], further: Callable[[int], None], cancelled: Cancelled | None,
    over: Cluster | None,
) -> Iterator[tuple[int, list[Found]]]:  # fmt: skip
    """What each layer says of each of the parts; of those before a cancellation."""
    if not missing:
        return
    if over is not None:
        away = job if job.model.device.type == "cpu" else replace(job, model=job.model.to("cpu"))
        package = packed(away, f"{job.model.name} or {job.images.name}")
        for number, found in over.hand_out(package, missing, job.model.device.type, cancelled):
            further(len(found[0].values))
            yield number, found
        return
    batches = job.read([position for part in missing for position in part.positions])
    for part in missing:
        got: list[list[Found]] = []
        while sum(len(each[0].values) for each in got) < len(part.positions):
            if cancelled is not None and cancelled():
                return
            got.append(next(batches))
            further(len(got[-1][0].values))
        yield part.number, [Found.joined(each) for each in zip(*got, strict=True)]


def _made(
    store: Store, units: Units, how: Reduction, known: "Known", about: dict[str, Any],
    told: tuple[str, ...], *, stopped: bool,
) -> Activations:  # fmt: skip
    """The result of a store: of all its parts, or of those at the beginning that there are."""
    parts, done = store.parts, store.done
    there = next((n for n in range(len(parts)) if n not in done), len(parts))
    many = parts[there - 1].stop if there else 0
    notes = [*told, *(note for number in range(there) for note in done[number].notes)]
    if units.grid is not None and units.grid.prefix and how.at is None:
        prefix = units.grid.prefix
        some = "token" if prefix == 1 else f"{prefix:,} tokens"
        notes.append(
            f"of the layer {units.layer!r} the first {some} of no place, such as the class token, "
            f"{'is' if prefix == 1 else 'are'} not in the {how}; the reduction 0 reads "
            "the first alone"
        )
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
