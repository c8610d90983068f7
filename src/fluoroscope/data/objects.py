"""Pictures that a program holds: data sets of torch, torchvision and ``datasets``, and loaders."""

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from fluoroscope.data.sources import (
    COLOUR,
    ArraySource,
    Columns,
    Opened,
    array_source,
    choose_split,
)
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, UnknownDataError
from fluoroscope.pictures.arrays import own_channels
from fluoroscope.pictures.read import read_picture

_ADVICE = (
    "leave Normalize out of its transform, and state mean and std with the network: fluoroscope "
    "scales inside it"
)
_IMAGES = ("image", "images", "img", "pixel_values", "x")
_LABELS = ("label", "labels", "target", "class", "y")
# Items that are read twice, to find transforms that draw at random.
_PROBES = 4


class ObjectSource:
    """A map-style data set of torch: items ``(image, label)``, or mappings with both, or images."""

    def __init__(self, data: Any, name: str, numbers: Tensor | None) -> None:
        self._data, self._name, self._numbers = data, name, numbers

    def __len__(self) -> int:
        return len(self._data)

    def image(self, position: int, channels: int) -> Tensor:
        return _image(self._data[position], channels, self.name(position))

    def classes(self) -> Tensor | None:
        return self._numbers

    def name(self, position: int) -> str:
        return _file(self._data, position) or f"{self._name}:{position}"


def is_data(source: object) -> bool:
    """Whether `open_object` takes it."""
    return isinstance(source, Dataset | DataLoader) or _of_datasets(source)


def open_object(source: Any, split: str | None, channels: int) -> Opened:
    """The pictures of a data set or loader, in the order of the data set.

    Raises:
        InvalidImagesError: without an order or length, with pictures drawn at random or normalised.
        UnknownDataError: no such split.
    """
    if _of_datasets(source):
        return _table(source, split)
    notes: list[str] = []
    if isinstance(source, DataLoader):
        source, notes = _behind(source)
        if _of_datasets(source):
            found = _table(source, split)
            return replace(found, notes=(*notes, *found.notes))
    name = type(source).__name__
    choose_split(split, [], name)
    if isinstance(source, IterableDataset) or not hasattr(source, "__len__"):
        raise InvalidImagesError(
            f"{name} has no length and no order of its own; expected a data set whose items have "
            "numbers"
        )
    if not len(source):
        raise InvalidImagesError(f"{name} has no pictures; expected 1 or more")
    _check_items(source, name, channels)
    column, names = _labels(source), _class_names(source)
    if column is None:
        return Opened(
            ObjectSource(source, name, None), notes=tuple(notes), why_unlabelled="no labels"
        )
    from fluoroscope.data.columns import read_classes

    words = names if names and isinstance(column[0], str) else None
    read = read_classes(column, words, hidden=False)
    if names and read.numbers is not None and int(read.numbers.max()) >= len(names):
        notes.append(f"the {len(names)} names in its classes are not used: it has more classes")
        names = None
    return Opened(
        ObjectSource(source, name, read.numbers),
        labels=read.names or (names if read.numbers is not None else None),
        notes=tuple(notes),
        why_unlabelled=None if read.why is None else f"its label {read.why}",
    )


def in_memory(images: Any, labels: Any, channels: int | None) -> Opened:
    """Arrays ``(N, C, H, W)`` with labels, if there are any; by default of as many channels as they
    have, where that is clear.
    """
    if channels is None and np.ndim(images) == 4:
        channels = own_channels(images.shape)
    source = array_source(images, channels or COLOUR)
    channels = source.images.shape[1]
    if labels is None:
        why = "no labels were given with the array"
        return Opened(source, why_unlabelled=why, channels=channels)
    read = given_labels(labels, len(source))
    held = ArraySource(source.images, "array", read[0])
    return Opened(held, labels=read[1], channels=channels)


def given_labels(labels: Any, count: int) -> tuple[Tensor, Sequence[str] | None]:
    """Class numbers ``(N,)`` of the labels that came with ``N`` pictures, and their names.

    Raises:
        InvalidImagesError: no labels, or not one for each picture.
    """
    if not hasattr(labels, "__len__") or isinstance(labels, str | bytes) or len(labels) != count:
        size = len(labels) if hasattr(labels, "__len__") else type(labels).__name__
        raise InvalidImagesError(
            f"labels= has {size} for {count} pictures; expected a sequence with one for each"
        )
    from fluoroscope.data.columns import read_classes

    read = read_classes(labels, hidden=False)
    if read.numbers is None:
        raise InvalidImagesError(
            f"labels= {read.why}; expected one class number from 0, or name, for each picture"
        )
    return read.numbers, read.names


def with_columns(found: Opened, given: Any) -> Callable[[], Columns]:
    """The columns of what was found, and those that came with it, which come first.

    Raises:
        InvalidParameterError: they are not one value for each picture, by name.
    """
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidParameterError(
            f"columns= is a {type(given).__name__}; expected a mapping of names to one value for "
            "each picture"
        )
    held: dict[str, list[Any]] = {}
    for name, values in given.items():
        sized = hasattr(values, "__len__") and not isinstance(values, str | bytes | Mapping)
        count = len(values) if sized and np.ndim(values) > 0 else type(values).__name__
        if count != len(found.source):
            raise InvalidParameterError(
                f"columns= has {count} for {name!r}; expected a sequence with one value for each "
                f"of the {len(found.source)} pictures"
            )
        held[name] = _plain(values)
    return partial(_together, found.columns, held)


def _together(own: Callable[[], Columns], given: Mapping[str, list[Any]]) -> Columns:
    return {**own(), **{name: partial(list, values) for name, values in given.items()}}


def _of_datasets(source: object) -> bool:
    datasets = sys.modules.get("datasets")
    if datasets is None:
        return False
    kinds = ("Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict")
    return isinstance(source, tuple(getattr(datasets, kind) for kind in kinds))


def _table(source: Any, split: str | None) -> Opened:
    from fluoroscope.data.tables import open_rows

    name, notes = type(source).__name__, ()
    if isinstance(source, Mapping):
        split = choose_split(split, list(source), name)
        source = source[split]
    else:
        choose_split(split, [], name)
    if not hasattr(source, "select_columns") or not hasattr(source, "__len__"):
        raise InvalidImagesError(
            f"{name} is streamed, and has no length; expected a data set that was loaded whole"
        )
    found = open_rows(source.with_format(None), name, split, None)
    return replace(found, split=split, notes=(*notes, *found.notes))


def _behind(loader: DataLoader[Any]) -> tuple[Any, list[str]]:
    """The data set that a loader reads, and what is not taken over from the loader."""
    data, sampler = loader.dataset, loader.sampler
    notes: list[str] = []
    batched = getattr(loader.batch_sampler, "sampler", sampler)
    plain = isinstance(sampler, SequentialSampler | RandomSampler)
    if isinstance(data, IterableDataset):
        return data, notes
    if not plain or batched is not sampler or len(sampler) != len(data):  # type: ignore[arg-type]
        raise InvalidImagesError(
            f"a DataLoader whose {type(sampler).__name__} chooses among its pictures; expected one "
            "that reads all of them, or the Subset of the data set itself"
        )
    if isinstance(sampler, RandomSampler):
        notes.append("the DataLoader shuffles; pictures are taken in the order of its data set")
    if loader.collate_fn is not default_collate:
        notes.append("the DataLoader's collate_fn is not used")
    return data, notes


def _check_items(data: Any, name: str, channels: int) -> None:
    """Look at a few: what is drawn at random would be another picture at every look."""
    places = sorted({round(n * (len(data) - 1) / (_PROBES - 1)) for n in range(_PROBES)})
    with _chance_kept():
        for place in places:
            one, other = (_image(data[place], channels, f"{name}:{place}") for _ in range(2))
            if one.shape != other.shape or not torch.equal(one, other):
                raise InvalidImagesError(
                    f"{name} gives another picture for {place} each time it is asked, as a random "
                    "transform does; expected the same: use the transform of evaluation"
                )


def _image(item: Any, channels: int, name: str) -> Tensor:
    picture = item
    if isinstance(item, Mapping):
        picture = next((item[key] for key in _IMAGES if key in item), None)
    elif isinstance(item, tuple | list) and item:
        picture = item[0]
    if isinstance(picture, Image.Image):
        return read_picture(picture, channels, name=name)
    if not isinstance(picture, Tensor | np.ndarray) or np.ndim(picture) not in (2, 3):
        raise InvalidImagesError(
            f"{name} is {_kind(item)}; expected (image, label) with a Pillow image or a tensor "
            "(C, H, W)"
        )
    if np.ndim(picture) == 2:
        picture = picture[None]
    grey = channels == 3 and 1 in (picture.shape[0], picture.shape[-1])
    try:
        image = array_source(picture, 1 if grey and 3 not in picture.shape[::2] else channels)
    except InvalidImagesError as error:
        advice = f": {_ADVICE}" if "values from" in str(error) else ""
        raise InvalidImagesError(f"{name}: {error}{advice}") from None
    return image.image(0, channels)


def _kind(item: Any) -> str:
    if isinstance(item, tuple | list):
        return f"({', '.join(type(one).__name__ for one in item)})"
    return type(item).__name__


def _labels(data: Any) -> list[Any] | None:
    """The label of every item, without decoding pictures where the data set keeps them."""
    kept = _kept_labels(data)
    if kept is not None:
        return kept
    with _chance_kept():
        found = [_label(data[position]) for position in range(len(data))]
    return None if all(one is None for one in found) else found


def _kept_labels(data: Any) -> list[Any] | None:
    if isinstance(data, Subset):
        inner = _kept_labels(data.dataset)
        return None if inner is None else [inner[int(index)] for index in data.indices]
    if isinstance(data, ConcatDataset):
        parts = [_kept_labels(one) for one in data.datasets]
        return (
            None if any(one is None for one in parts) else [one for p in parts for one in p or ()]
        )
    if isinstance(data, TensorDataset) and len(data.tensors) == 2:
        return _plain(data.tensors[1])
    if getattr(data, "target_transform", None) is not None:
        return None
    for attribute in ("targets", "labels", "_labels", "samples"):
        kept = getattr(data, attribute, None)
        if isinstance(kept, Tensor | np.ndarray | list | tuple) and len(kept) == len(data):
            column = [one[1] for one in kept] if attribute == "samples" else _plain(kept)
            # As an item has it, or it is something else that is called so.
            with _chance_kept():
                ends = [(column[at], _label(data[at])) for at in (0, -1 % len(data))]
            if all(kept == given for kept, given in ends):
                return column
    return None


def _label(item: Any) -> Any:
    if isinstance(item, Mapping):
        label = next((item[key] for key in _LABELS if key in item), None)
    else:
        label = item[1] if isinstance(item, tuple | list) and len(item) > 1 else None
    return label.tolist() if isinstance(label, Tensor | np.ndarray | np.generic) else label


def _plain(column: Any) -> list[Any]:
    return column.tolist() if isinstance(column, Tensor | np.ndarray) else list(column)


def _class_names(data: Any) -> tuple[str, ...] | None:
    while isinstance(data, Subset):
        data = data.dataset
    if isinstance(data, ConcatDataset):
        several = {_class_names(one) for one in data.datasets}
        return several.pop() if len(several) == 1 else None
    names = getattr(data, "classes", None)
    if isinstance(names, list | tuple) and names:
        # torchvision has ImageNet's synonyms as tuples.
        return tuple(", ".join(one) if isinstance(one, tuple) else str(one) for one in names)
    return None


def _file(data: Any, position: int) -> str | None:
    """The file's name, where a torchvision folder knows it."""
    if isinstance(data, Subset):
        return _file(data.dataset, int(data.indices[position]))
    samples, root = getattr(data, "samples", None), getattr(data, "root", None)
    if not isinstance(samples, list) or root is None or len(samples) != len(data):
        return None
    path = samples[position][0] if isinstance(samples[position], tuple) else None
    return str(path).removeprefix(f"{root}").lstrip("/\\") if isinstance(path, str) else None


@contextmanager
def _chance_kept() -> Iterator[None]:
    """The random state of the process is as before, whatever a transform draws."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def no_such_labels(name: str) -> UnknownDataError:
    """The error for labels beside data that has its own."""
    return UnknownDataError(
        f"labels were given beside {name}; expected them with arrays or a list of files only: "
        "folders, tables and data sets have their own"
    )
