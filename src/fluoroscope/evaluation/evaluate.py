"""Evaluating a data set by a plan: part by part, stage by stage, and a verdict at the end."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from fluoroscope.arrow import array_of
from fluoroscope.attacks.attack import as_plain
from fluoroscope.attacks.parts import part_size
from fluoroscope.data.imageset import ImageSet
from fluoroscope.data.slices import slices as sliced_by
from fluoroscope.engine.classes import Given
from fluoroscope.engine.cluster import Cluster
from fluoroscope.engine.grid import as_grid, nothing_between
from fluoroscope.engine.labels import Seen, Truth, labelled, scaling, what_was_fed
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.stream import DEFAULT_BATCH, Step
from fluoroscope.engine.threats import Threat, as_threat, usual_threat
from fluoroscope.errors import (
    InvalidParameterError,
)
from fluoroscope.evaluation.check import Check
from fluoroscope.evaluation.curve import curve_of
from fluoroscope.evaluation.level import Level
from fluoroscope.evaluation.pace import Pace
from fluoroscope.evaluation.parts import (
    Cancelled,
    Engine,
    Job,
    Looked,
    Part,
    TakenUp,
    Watch,
    Watching,
    clean_look,
    evaluate_part,
)
from fluoroscope.evaluation.plan import Plan
from fluoroscope.evaluation.plans import find_plan
from fluoroscope.evaluation.requirements import Requirements, as_requirements
from fluoroscope.evaluation.rows import CLEAN
from fluoroscope.evaluation.runs.columns_file import write_columns
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.evaluation.trust.of_run import trust_of_run
from fluoroscope.evaluation.trust.transfer import Second, second_networks
from fluoroscope.evaluation.verdict import Verdict, history, in_slices, verdict_of
from fluoroscope.hashing import as_seed
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.wrappers.randomised import EOT
from fluoroscope.pictures.captioned import captioned_figure
from fluoroscope.pictures.maps import write_figure

# Pictures shown of what was fed.
_SHOWN = 12

# The share of the work that trust checks are taken for, and how many there mostly are.
_TRUST, _CHECKS = 0.3, 16


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is; handed out after every step and every stage."""

    total: int
    """Samples."""
    looked: int
    """Of these, looked at clean."""
    surviving: int
    """Of those looked at, not misclassified so far."""
    done: float
    """Share of the work that lies behind, as far as that can be foreseen."""
    part: int
    parts: int
    stage: str
    passes: int
    """Forward and backward passes in this stage so far."""
    left: float | None = None
    """Seconds until the end, as far as that can be foreseen; ``None`` where it cannot."""


def check_level(job: Job, parts: list[Part], cancelled: Cancelled | None) -> None:
    """Look at clean parts until the network is surely above chance: mostly at the first.

    Data sets are often sorted by class, and the first part may be of one class alone. What was
    looked at is not looked at again.

    Raises:
        ChanceLevelError: all parts were looked at, and it is at chance.
    """
    level = Level(job.model)
    for part in parts:
        looked = clean_look(job, part)
        # One part's pictures are kept, the first's: it is evaluated next.
        job.looked[part.number] = looked if part.number == 0 else Looked(looked.clean)
        if not _said(level, looked.clean).at_chance or (cancelled is not None and cancelled()):
            return
    level.check(lambda: _fed(job, job.looked[0].clean))


def _said(level: Level, clean: pa.Table) -> Level:
    labels, read = (
        torch.tensor(array_of(clean[of]), device="cpu") for of in ("label", "clean_prediction")
    )
    return level.add(labels, read)


def _fed(job: Job, clean: pa.Table) -> str:
    """What the network was given, in words, and in a picture beside the run's other files."""
    first = clean.take(_of_several_classes(clean["label"].to_pylist(), _SHOWN))
    images, labels = job.samples(first["index"].to_pylist())
    names, words = job.model.labels, what_was_fed(job.model, images, labels)
    if job.directory is None:
        return words
    read = first["clean_prediction"].to_pylist()
    pictures = [
        (images[at].cpu(), f"labelled {names[int(labels[at])]}\npredicted {names[read[at]]}")
        for at in range(len(images))
    ]
    title = f"What {job.model.name} was fed: some of {job.images.name}, {scaling(job.model)}"
    path = write_figure(job.directory.path / "fed.png", captioned_figure(pictures, title))
    return f"{words}, see {path}"


def _of_several_classes(labels: list[int], most: int) -> list[int]:
    """Rows of as many classes as there are, the first of each, then the second, and so on."""
    seen: Counter[int] = Counter()
    turns = []
    for row, label in enumerate(labels):
        turns.append((seen[label], row))
        seen[label] += 1
    return [row for _, row in sorted(turns)[:most]]


def here(
    job: Job, parts: list[Part], watch: Watching, cancelled: Cancelled | None
) -> Iterator[list[pa.Table]]:
    """The engine ``local``: one part after the other, in this process."""
    for part in parts:
        yield evaluate_part(job, part, watch=watch(part), cancelled=cancelled)
        if cancelled is not None and cancelled():
            return


def _engine(name: str, workers: int | None, address: str | None) -> Engine:
    over = Cluster.named(name, workers, address)
    if over is None:
        return here
    from fluoroscope.evaluation.cluster import cluster

    return cluster(over)


def evaluate(
    model: Classifier | nn.Module,
    images: ImageSet | Tensor,
    labels: Given | None = None,
    *,
    threat: Threat | str | None = None,
    plan: str | Path | Plan = "standard",
    out: str | Path | None = None,
    resume: bool = True,
    save_images: bool = False,
    part: int | None = None,
    batch_size: int = DEFAULT_BATCH,
    seed: int = 0,
    at_chance: bool = False,
    trust: bool = False,
    second: Second | None = None,
    grid: int | None = None,
    slices: Sequence[str] = (),
    require: str | Requirements | None = None,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Cancelled | None = None,
    enough: Cancelled | None = None,
) -> Verdict:
    """How many of these pictures a network classifies correctly, and how many still under attack.

    Args:
        model: the network under study. If it was prepared for speed, the plain one has the last
            word on every success.
        images: labelled pictures, or a batch ``(N, C, H, W)`` in ``[0, 1]``.
        labels: the true class of each ``(N,)``, for a batch: indices, names or one-hot rows.
        threat: how far an image may move: a threat model, or such as ``"linf:8/255"``; by default
            :func:`~fluoroscope.engine.threats.usual_threat`. With the plan ``curve`` it may lack a
            bound: ``"linf"``.
        plan: ``standard`` (AutoAttack's), ``rand`` (its plan for networks that answer at random),
            ``curve`` (accuracy at all bounds), ``black-box`` (for networks without gradient), a
            file, or a plan.
        out: a directory that the run is kept in. The same call goes on where it was stopped.
        resume: whether to; otherwise what is in ``out`` is removed.
        save_images: keep what each attack made of the pictures as well.
        part: samples that are evaluated together and written down at once; by default up to 1000.
        batch_size: images evaluated at once.
        seed: for everything random; what is random of a sample depends on it and the
        sample's index alone.
        at_chance: go on with a network whose clean accuracy is at chance level.
        trust: look as well for reasons not to trust the number, once the plan is through; what
            that costs is counted apart. See :mod:`fluoroscope.evaluation.trust.checks`.
        second: another network of the same classes, or several, for one more of these checks: do
            pictures that are made on it fool this one where its own gradient leads nowhere? The
            checks are then made without ``trust`` as well.
        grid: 8 for the verdict in 8 bits: the pictures are rounded to the 256 levels that a file
            holds, and so is every image that an attack shows the network, so all that it finds
            survives being saved. The trust checks search in floating point all the same.
        slices: columns of the data, such as ``"camera"``: the accuracies of the pictures of each
            value come beside those of all; see :attr:`.ImageSet.columns`.
        require: what the verdict must say, such as ``"robust>=0.6 class.low>=80%"``; how that came
            out is in :attr:`.Verdict.requirements`. See :class:`.Requirements`.
        engine: ``local``, or ``ray`` for several processes or machines at once.
        workers: processes of ``ray``; by default one for each GPU if the network is on one, else
            one for each processor.
        address: of a running cluster's head, ``host:port`` or ``auto``; by default one is started
            on this machine. Its machines must see the pictures' files where this one does, and
            ``out`` too if images are saved.
        on_progress: called at every step; with ``ray`` when a part is done.
        cancelled: asked at every step; once true, the verdict is of what was found so far.
        enough: asked after every part; once true, no other one is begun, and the verdict is of
            those there are.

    Raises:
        UnknownLabelError, InvalidImagesError: labels that are missing or not the network's.
        UnknownDataError: the data have no such column.
        InvalidParameterError: no such plan; requirements that nobody can read; a directory that
            holds another run, or is in use; a second network that is the first.
        ModelFormatError: a second network of other classes, channels, device or type.
        ChanceLevelError: the clean accuracy is at chance level.
        NoGradientError: the plan reads gradients, and the network has none.
        MissingExtraError, ClusterError: Ray is not installed; its cluster fails.
    """
    required = as_requirements(require)
    model = as_classifier(model)
    run = _engine(engine, workers, address)
    data, seed, grid = labelled(model, images, labels), as_seed(seed), as_grid(grid)
    threat = usual_threat(model, data) if threat is None else as_threat(threat)
    others = second_networks(model, second, threat)
    trust = trust or bool(others) or (required is not None and required.trust)
    chosen = find_plan(plan, threat)
    looked_at = EOT(model, samples=chosen.samples, seed=seed) if chosen.samples > 1 else model
    size = part_size(model) if part is None else check_batch_size(part)
    truth = Truth.of(model, data)
    columns = columns_of(data, slices, required)
    about = provenance(looked_at)
    identity = {
        "model": about["model"],
        "model_sha256": about["model_sha256"],
        "prepared": about["prepared"],
        "precision": about["precision"],
        "data": data.identity(),
        "class_numbers": None if truth.numbers is None else truth.numbers.tolist(),
        "threat": as_plain(threat),
        "plan": chosen.describe(),
        "seed": seed,
        "batch_size": check_batch_size(batch_size),
        "part": size,
        "save_images": save_images,
        **({} if grid is None else {"grid": grid}),
    }
    described = {**about, "labels": list(model.labels)}
    opened = nullcontext() if out is None else RunDirectory.open(
        out, identity, described, resume=resume
    )  # fmt: skip
    with opened as directory:
        job = Job(looked_at, chosen, truth, seed, batch_size, save_images, grid, directory)
        starts = range(0, len(data), size)
        parts = [Part(n, range(at, min(at + size, len(data)))) for n, at in enumerate(starts)]
        if not at_chance:
            check_level(job, parts, cancelled)
        found: list[list[pa.Table]] = []
        meter = _Meter(len(data), parts, chosen, threat, on_progress, trust=trust)
        for tables in run(job, parts, meter.watch, cancelled):
            found.append(tables)
            if enough is not None and enough():
                break
        level = Level(looked_at)
        for clean, *_ in found:
            _said(level, clean)
        stopped = cancelled is not None and cancelled()
        if not at_chance and not stopped:
            level.check(lambda: _fed(job, found[0][0]))
        seen = Seen.of(model, level.labels)
        fine = filter(None, [nothing_between(threat, grid)])
        verdict = verdict_of(
            found, chosen.stage_names, threat, total=len(data), classes=model.num_classes,
            stopped=stopped, record={"identity": identity, **about, "seen": seen.describe()},
            notes=(*truth.notes, *seen.notes, *level.notes, *fine), names=model.labels,
        )  # fmt: skip
        if columns and directory is not None:
            write_columns(directory.path, columns)
        verdict = in_slices(verdict, found, threat, model.labels, columns)
        if chosen.finds_distances and found:
            verdict = replace(verdict, curve=curve_of(found, threat.name, model.labels))
        if trust and not (cancelled is not None and cancelled()):
            checks = trust_of_run(
                looked_at, chosen, threat, found, job.samples, identity=identity,
                second=others, directory=directory, grid=grid, seed=seed, batch_size=batch_size,
                on_check=meter.check, cancelled=cancelled,
            )  # fmt: skip
            verdict = replace(verdict, trust=checks)
        if required is not None:
            verdict = replace(verdict, requirements=required.of(verdict))
        if directory is not None:
            directory.write_json("verdict.json", verdict.describe())
        return verdict


def columns_of(
    data: ImageSet, names: Sequence[str], required: Requirements | None
) -> dict[str, dict[int, str]]:
    """The slices of the data by each of these columns.

    Raises:
        UnknownDataError: there is no such column.
        InvalidParameterError: it cannot be sliced by, or slices are required and there are none.
    """
    if isinstance(names, str):
        raise InvalidParameterError(f"slices is {names!r}; expected a list of columns")
    if required is not None and required.slices and not names:
        raise InvalidParameterError(
            "require= asks for an accuracy of slices, and none are named; expected a column in "
            "slices= with it"
        )
    return {name: sliced_by(data, name) for name in names}


class _Meter:
    """Says how far an evaluation is, from the steps and tables of each stage."""

    def __init__(
        self,
        total: int,
        parts: list[Part],
        plan: Plan,
        threat: Threat,
        tell: Callable[[Progress], None] | None,
        *,
        trust: bool,
    ) -> None:
        self._threat, self._total, self._parts, self._tell = threat, total, len(parts), tell
        self._pace = Pace(plan, total)
        self._looked = self._lost = self._checks = 0
        # What the checks will take of the whole.
        self._share = 1 - _TRUST if trust else 1.0

    def check(self, check: Check) -> None:
        """A trust check was made, after all parts."""
        self._checks += 1
        done = self._share + _TRUST * min(1.0, self._checks / _CHECKS)
        passes = check.forwards + check.backwards
        self._say(self._parts - 1, f"trust: {check.name}", passes, done)

    def watch(self, part: Part) -> "Watch | None":
        """What is to be called with the stages of this part."""
        if self._tell is None:
            return None
        tables: list[pa.Table] = []
        surviving = passes = 0
        present = CLEAN

        def see(stage: str, seen: Step | pa.Table | TakenUp) -> float:
            nonlocal surviving, passes, present
            if stage == CLEAN:
                assert isinstance(seen, pa.Table)
                tables.append(seen)
                surviving = int(pc.sum(pc.invert(seen["success"])).as_py() or 0)
                self._looked += len(part.positions)
                self._lost += len(part.positions) - surviving
                self._pace.part(len(part.positions), seen)
            else:
                if stage != present:
                    present, passes = stage, 0
                    self._pace.begin(stage, tables)
                if isinstance(seen, TakenUp):
                    self._pace.take_up(seen.seconds, seen.share)
                elif isinstance(seen, Step):
                    passes += len(seen.indices)
                    self._pace.step(seen)
                else:
                    tables.append(seen)
                    was, surviving = surviving, int(history(tables).surviving(self._threat).sum())
                    self._lost += was - surviving
                    self._pace.end(stage, tables)
            said = f"taking up {stage} where it stopped" if isinstance(seen, TakenUp) else stage
            self._say(part.number, said, passes, self._share * self._pace.share)
            return self._pace.share

        return see

    def _say(self, part: int, stage: str, passes: int, done: float) -> None:
        if self._tell is not None:
            left = self._pace.left if self._share == 1 else None
            surviving = self._looked - self._lost
            self._tell(
                Progress(
                    self._total, self._looked, surviving, done, part, self._parts, stage, passes,
                    left,
                )
            )  # fmt: skip
