"""Evaluating one part of a data set: the clean look, and stage after stage on what is left.

Whoever hands the parts out, in this process or on a cluster, is an `Engine`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from fluoroscope.arrow import array_of
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.bookmark import Bookmark, UnusableBookmarkError
from fluoroscope.engine.cluster import Part as Part
from fluoroscope.engine.grid import round_to_grid
from fluoroscope.engine.labels import Truth
from fluoroscope.engine.stream import Step
from fluoroscope.errors import NoGradientError, ResultFormatError
from fluoroscope.evaluation.plan import Plan
from fluoroscope.evaluation.rows import CLEAN
from fluoroscope.evaluation.runs.part_files import hash_of
from fluoroscope.evaluation.runs.run_directory import RunDirectory, data_hash
from fluoroscope.evaluation.search import look, search
from fluoroscope.evaluation.verdict import history
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import tell


@dataclass(frozen=True)
class Job:
    """Everything that evaluating a part needs."""

    model: Classifier
    plan: Plan
    truth: Truth
    seed: int
    batch_size: int
    save_images: bool
    grid: int | None = None
    """8 where the network sees 8-bit pictures alone, the given ones rounded to begin with."""
    directory: RunDirectory | None = None
    looked: dict[int, "Looked"] = field(default_factory=dict)
    """Clean looks at parts that were made beforehand, by the part's number."""

    @property
    def images(self) -> ImageSet:
        """What is evaluated."""
        return self.truth.images

    def load(self, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """Images ``(N, C, H, W)``, the network's labels ``(N,)`` and indices ``(N,)`` of a part."""
        return self._load(part.positions)

    def _load(self, positions: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        batches = self.images.select(positions).batches(
            len(positions), fit=self.model.preprocessing
        )
        batch = next(iter(batches))
        images = batch.images if self.grid is None else round_to_grid(batch.images)
        return images, self.truth.labels(batch), batch.indices

    def samples(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images and the network's labels of samples by their numbers in the data set."""
        places = {number: place for place, number in enumerate(self.images.indices)}
        images, labels, _ = self._load([places[number] for number in numbers])
        return images, labels


@dataclass(frozen=True)
class Looked:
    """The rows of a part's clean look, and its pictures while they are at hand."""

    clean: pa.Table
    batch: tuple[Tensor, Tensor, Tensor] | None = None


@dataclass(frozen=True)
class TakenUp:
    """A stage's search goes on where it was put down."""

    seconds: float
    """That it took so far."""
    share: float
    """Of all work, what lay behind then."""


Watch = Callable[[str, Step | pa.Table | TakenUp], float]
"""Called with a stage's name and each of its steps, and with its rows when it ends; before the
first step with what it is taken up from, if it is. Answers with the share of all work that lies
behind."""
Cancelled = Callable[[], bool]
Watching = Callable[[Part], Watch | None]
Engine = Callable[[Job, list[Part], Watching, Cancelled | None], Iterator[list[pa.Table]]]
"""Yields the rows of each part, in any order; asks for a part's watch when its rows come."""


def evaluate_part(
    job: Job,
    part: Part,
    *,
    watch: Watch | None = None,
    cancelled: Cancelled | None = None,
) -> list[pa.Table]:
    """The rows of a part: of the clean look, and of each stage that had somebody to attack.

    What is on disk is read; the pictures are only decoded if something is missing. The rows of an
    interrupted stage are in the answer and not on disk; where its search was is.

    Raises:
        ResultFormatError: the rows on disk are of other pictures or labels.
    """
    directory, model = job.directory, job.model
    looked = job.looked.pop(part.number, None) or clean_look(job, part)
    clean, batch = looked.clean, looked.batch
    tables = [clean]
    if watch is not None:
        watch(CLEAN, clean)
    right = clean.filter(pc.invert(clean["success"]))
    for stage in job.plan.stages:
        chosen = np.flatnonzero(stage.chooses(history(tables)))
        if not len(chosen):
            continue
        given = array_of(right["index"])[chosen]
        table = directory.load(part.number, stage.name, given.tolist()) if directory else None
        if table is None:
            if batch is None:
                batch = job.load(part)
                if directory:
                    _same_data(job, clean, batch)
            images, labels, indices = batch
            rows = torch.isin(indices, torch.from_numpy(given)).nonzero().squeeze(1)
            bookmark = (
                directory.bookmark(part.number, stage.name, given.tolist()) if directory else None
            )
            see = None if watch is None else _Seen(watch, stage.name)
            if see is not None and bookmark is not None:
                see.take_up(bookmark)
            try:
                table, result = search(
                    model, stage, images[rows], labels[rows], indices[rows],
                    torch.from_numpy(array_of(right["clean_margin"])[chosen]),
                    grid=job.grid, names=job.images.names(indices[rows]),
                    seed=job.seed, batch_size=job.batch_size, cancelled=cancelled,
                    on_step=see,
                    bookmark=bookmark,
                )  # fmt: skip
            except NoGradientError as error:
                raise NoGradientError(
                    f"the logits of {model.name} do not depend differentiably on the pixels, and "
                    f"the stage {stage.name} of the plan {job.plan.name} reads their gradient; "
                    "take the plan black-box, or replace the layer that cuts it (BPDA)"
                ) from error
            if bookmark is not None and bookmark.trouble:
                tell(f"the stage {stage.name} is not kept while it goes on: {bookmark.trouble}")
            if cancelled is not None and cancelled():
                return [*tables, table]
            if directory:
                kept = result.images if job.save_images else None
                directory.save(part.number, stage.name, table, images=kept)
        tables.append(table)
        if watch is not None:
            watch(stage.name, table)
    return tables


class _Seen:
    """Hands the steps of a stage on to a watch, and keeps in the bookmark how far that sees it."""

    def __init__(self, watch: Watch, stage: str) -> None:
        self._watch, self._stage, self._share = watch, stage, 0.0

    def __call__(self, step: Step) -> None:
        self._share = self._watch(self._stage, step)

    def take_up(self, bookmark: Bookmark) -> None:
        """Say what lies behind where the bookmark has something."""
        if bookmark.found:
            with suppress(UnusableBookmarkError):  # it begins anew
                before = TakenUp(bookmark.kept("seconds", 0.0), bookmark.kept("share", 0.0))
                self._share = self._watch(self._stage, before)
        bookmark.keep("share", lambda: self._share)


def read_part(job: Job, part: Part) -> list[pa.Table] | None:
    """The rows of a part if it is finished and on disk; no picture is decoded for it."""
    directory = job.directory
    if directory is None or not directory.file(part.number, CLEAN).exists():
        return None
    clean = directory.load(part.number, CLEAN, _indices(job, part))
    if clean is None:
        return None
    tables = [clean]
    right = array_of(clean.filter(pc.invert(clean["success"]))["index"])
    for stage in job.plan.stages:
        given = right[stage.chooses(history(tables))]
        if not len(given):
            continue
        table = directory.load(part.number, stage.name, given.tolist())
        if table is None:
            return None
        tables.append(table)
    return tables


def _indices(job: Job, part: Part) -> list[int]:
    return list(job.images.select(part.positions).indices)


def clean_look(job: Job, part: Part) -> Looked:
    """The clean look at a part: from the disk, or made and written there.

    Raises:
        ResultFormatError: the rows on disk are of other pictures.
    """
    directory = job.directory
    clean = directory.load(part.number, CLEAN, _indices(job, part)) if directory else None
    if clean is not None:
        return Looked(clean)
    images, labels, indices = batch = job.load(part)
    clean = look(
        job.model, images, labels, indices, names=job.images.names(indices),
        batch_size=job.batch_size,
    )  # fmt: skip
    if directory:
        clean = directory.save(part.number, CLEAN, clean, data=data_hash(images, labels))
    return Looked(clean, batch)


def _same_data(job: Job, clean: pa.Table, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    assert job.directory is not None
    if hash_of(clean) != data_hash(*batch[:2]):
        raise ResultFormatError(
            f"{job.directory.path} was made from other pictures or labels than {job.images.name} "
            "has now; give another directory, or --resume never to start anew there"
        )
