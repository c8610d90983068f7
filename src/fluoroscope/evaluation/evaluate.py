"""Evaluating a data set by a plan: part by part, stage by stage, and a verdict at the end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from fluoroscope.attacks.parts import part_size
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.stream import DEFAULT_BATCH, Step
from fluoroscope.engine.threats import Threat, as_threat
from fluoroscope.errors import ResultFormatError
from fluoroscope.evaluation.curve import curve_of
from fluoroscope.evaluation.labels import class_numbers, labelled, labels_of, what_was_fed
from fluoroscope.evaluation.plan import Plan, find_plan
from fluoroscope.evaluation.rows import CLEAN
from fluoroscope.evaluation.run_directory import RunDirectory, data_hash, hash_of
from fluoroscope.evaluation.search import look, search
from fluoroscope.evaluation.verdict import Verdict, check_above_chance, history, verdict_of
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.randomised import EOT


@dataclass(frozen=True)
class Part:
    """Consecutive samples of a data set that are evaluated together."""

    number: int
    positions: range


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is; handed out after every step and every stage."""

    total: int
    """Samples."""
    looked: int
    """Of these, looked at clean."""
    holding: int
    """Of those looked at, not misread so far."""
    done: float
    """Share of the work that lies behind, stages of a sample counted alike."""
    part: int
    parts: int
    stage: str
    passes: int
    """Forward and backward passes in this stage so far."""


@dataclass(frozen=True)
class Job:
    """Everything that evaluating a part needs."""

    model: Classifier
    plan: Plan
    images: ImageSet
    numbers: Tensor | None
    """The network's number for each class of the data ``(K,)``, where they differ."""
    seed: int
    batch_size: int
    save_images: bool
    at_chance: bool = False
    directory: RunDirectory | None = None

    def load(self, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """Images ``(N, C, H, W)``, the network's labels ``(N,)`` and indices ``(N,)`` of a part."""
        batches = self.images.select(part.positions).batches(
            len(part.positions), fit=self.model.preprocessing
        )
        batch = next(iter(batches))
        labels = labels_of(self.model, batch, self.numbers, self.images.name)
        return batch.images, labels, batch.indices


Watch = Callable[[str, Step | pa.Table], None]
"""Called with a stage's name and each of its steps, and with its rows when it ends."""


def evaluate_part(
    job: Job,
    part: Part,
    *,
    watch: Watch | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[pa.Table]:
    """The rows of a part: of the clean look, and of each stage that had somebody to attack.

    What is on disk is read; the pictures are only decoded if something is missing. An interrupted
    stage is in the answer and not on disk.

    Raises:
        ResultFormatError: the rows on disk are of other pictures or labels.
    """
    directory, model = job.directory, job.model
    positions = list(job.images.select(part.positions).indices)
    clean = directory.load(part.number, CLEAN, positions) if directory else None
    batch = None
    if clean is None:
        batch = job.load(part)
        images, labels, indices = batch
        clean = look(model, images, labels, indices, batch_size=job.batch_size)
        if directory:
            clean = directory.save(part.number, CLEAN, clean, data=data_hash(images, labels))
    if part.number == 0 and not job.at_chance:
        fed = what_was_fed(model, *(batch or job.load(part))[:2])
        check_above_chance(clean, model.num_classes, model.name, fed)
    tables = [clean]
    if watch is not None:
        watch(CLEAN, clean)
    right = clean.filter(pc.invert(clean["success"]))
    for stage in job.plan.stages:
        chosen = np.flatnonzero(stage.chooses(history(tables)))
        if not len(chosen):
            continue
        given = right["index"].to_numpy()[chosen]
        table = directory.load(part.number, stage.name, given.tolist()) if directory else None
        if table is None:
            if batch is None:
                batch = job.load(part)
                _same_data(job, clean, batch)
            images, labels, indices = batch
            rows = torch.isin(indices, torch.from_numpy(given)).nonzero().squeeze(1)
            table, result = search(
                model, stage, images[rows], labels[rows], indices[rows],
                torch.from_numpy(right["clean_margin"].to_numpy()[chosen]),
                seed=job.seed, batch_size=job.batch_size, cancelled=cancelled,
                on_step=None if watch is None else partial(watch, stage.name),
            )  # fmt: skip
            if cancelled is not None and cancelled():
                return [*tables, table]
            if directory:
                kept = result.images if job.save_images else None
                directory.save(part.number, stage.name, table, images=kept)
        tables.append(table)
        if watch is not None:
            watch(stage.name, table)
    return tables


def _same_data(job: Job, clean: pa.Table, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    assert job.directory is not None
    if hash_of(clean) != data_hash(*batch[:2]):
        raise ResultFormatError(
            f"{job.directory.path} was made from other pictures or labels than {job.images.name} "
            "has now; give another directory, or --resume never to start anew there"
        )


def evaluate(
    model: Classifier,
    images: ImageSet | Tensor,
    labels: Tensor | None = None,
    *,
    threat: Threat | str,
    plan: str | Path | Plan = "standard",
    out: str | Path | None = None,
    resume: bool = True,
    save_images: bool = False,
    part: int | None = None,
    batch_size: int = DEFAULT_BATCH,
    seed: int = 0,
    at_chance: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    enough: Callable[[], bool] | None = None,
) -> Verdict:
    """How many of these pictures a network reads right, and how many still under attack.

    Args:
        model: the network under study. If it was prepared for speed, the plain one has the last
            word on every success.
        images: labelled pictures, or a batch ``(N, C, H, W)`` in ``[0, 1]``.
        labels: ``(N,)``, the true class of each, for a batch.
        threat: how far an image may move: a threat model, or such as ``"linf:8/255"``. With the
            plan ``curve`` it may lack a bound: ``"linf"``.
        plan: ``standard`` (AutoAttack's), ``rand`` (its plan for networks that answer at random),
            ``curve`` (accuracy at all bounds), a file, or a plan.
        out: a directory that the run is kept in. The same call goes on where it was stopped.
        resume: whether to; otherwise what is in ``out`` is removed.
        save_images: keep what each attack made of the pictures as well.
        part: samples that are evaluated together and written down at once; by default up to 1000.
        batch_size: images evaluated at once.
        seed: for everything random; a sample's chance hangs on it and the sample's index alone.
        at_chance: go on with a network that reads clean pictures no better than chance.
        on_progress: called at every step.
        cancelled: asked at every step; once true, the verdict is of what was found so far.
        enough: asked after every part; once true, the verdict is of the parts so far.

    Raises:
        UnknownLabelError, InvalidImagesError: labels that are missing or not the network's.
        InvalidParameterError: no such plan; a directory that holds another run.
        ChanceLevelError: clean pictures are read no better than by chance.
    """
    threat = as_threat(threat) if isinstance(threat, str) else threat
    chosen, data = find_plan(plan, threat), labelled(images, labels)
    looked_at = EOT(model, samples=chosen.samples, seed=seed) if chosen.samples > 1 else model
    size = part_size(model) if part is None else check_batch_size(part)
    numbers = class_numbers(model, data.labels)
    about = provenance(looked_at)
    identity = {
        "model": about["model"],
        "model_sha256": about["model_sha256"],
        "prepared": about["prepared"],
        "precision": about["precision"],
        "data": {"name": data.name, "split": data.split, "count": len(data)},
        "class_numbers": None if numbers is None else numbers.tolist(),
        "threat": str(threat),
        "plan": chosen.describe(),
        "seed": seed,
        "batch_size": check_batch_size(batch_size),
        "part": size,
        "save_images": save_images,
    }
    directory = RunDirectory.open(out, identity, about, resume=resume) if out is not None else None
    job = Job(looked_at, chosen, data, numbers, seed, batch_size, save_images, at_chance, directory)
    starts = range(0, len(data), size)
    parts = [Part(n, range(at, min(at + size, len(data)))) for n, at in enumerate(starts)]
    found: list[list[pa.Table]] = []
    meter = _Meter(len(data), parts, chosen, threat, on_progress)
    for one in parts:
        tables = evaluate_part(job, one, watch=meter.watch(one), cancelled=cancelled)
        found.append(tables)
        if (cancelled is not None and cancelled()) or (enough is not None and enough()):
            break
    verdict = verdict_of(
        found, chosen, threat, total=len(data), classes=model.num_classes,
        stopped=cancelled is not None and cancelled(),
        record={"identity": identity, **about},
    )  # fmt: skip
    if chosen.finds_distances and found:
        verdict = replace(verdict, curve=curve_of(found, threat.name, model.labels))
    if directory is not None:
        directory.write_json("verdict.json", verdict.describe())
    return verdict


class _Meter:
    """Counts what lies behind, from the steps and tables of each stage."""

    def __init__(
        self,
        total: int,
        parts: list[Part],
        plan: Plan,
        threat: Threat,
        tell: Callable[[Progress], None] | None,
    ) -> None:
        self._threat, self._stages = threat, {stage.name: stage for stage in plan.stages}
        self._total, self._parts, self._tell = total, len(parts), tell
        self._places = {stage.name: number for number, stage in enumerate(plan.stages)}
        self._looked = self._lost = 0
        self._behind = 0.0

    def watch(self, part: Part) -> "Watch | None":
        """What is to be called with the stages of this part."""
        if self._tell is None:
            return None
        before, count = self._behind, len(part.positions)
        stages = len(self._places)
        tables: list[pa.Table] = []
        right = holding = given = ended = passes = 0
        present = CLEAN

        def see(stage: str, seen: Step | pa.Table) -> None:
            nonlocal right, holding, given, ended, passes, present
            if stage != present:
                present, ended, passes = stage, 0, 0
                given = int(self._stages[stage].chooses(history(tables)).sum())
            if stage == CLEAN:
                assert not isinstance(seen, Step)
                tables.append(seen)
                right = holding = int(pc.sum(pc.invert(seen["success"])).as_py() or 0)
                self._looked += count
                self._lost += count - right
                place = 0.0
            else:
                place = float(self._places[stage])
                if isinstance(seen, Step):
                    ended += int(seen.done.sum())
                    passes += len(seen.indices)
                    place += min(1.0, ended / max(given, 1))
                else:
                    tables.append(seen)
                    was, holding = holding, int(history(tables).holds(self._threat).sum())
                    self._lost += was - holding
                    place += 1
            self._behind = before + (count - right + right * place / stages) / self._total
            assert self._tell is not None
            self._tell(
                Progress(
                    self._total,
                    self._looked,
                    self._looked - self._lost,
                    self._behind,
                    part.number,
                    self._parts,
                    stage,
                    passes,
                )
            )

        return see
