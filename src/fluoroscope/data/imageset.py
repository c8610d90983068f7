"""Sets of labelled pictures: found by name, decoded when asked, singly or in batches."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fluoroscope.data.batches import Batch, Fit, Sample, read_batches, suitable_workers
from fluoroscope.data.digits import LABELS, digits
from fluoroscope.data.sources import (
    ArraySource,
    Picture,
    PictureSource,
    Source,
    array_source,
    as_tensor,
    folder_source,
    looking_up,
)
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, UnknownDataError
from fluoroscope.pictures.read import missing_file, picture_suffixes


class ImageSet:
    """Pictures in a fixed order, decoded when they are asked for; `load_images` makes one.

    Attributes:
        name: where the pictures come from.
        split: the part of the data set, where it has parts.
        labels: the names of the classes, where the data set states them.
        channels: colour channels of the images handed out.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        *,
        split: str | None = None,
        labels: Sequence[str] | None = None,
        channels: int = 3,
    ) -> None:
        self.name = name
        self.split = split
        self.labels = None if labels is None else tuple(labels)
        self.channels = channels
        self._source = source
        self._positions: Sequence[int] = range(len(source))

    def __repr__(self) -> str:
        split = f" ({self.split})" if self.split else ""
        return f"<ImageSet {self.name}{split}: {len(self)} pictures>"

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, position: int) -> Sample:
        """Decode one picture.

        Raises:
            UnknownDataError: the position lies outside the set.
            PictureError: the picture is damaged or too large.
        """
        return self._sample(position, self.channels)

    def __iter__(self) -> Iterator[Sample]:
        return (self[position] for position in range(len(self)))

    @property
    def indices(self) -> tuple[int, ...]:
        """The number of each picture in its data set."""
        return tuple(self._positions)

    def select(self, positions: Sequence[int] | Tensor) -> Self:
        """A view of some pictures in the given order; they keep their indices in the data set."""
        wanted = [int(position) for position in positions]
        outside = [position for position in wanted if not 0 <= position < len(self)]
        if outside:
            raise self._no_such(outside[0])
        view = type(self).__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._positions = [self._positions[position] for position in wanted]
        return view

    def take(self, count: int) -> Self:
        """A view of the first ``count`` pictures, or of all where there are fewer."""
        if count < 1:
            raise InvalidParameterError(f"asked for the first {count} pictures; expected 1 or more")
        return self.select(range(min(count, len(self))))

    def batches(
        self, batch_size: int = 64, *, fit: Fit | None = None, workers: int | None = None
    ) -> Iterator[Batch]:
        """Decode everything in order, a batch at a time, ahead of the reader in other processes.

        At most two batches for each process are in memory. The same pictures come whatever the
        number of processes, and no global random state is touched.

        Args:
            batch_size: pictures in a batch; the last one may be smaller.
            fit: brings each picture to a network's size and channels: a classifier or its
                preprocessing. Without it all pictures of a batch must have one size.
            workers: processes that decode; 0 decodes in this one. By default one for each
                processor, and none where the images are in memory or few.

        Raises:
            PictureError: a picture is damaged or too large.
            InvalidImagesError: pictures of unequal size and no ``fit``.
        """
        if batch_size < 1:
            raise InvalidParameterError(f"batch_size is {batch_size}; expected 1 or more")
        read = partial(self._sample, channels=fit.channels if fit else self.channels)
        if workers is None:
            in_memory = isinstance(self._source, ArraySource)
            workers = 0 if in_memory else suitable_workers(read, len(self), batch_size, fit)
        if workers < 0:
            raise InvalidParameterError(f"workers is {workers}; expected 0 or more")
        return read_batches(read, len(self), batch_size, fit, workers)

    def _sample(self, position: int, channels: int) -> Sample:
        if not -len(self) <= position < len(self):
            raise self._no_such(position)
        index = self._positions[position]
        return Sample(
            image=self._source.image(index, channels),
            label=self._source.label(index),
            index=index,
            name=self._source.name(index),
        )

    def _no_such(self, position: int) -> UnknownDataError:
        split = f":{self.split}" if self.split else ""
        return UnknownDataError(
            f"{self.name}{split} has no picture {position}; expected 0 to {len(self) - 1}"
        )


def load_images(
    source: str | Path | Tensor | NDArray[np.generic] | Sequence[Any],
    split: str | None = None,
    *,
    channels: int = 3,
) -> ImageSet:
    """Find pictures by name, or take them from memory.

    Args:
        source: ``"digits"`` (built in); a picture file; a folder of pictures, of class folders, or
            of Parquet files (a `Path` is never anything else); a Hugging Face data set
            ``"owner/name"`` or ``"hf/owner/name"``; an
            array ``(N, C, H, W)``, ``(N, H, W, C)`` or of one image, 8-bit or floats in ``[0, 1]``;
            or a sequence of files, encoded bytes, Pillow images or arrays of one size.
        split: the part of the data set; by default its only one, else ``test``, else
            ``validation``.
        channels: 3 for colour, 1 for grey; files are converted, arrays must fit.

    Raises:
        UnknownDataError: no such data set, split, folder or file.
        HubUnreachableError: a data set of the hub, and the hub cannot be reached.
        MissingExtraError: the ``datasets`` library is needed and not installed.
        InvalidImagesError: an array that is no batch of images in ``[0, 1]``.
    """
    if isinstance(source, Tensor | np.ndarray):
        return _unsplit(array_source(source, channels), "array", split, channels)
    if channels not in (1, 3):
        raise InvalidParameterError(f"channels is {channels}; expected 3 for colour or 1 for grey")
    if isinstance(source, str | Path):
        with looking_up(source):
            return _load_named(source, split, channels)
    items = [source] if isinstance(source, bytes | Image.Image) else list(source)
    return _unsplit(_sequence_source(items, channels), "pictures", split, channels)


def _load_named(source: str | Path, split: str | None, channels: int) -> ImageSet:
    name = str(source)
    path = Path(source).expanduser()
    if source == "digits":
        images, labels = digits()
        built_in = ArraySource(images, "digits", labels)
        return _unsplit(built_in, name, split, channels, LABELS)
    if isinstance(source, str) and source.startswith("hf/"):
        return _load_table(name, source.removeprefix("hf/"), split, channels)
    if path.is_file():
        return _unsplit(PictureSource([path]), name, split, channels)
    if path.is_dir():
        plain = folder_source(path, name)
        if plain is not None:
            return _unsplit(plain, name, split, channels)
        return _load_table(name, path, split, channels)
    if isinstance(source, str) and _looks_like_hub_id(source):
        return _load_table(name, source, split, channels)
    raise missing_file(path, "'digits', a picture, a folder, or a hub's owner/name")


def _unsplit(
    source: Source,
    name: str,
    split: str | None,
    channels: int,
    labels: Sequence[str] | None = None,
) -> ImageSet:
    if split is not None:
        raise UnknownDataError(
            f"{name} has no split {split!r}: it has no parts; leave the split out"
        )
    return ImageSet(source, name, labels=labels, channels=channels)


def _load_table(name: str, place: str | Path, split: str | None, channels: int) -> ImageSet:
    from fluoroscope.data.tables import open_table

    table = open_table(place, split, name)
    return ImageSet(table, name, split=table.split, labels=table.labels, channels=channels)


def _sequence_source(items: list[Any], channels: int) -> Source:
    if items and all(isinstance(item, Picture) for item in items):
        return PictureSource(items)
    arrays = [as_tensor(item) for item in items if isinstance(item, Tensor | np.ndarray)]
    if not arrays or len(arrays) < len(items):
        kinds = ", ".join(sorted({type(item).__name__ for item in items})) or "nothing"
        raise InvalidImagesError(
            f"a sequence of {kinds}; expected picture files, bytes, Pillow images, or arrays"
        )
    shapes = {tuple(array.shape) for array in arrays}
    if len(shapes) > 1:
        raise InvalidImagesError(
            f"arrays of shapes {', '.join(map(str, sorted(shapes)))}; expected one shape: resize "
            "them first"
        )
    return array_source(torch.stack(arrays), channels)


def _looks_like_hub_id(name: str) -> bool:
    # A first part that is a folder here, or a picture's ending, speaks of a mistyped path.
    owner, _, rest = name.partition("/")
    return (
        re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None
        and not Path(owner).exists()
        and Path(rest).suffix.lower() not in picture_suffixes()
    )
