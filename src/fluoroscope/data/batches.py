"""Pictures in batches, decoded ahead of the reader by other processes."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fluoroscope.errors import FluoroscopeError, InvalidImagesError, PictureError
from fluoroscope.notices import collected, distinct, tell
from fluoroscope.pictures import html
from fluoroscope.process import one_thread
from fluoroscope.words import count

# The longer side of one picture in a notebook.
_SIDE = 168
# Batches that each process reads ahead.
AHEAD = 2


@dataclass(frozen=True, repr=False)
class Sample(html.Shown):
    """One picture of a set: ``image`` ``(C, H, W)`` in ``[0, 1]`` at its own size, its class where
    known, its ``index`` in the data set and its ``name``: the file's, from the data set's folder.
    """

    image: Tensor
    label: int | None
    index: int
    name: str

    def _line(self) -> str:
        label = "" if self.label is None else f", class {self.label}"
        return f"{self.name}: {_sized(self.image)}{label}"

    def _view(self) -> Iterator[html.Html]:
        yield html.cards([[html.picture(self.image, side=_SIDE)]])


@dataclass(frozen=True, repr=False)
class Batch(html.Shown):
    """Several pictures: ``images`` ``(N, C, H, W)`` in ``[0, 1]``, ``labels`` ``(N,)`` int64 where
    every picture has one, ``indices`` ``(N,)`` in the data set, ``names`` of the pictures, and
    ``notes`` on how they were read.
    """

    images: Tensor
    labels: Tensor | None
    indices: Tensor
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def _line(self) -> str:
        labels = "" if self.labels is not None else ", without labels"
        of = f" of {_sized(self.images[0])}" if len(self.images) else ""
        return f"{count(len(self.images), 'picture')}{of}{labels}"

    def _view(self) -> Iterator[html.Html]:
        labels = [None] * len(self.images) if self.labels is None else self.labels.tolist()
        yield html.cards(
            [
                html.picture(
                    image, f"picture {index}" + ("" if label is None else f"\nclass {label}")
                )
            ]
            for image, index, label in zip(
                self.images[: html.ROWS], self.indices.tolist(), labels, strict=False
            )
        )


def _sized(image: Tensor) -> str:
    return "×".join(map(str, image.shape))


class Fit(Protocol):
    """What brings pictures to the size a network takes: a classifier or its preprocessing."""

    @property
    def channels(self) -> int:
        """Colour channels of the images it takes."""

    def fit(self, images: Tensor) -> Tensor:
        """Resize and crop ``(..., H, W)``; range kept."""


def read_batches(
    read: Callable[[int], Sample],
    count: int,
    batch_size: int,
    fit: Fit | None,
    workers: int,
    together: Callable[[range], Batch] | None = None,
) -> Iterator[Batch]:
    """Read the pictures 0 to ``count - 1`` in order; see `ImageSet.batches`.

    ``together`` reads several that lie in memory in one go, before they are fitted.
    """
    loader: DataLoader[Batch | FluoroscopeError] = DataLoader(
        _Batches(read, count, batch_size, fit, together),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        collate_fn=_unchanged,
        # The loader draws a seed for its workers, by default from the global generator.
        generator=torch.Generator(),
    )
    told: set[str] = set()
    try:
        with torch.device("cpu"):  # of that generator, whatever place the process has chosen
            batches = iter(loader)
        for batch in batches:
            if isinstance(batch, FluoroscopeError):
                raise batch
            for note in batch.notes:
                if note not in told:
                    told.add(note)
                    tell(note)
            yield batch
    except RuntimeError as error:
        if "killed by signal" not in str(error) and "exited unexpectedly" not in str(error):
            raise
        raise PictureError(
            f"a process that decodes pictures died ({str(error).splitlines()[0]}); memory or "
            "shared memory may be short: pass workers=0 or a smaller batch_size"
        ) from error


def suitable_workers(
    read: Callable[[int], Sample], count: int, batch_size: int, fit: Fit | None
) -> int:
    """One process for each processor, as far as the work and the shared memory go."""
    # Fewer than two batches a process do not earn back its start.
    workers = min(processors(), count // (2 * batch_size))
    shared_memory = Path("/dev/shm")
    if workers and shared_memory.is_dir():
        # Batches travel through it; in a container it is small, and a full one kills the process.
        image = fit.fit(read(0).image) if fit else read(0).image
        in_flight = (AHEAD + 1) * batch_size * image.nbytes
        workers = min(workers, shutil.disk_usage(shared_memory).free // in_flight)
    return workers


class _Batches(Dataset[Batch | FluoroscopeError]):
    """Batches by number, for torch's loader."""

    def __init__(
        self,
        read: Callable[[int], Sample],
        count: int,
        batch_size: int,
        fit: Fit | None,
        together: Callable[[range], Batch] | None,
    ) -> None:
        self.read = read
        self.together = together
        self.count = count
        self.batch_size = batch_size
        self.fit = fit

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __getitem__(self, number: int) -> Batch | FluoroscopeError:
        start = number * self.batch_size
        try:
            # As in the loader's workers: small pictures are not worth several threads each.
            with one_thread(), collected() as told:
                batch = self._batch(range(start, min(start + self.batch_size, self.count)))
            return replace(batch, notes=distinct(told))
        except FluoroscopeError as error:
            # Raised in a worker, it would come back with a traceback in its message.
            return error

    def _batch(self, positions: range) -> Batch:
        if self.together is not None:
            batch = self.together(positions)
            return replace(batch, images=self.fit.fit(batch.images)) if self.fit else batch
        samples = [self.read(position) for position in positions]
        images = [self.fit.fit(one.image) if self.fit else one.image for one in samples]
        for image, sample in zip(images, samples, strict=True):
            if image.shape != images[0].shape:
                raise InvalidImagesError(
                    f"{sample.name} has {_size(image)} pixels and {samples[0].name} has "
                    f"{_size(images[0])}; expected one size in a batch: pass fit=model, or "
                    "batch_size=1"
                )
        labels = [sample.label for sample in samples if sample.label is not None]
        return Batch(
            images=torch.stack(images),
            labels=torch.tensor(labels, device="cpu") if len(labels) == len(samples) else None,
            indices=torch.tensor([sample.index for sample in samples], device="cpu"),
            names=tuple(sample.name for sample in samples),
        )


def _unchanged(batch: object) -> object:
    return batch


def _size(image: Tensor) -> str:
    return f"{image.shape[-2]}×{image.shape[-1]}"


def processors() -> int:
    """Those this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
