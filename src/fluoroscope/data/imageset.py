"""Sets of labelled pictures: found by name, decoded when asked, singly or in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fluoroscope.data.batches import Batch, Fit, Sample, read_batches, suitable_workers
from fluoroscope.data.classes import MISSING
from fluoroscope.data.drawing import by_class, draw_evenly
from fluoroscope.data.objects import with_columns
from fluoroscope.data.opening import open_source
from fluoroscope.data.sources import ArraySource, Columns, Source
from fluoroscope.errors import FluoroscopeError, InvalidParameterError, UnknownDataError
from fluoroscope.pictures import html
from fluoroscope.pictures.pairs import spread
from fluoroscope.words import count as counted
from fluoroscope.words import of_classes, shortened, some

# Pictures that a notebook shows of a set.
_SHOWN = 8

# Columns that a message names, and the characters of each.
_LISTED, _LONGEST = 12, 60
_NO_COLUMNS = (
    "it has none: expected a table beside the pictures, Parquet with columns, folders within the "
    "classes, or columns= in Python"
)

_NEGATIVES = "the network sees the negatives of the pictures: white where they are black"


Change = Callable[[Tensor, int], Tensor]
"""Makes another picture of one ``(C, H, W)`` with that index."""


class ImageSet(html.Shown):
    """Pictures in a fixed order, decoded when they are asked for; `load_images` makes one.

    Attributes:
        name: where the pictures come from.
        split: the part of the data set, where it has parts.
        labels: the names of the classes, where the data set states them.
        channels: colour channels of the images handed out.
        notes: what a reader of results should know of the data: what was left out, with its count,
            and how the pictures were chosen.
        why_unlabelled: why there are no labels, where there are none.
        inverted: whether the negatives are handed out: 1 less each value.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        *,
        split: str | None = None,
        labels: Sequence[str] | None = None,
        channels: int = 3,
        notes: Sequence[str] = (),
        why_unlabelled: str | None = None,
        inverted: bool = False,
        columns: Callable[[], Columns] = dict,
    ) -> None:
        self.name = name
        self.split = split
        self.labels = None if labels is None else tuple(labels)
        self.channels = channels
        self.inverted = inverted
        self.notes = (*notes, _NEGATIVES) if inverted else tuple(notes)
        self.why_unlabelled = why_unlabelled
        self._source, self._columns = source, columns
        self._classes = source.classes()
        self._positions: Sequence[int] = range(len(source))
        self._chosen = ""
        self._changes: tuple[tuple[str, Change], ...] = ()

    def _line(self) -> str:
        split = f" ({self.split})" if self.split else ""
        return f"{self.name}{split}: {counted(len(self), 'picture')}"

    def _view(self) -> Iterator[html.Html]:
        counts = self.class_counts()
        named = "without labels" + (f": {self.why_unlabelled}" if self.why_unlabelled else "")
        if counts is not None:
            there = [f"{shortened(name)} ({many:,})" for name, many in counts.items() if many]
            of = "" if len(there) == len(counts) else f"{len(there):,} of "
            named = f"{of}{counted(len(counts), 'class', 'classes')}: {some(there, 20)}"
        yield html.paragraph(named)
        places = spread(len(self), _SHOWN).tolist() if len(self) else []
        yield html.cards([self._picture(place)] for place in places)
        yield html.notes(self.notes)

    def _picture(self, position: int) -> html.Html:
        try:
            one = self[position]
        except FluoroscopeError as problem:
            return html.paragraph(str(problem))
        return html.picture(one.image, f"picture {one.index}\n{self._called(one.label)}".strip())

    def _called(self, label: int | None) -> str:
        if label is None:
            return ""
        return f"class {shortened(self.labels[label]) if self.labels else label}"

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
        there = len(self)
        outside = [position for position in wanted if not 0 <= position < there]
        if outside:
            raise self._no_such(outside[0])
        view = type(self).__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._positions = [self._positions[position] for position in wanted]
        view._chosen = ""
        return view

    def take(self, count: int, *, first: bool = False, seed: int = 0) -> Self:
        """A view of ``count`` pictures, or of all where there are fewer, in the order of the set.

        Where the pictures lie in order of class, as in sorted folders, they are drawn as evenly
        over the classes as their sizes allow, which `notes` say; else they are the first ones.

        Args:
            count: at least 1.
            first: take the first ones in any case.
            seed: of the draw; the same pictures come every time.
        """
        if count < 1:
            raise InvalidParameterError(f"asked for the first {count} pictures; expected 1 or more")
        if count >= len(self):
            return self
        numbers = self.class_numbers()
        if numbers is None or not self._lies_by_class(numbers):
            view = self.select(range(count))
            view._chosen = ", the first ones"
            return view
        if first:
            view = self.select(range(count))
            view._chosen = ", the first ones"
            told = f"the pictures are the first {count} of {len(self)}, which lie in order of class"
        else:
            labelled = (numbers != MISSING).nonzero()[:, 0]
            drawn = labelled
            if count < len(labelled):
                indices = torch.tensor(self._positions, device="cpu")[labelled]
                drawn = labelled[draw_evenly(numbers[labelled], indices, count, seed)]
            view = self.select(drawn)
            view._chosen = ", drawn evenly over the classes"
            told = (
                f"the pictures are {len(view)} of {len(self)}, drawn evenly over the classes, as "
                "they lie in order of class"
            )
        view.notes = (*self.notes, told)
        return view

    def with_labels(self) -> Self:
        """A view of the pictures that have a label; how many were left out is in `notes`."""
        numbers = self.class_numbers()
        there = (
            torch.zeros(0, dtype=torch.float32, device="cpu")
            if numbers is None
            else (numbers != MISSING)
        )
        if not there.any() or there.all():
            return self
        view = self.select(there.nonzero()[:, 0])
        lost = len(self) - len(view)
        view._chosen = self._chosen
        view.notes = (*self.notes, f"left out {lost} of {len(self)} pictures without a label")
        return view

    def changed(self, change: Change, name: str) -> Self:
        """A view whose pictures are changed as they are handed out.

        Args:
            change: given a picture ``(C, H, W)`` and its index in the data set, makes another.
            name: what it does, with its numbers: it tells this view from others.
        """
        view = self.select(range(len(self)))
        view._chosen = self._chosen
        view._changes = (*self._changes, (name, change))
        view.notes = (*self.notes, f"the pictures are changed: {name}")
        return view

    def class_counts(self) -> dict[str, int] | None:
        """How many pictures of each class there are in this view, by name or number, also of named
        classes without any; ``None`` where the pictures have no labels.
        """
        numbers = self.class_numbers()
        if numbers is None:
            return None
        counts = torch.bincount(numbers[numbers >= 0], minlength=len(self.labels or ())).tolist()
        if self.labels is None:
            return {str(number): count for number, count in enumerate(counts) if count}
        found: dict[str, int] = {}
        for number, (name, count) in enumerate(zip(self.labels, counts, strict=True)):
            # Two classes may share a name, as ImageNet's two cranes do.
            found[f"{name} ({number})" if name in found else name] = count
        return found

    def describe_classes(self) -> str:
        """How many pictures of which classes these are, in words for results: ``100 pictures of 9
        of 10 classes, none of 'cat'``.
        """
        pictures = counted(len(self), "picture") + self._chosen
        counts = self.class_counts()
        if counts is None:
            return f"{pictures}, without labels"
        empty = [name for name, many in counts.items() if not many]
        if len(self) == 1 and len(empty) == len(counts) - 1:
            [own] = counts.keys() - set(empty)
            return f"1 picture of class {own!r}"
        comma = "," if self._chosen else ""
        if self.labels is None:
            return f"{pictures}{comma} of {counted(len(counts), 'class', 'classes')}"
        words = f"{pictures}{comma} of {of_classes(len(counts) - len(empty), len(counts))}"
        if not empty:
            return words
        listed = ", ".join(repr(name) for name in empty[:3])
        return f"{words}, none of {listed}" + (
            f" and {len(empty) - 3} more" if len(empty) > 3 else ""
        )

    def identity(self) -> dict[str, Any]:
        """What tells this view from another: name, split, count, and which pictures they are where
        they are not the first ones.
        """
        about: dict[str, Any] = {"name": self.name, "split": self.split, "count": len(self)}
        if self.indices != tuple(range(len(self))):
            about["chosen"] = sha256(repr(self.indices).encode()).hexdigest()[:16]
        if self.inverted:
            about["inverted"] = True
        if self._changes:
            about["changed"] = [name for name, _ in self._changes]
        return about

    def names(self, indices: Sequence[int] | Tensor | None = None) -> tuple[str, ...]:
        """The names of pictures by their indices in the data set, or of all of this view; nothing
        is decoded.
        """
        wanted = self._positions if indices is None else [int(index) for index in indices]
        there = len(self._source)
        outside = [index for index in wanted if not 0 <= index < there]
        if outside:
            raise UnknownDataError(f"{self.name} has no picture of the index {outside[0]}")
        return tuple(self._source.name(index) for index in wanted)

    @property
    def columns(self) -> tuple[str, ...]:
        """What else is known of the pictures, by name: the columns of their table but for the
        pictures themselves, and ``folder`` where they lie in several within their class.
        """
        return tuple(self._columns())

    def column(self, name: str) -> list[Any]:
        """The value of a column for each picture of this view, as it stands there; ``None`` where
        there is none.

        Raises:
            UnknownDataError: there is no such column.
        """
        columns = self._columns()
        if name not in columns:
            listed = ", ".join(repr(one[:_LONGEST]) for one in list(columns)[:_LISTED])
            more = f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
            raise UnknownDataError(
                f"{self.name} has no column {name!r}; "
                + (f"expected one of: {listed}{more}" if columns else _NO_COLUMNS)
            )
        values = columns[name]()
        return [values[index] for index in self._positions]

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
        in_memory = isinstance(self._source, ArraySource)
        if workers is None:
            workers = 0 if in_memory else suitable_workers(read, len(self), batch_size, fit)
        if workers < 0:
            raise InvalidParameterError(f"workers is {workers}; expected 0 or more")
        together = partial(self._together, channels=read.keywords["channels"])
        # What changes a picture is told its index, one at a time.
        at_once = together if in_memory and not self._changes else None
        return read_batches(read, len(self), batch_size, fit, workers, at_once)

    def _sample(self, position: int, channels: int) -> Sample:
        if not -len(self) <= position < len(self):
            raise self._no_such(position)
        index = self._positions[position]
        image = self._source.image(index, channels)
        image = 1 - image if self.inverted else image
        for _, change in self._changes:
            image = change(image, index)
        return Sample(
            image=image,
            label=self._label(index),
            index=index,
            name=self._source.name(index),
        )

    def _together(self, positions: range, channels: int) -> Batch:
        """What :meth:`_sample` says of several pictures that lie in memory."""
        assert isinstance(self._source, ArraySource)
        indices = [self._positions[position] for position in positions]
        images = self._source.several(indices, channels)
        numbers = torch.tensor(indices, device="cpu")
        labels = None if self._classes is None else self._classes[numbers]
        return Batch(
            images=1 - images if self.inverted else images,
            labels=None if labels is None or bool((labels == MISSING).any()) else labels,
            indices=numbers,
            names=tuple(self._source.name(index) for index in indices),
        )

    def _label(self, index: int) -> int | None:
        number = MISSING if self._classes is None else int(self._classes[index])
        return None if number == MISSING else number

    def class_numbers(self) -> Tensor | None:
        """The class of each picture ``(N,)``; -1 where it has none."""
        if self._classes is None:
            return None
        return self._classes[torch.tensor(self._positions, dtype=torch.int64, device="cpu")]

    def _lies_by_class(self, numbers: Tensor) -> bool:
        """Whether neighbours are of one class: in the whole set, if this is a part of it in its
        order, where few pictures cannot tell.
        """
        positions = torch.tensor(self._positions, dtype=torch.int64, device="cpu")
        if self._classes is not None and bool((positions[1:] > positions[:-1]).all()):
            numbers = self._classes
        return by_class(numbers[numbers != MISSING])

    def _no_such(self, position: int) -> UnknownDataError:
        split = f":{self.split}" if self.split else ""
        return UnknownDataError(
            f"{self.name}{split} has no picture {position}; expected 0 to {len(self) - 1}"
        )


def load_images(
    source: str
    | Path
    | Tensor
    | NDArray[np.generic]
    | Dataset[Any]
    | DataLoader[Any]
    | Sequence[Any],
    split: str | None = None,
    *,
    labels: Any = None,
    channels: int | None = None,
    invert: bool = False,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> ImageSet:
    """Find pictures by name, or take them from memory.

    Args:
        source: ``"digits"`` (built in); a picture file; a folder of pictures, of class folders, of
            pictures and a table of their labels, or of Parquet files, or one such file (a `Path` is
            never anything else); a Hugging Face data set ``"owner/name"`` or ``"hf/owner/name"``;
            an array ``(N, C, H, W)``, ``(N, H, W, C)`` or of one image, 8-bit or floats in
            ``[0, 1]``; a sequence of files, encoded bytes, Pillow images or arrays of one size, or
            of pairs ``(picture, label)``; or a data set of torch, torchvision or ``datasets``, or
            the ``DataLoader`` around one, with items ``(image, label)`` in ``[0, 1]``.
        split: the part of the data set; by default its only one, else ``test``, else
            ``validation``.
        labels: one for each picture of an array or a list: numbers from 0, names or one-hot rows.
        channels: 3 for colour, 1 for grey; files are converted, arrays must fit. With any other
            number ``.npy`` files and pictures of so many bands are read. By default 3, and for an
            array or a list of them what it has, where its shape leaves no doubt.
        invert: hand out the negatives: dark ink on white for a network that learnt white on black.
        columns: what else is known of the pictures, such as ``{"camera": ["a", "b", …]}``: one
            value for each picture of the data set, beside the columns that it has itself.

    Raises:
        UnknownDataError: no such data set, split, folder or file.
        HubUnreachableError: a data set of the hub, and the hub cannot be reached.
        MissingExtraError: the ``datasets`` library is needed and not installed.
        InvalidImagesError: an array that is no batch of images in ``[0, 1]``, or labels that are
            not one for each picture.
        InvalidParameterError: columns that are not one value for each picture.
    """
    name, found = open_source(source, split, labels, channels)
    return ImageSet(
        found.source,
        name,
        split=found.split,
        labels=found.labels,
        channels=found.channels if channels is None else channels,
        notes=found.notes,
        why_unlabelled=found.why_unlabelled,
        inverted=invert,
        columns=found.columns if columns is None else with_columns(found, columns),
    )
