"""The pictures of a training: which to learn from and which to judge by, decoded once as 8-bit.

What is more than memory should hold lies in a file without a name in the directory of the results,
mapped into memory: the system keeps of it what it has room for, and when the process ends, however
it ends, nothing is left.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fluoroscope.data.batches import Batch
from fluoroscope.data.classes import MISSING
from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.engine.labels import Truth, labelled
from fluoroscope.errors import InvalidImagesError, StorageError, UnknownDataError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.preprocessing import Preprocessing
from fluoroscope.notices import tell
from fluoroscope.training.job.shares import share_of_each
from fluoroscope.words import count

# Up to this many bytes the pictures are held in memory.
MEMORY = 2**30
# Of data without a part to test with, the share that is kept from the training for that.
TEST_SHARE = 0.2
# Pictures decoded at a time: at most so many, and so many numbers.
_BATCH, _NUMBERS = 1000, 2**24
# From here on a value counts as one between the 256 levels.
_BETWEEN = 0.01

Watch = Callable[[int, int], None]
"""Told how many pictures are decoded, and of how many."""


def nobody(done: int, total: int) -> None:
    """Watches nothing."""


@dataclass(frozen=True)
class Parts:
    """What is learnt from, and what it is judged by."""

    train: ImageSet
    test: ImageSet
    drawn: bool
    """Whether the second was drawn from the first, which has no such part."""

    @property
    def note(self) -> str:
        """What is to be said of it; nothing where the data set has both parts itself."""
        if not self.drawn:
            return ""
        return (
            f"{self.train.name} has no split for tests: {count(len(self.test), 'picture')} of "
            f"{len(self.train) + len(self.test):,}, of every class about the same share, are kept "
            "from the training to judge the network at the end"
        )


def open_parts(data: Any, channels: int | None, limit: int | None = None) -> Parts:
    """The splits ``train`` and ``test`` (or ``validation``) of the data, or a share drawn evenly.

    The draw depends on nothing but the labels: another seed of the training is judged by the same.

    Args:
        data: an `ImageSet`, or what `load_images` takes.
        channels: of the network's images, where they are known.
        limit: at most so many pictures of each part.

    Raises:
        UnknownDataError, InvalidImagesError: no such data, or none with labels.
    """
    train, test = _splits(data, channels)
    train = _usable(train, limit)
    numbers = _several_classes(train)
    if test is not None:
        return Parts(train, _usable(test, limit), drawn=False)
    kept = share_of_each(numbers, round(TEST_SHARE * len(numbers)), 0)
    if not len(kept):
        raise InvalidImagesError(
            f"{train.name} has no split for tests, and {count(len(train), 'picture')} of "
            f"{count(len(numbers.unique()), 'class', 'classes')} leave none to draw; expected two "
            "or more of a class"
        )
    learnt = torch.ones_like(numbers, dtype=torch.bool).index_fill(0, kept, False)
    rest = learnt.nonzero()[:, 0]
    return Parts(train.select(rest), train.select(kept.sort().values), drawn=True)


def _splits(data: Any, channels: int | None) -> tuple[ImageSet, ImageSet | None]:
    if isinstance(data, ImageSet):
        return data, None
    try:
        train = load_images(data, "train", channels=channels)
    except UnknownDataError:
        return load_images(data, channels=channels), None
    for split in ("test", "validation"):
        try:
            return train, load_images(data, split, channels=channels)
        except UnknownDataError:
            continue
    return train, None


def _usable(pictures: ImageSet, limit: int | None) -> ImageSet:
    """Those with labels, at most so many.

    Raises:
        InvalidImagesError: none has one.
    """
    pictures = pictures.with_labels()
    numbers = pictures.class_numbers()
    if numbers is None or not len(numbers) or bool((numbers == MISSING).any()):
        why = pictures.why_unlabelled or ("it is empty" if not len(pictures) else "")
        raise InvalidImagesError(
            f"{pictures.name} has no labels{f' ({why})' if why else ''}; expected pictures with "
            "their classes to learn: class folders, or a data set with a label column"
        )
    return pictures.take(limit) if limit else pictures


def _several_classes(pictures: ImageSet) -> Tensor:
    """The class of each picture ``(N,)`` in the data's numbers.

    Raises:
        InvalidImagesError: all are of one.
    """
    numbers = pictures.class_numbers()
    assert numbers is not None
    if len(numbers.unique()) == 1:
        split = f" ({pictures.split})" if pictures.split else ""
        raise InvalidImagesError(
            f"{pictures.name}{split}: {count(len(pictures), 'picture')} of one class alone, "
            f"{_name(pictures, int(numbers[0]))}; expected two classes or more to learn, since of "
            "one there is nothing to tell apart"
        )
    return numbers


def _name(pictures: ImageSet, number: int) -> str:
    return repr(pictures.labels[number]) if pictures.labels else f"number {number}"


def classes_of(pictures: ImageSet, model: Classifier) -> Tensor:
    """The network's class of each picture ``(N,)``; nothing is decoded.

    Raises:
        InvalidImagesError, UnknownLabelError: as `Truth` does.
    """
    pictures = labelled(model, pictures)
    numbers = pictures.class_numbers()
    nothing = torch.empty(0, device="cpu", dtype=torch.float32)
    indices = torch.tensor(pictures.indices, device="cpu")
    return Truth.of(model, pictures).labels(Batch(nothing, numbers, indices))


@dataclass(frozen=True)
class _OneSize:
    """Brings pictures to a network's size, and refuses those that stay of another than the first.

    A network that states no size takes pictures as they are, but a batch needs one.
    """

    seen: Preprocessing
    size: tuple[int, ...]
    network: str

    @property
    def channels(self) -> int:
        return self.seen.channels

    def fit(self, images: Tensor) -> Tensor:
        fitted = self.seen.fit(images)
        if tuple(fitted.shape[-2:]) != self.size:
            wide, first = ("×".join(map(str, one)) for one in (fitted.shape[-2:], self.size))
            raise InvalidImagesError(
                f"pictures are of different sizes ({first} and {wide}), and {self.network} states "
                "none that they are to be brought to; expected input_size=, one side or (height, "
                "width)"
            )
        return fitted


def decode(
    pictures: ImageSet, model: Classifier, order: Tensor, folder: Path, watch: Watch = nobody
) -> tuple[Tensor, Any]:
    """The pictures in this order as 8-bit ``(N, C, H, W)``, and the SHA-256 of them in their own,
    to which more may be added.

    Args:
        order: ``(N,)``, which picture comes at each place.
        folder: where the file lies if memory should not hold them.
        watch: told of the progress.

    Raises:
        PictureError, InvalidImagesError: a picture is damaged, or of another size than the others.
        StorageError: the disk has no room for them.
    """
    seen = model.preprocessing
    size = tuple(seen.fit(pictures[0].image).shape[-2:])
    held = _room((len(pictures), seen.channels, *size), folder)
    places = torch.empty_like(order).scatter_(
        0, order, torch.arange(len(order), device="cpu", dtype=order.dtype)
    )
    digest, done, between = hashlib.sha256(), 0, False
    several = max(1, min(_BATCH, _NUMBERS // held[0].numel()))
    watch(0, len(pictures))
    for batch in pictures.batches(several, fit=_OneSize(seen, size, model.name)):
        levels = batch.images * 255
        pixels = levels.round().to(torch.uint8)
        between = between or bool(((levels - pixels).abs() > _BETWEEN).any())
        digest.update(pixels.contiguous().numpy().data)
        held[places[done : done + len(pixels)]] = pixels
        done += len(pixels)
        watch(done, len(pictures))
    if between:
        tell(f"{pictures.name} has values between the 256 levels of 8 bits, and is rounded to them")
    return held, digest


def _room(shape: tuple[int, ...], folder: Path) -> Tensor:
    """Room for so many bytes: in memory, or in a file that is gone with the process."""
    many = int(np.prod(shape, dtype=np.int64))
    if many <= MEMORY:
        return torch.empty(shape, dtype=torch.uint8, device="cpu")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # a page that finds no room later ends the process
                os.posix_fallocate(file.fileno(), 0, many)
            else:
                file.truncate(many)
            return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=shape))
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = "the disk is full" if full else problem.strerror or str(problem)
        raise StorageError(
            f"{folder} cannot take the decoded pictures, {many / 2**20:.0f} MiB ({why}); expected "
            "room for them: another out=, or a limit="
        ) from problem
