"""One stage of a plan on one batch of samples: an attack, and the rows it leaves."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from fluoroscope.arrow import table_of
from fluoroscope.attacks.minimum_norm.planes import NORMS, distances
from fluoroscope.attacks.result import AttackResult
from fluoroscope.engine import randomness
from fluoroscope.engine.bookmark import Bookmark, UnusableBookmarkError
from fluoroscope.engine.first_look import notes_of
from fluoroscope.engine.objectives import MARGIN
from fluoroscope.engine.predict import predict
from fluoroscope.engine.stream import Step
from fluoroscope.evaluation.plan import Stage
from fluoroscope.evaluation.rows import CLEAN, SCHEMA, as_written, with_notes
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import collected, distinct

# Beyond so many times it is no matter by how much, and files hold finite numbers.
_STEEPEST = 1e9


def look(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    numbers: Tensor,
    *,
    names: Sequence[str],
    batch_size: int,
) -> pa.Table:
    """How the plain network reads clean images ``(N, C, H, W)``: their first rows."""
    began = time.perf_counter()
    logits = predict(model.plain, images, batch_size=batch_size).logits
    margin, read_as = MARGIN(logits.double(), labels), logits.argmax(1)
    passes = torch.full_like(labels, model.plain.passes)
    table = _table(
        began,
        index=numbers,
        name=as_written(names),
        label=labels,
        attack=[CLEAN] * len(labels),
        clean_prediction=read_as,
        clean_margin=margin,
        success=read_as != labels,
        prediction=read_as,
        distance=torch.zeros_like(margin),
        margin=margin,
        flat=torch.zeros_like(margin),
        steep=torch.zeros_like(margin),
        finished=torch.ones_like(labels, dtype=torch.bool),
        forwards=passes,
        backwards=torch.zeros_like(passes),
    )
    return with_notes(table, notes_of(model))


def search(
    model: Classifier,
    stage: Stage,
    images: Tensor,
    labels: Tensor,
    numbers: Tensor,
    clean_margin: Tensor,
    *,
    names: Sequence[str],
    grid: int | None = None,
    seed: int,
    batch_size: int,
    on_step: Callable[[Step], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    bookmark: Bookmark | None = None,
) -> tuple[pa.Table, AttackResult]:
    """Attack images ``(N, C, H, W)`` that the network classifies correctly, and say it in rows.

    ``numbers`` ``(N,)`` are the samples' in their data set; their randomness depends on them.
    ``clean_margin`` ``(N,)`` are the labels' leads at the clean images. With a ``grid`` of 8 the
    images are 8-bit ones, and so is everything that the attack shows the network. With a
    ``bookmark`` the search is kept while it goes on, and gone on with if it was.
    """
    if not stage.attack.can_pause:
        bookmark = None

    def attempt() -> tuple[pa.Table, AttackResult]:
        began = time.perf_counter()
        closest = _Closest(stage, images, labels)

        def observe(step: Step) -> None:
            closest.see(step)
            if on_step is not None:
                on_step(step)

        # What an attack warns of stands in the verdict, once for all parts.
        with collected() as told:
            if bookmark is not None:
                if bookmark.found:
                    closest.take_up(bookmark)
                    began -= bookmark.kept("seconds", 0.0)
                    told += bookmark.kept("told", [""])
                bookmark.keep("closest", lambda: (closest.margin, closest.flat, closest.steep))
                bookmark.keep("seconds", lambda: time.perf_counter() - began)
                bookmark.keep("told", lambda: told)
            result = stage.attack(
                model,
                images,
                labels,
                keep=stage.keep,
                restarts=stage.restarts,
                batch_size=batch_size,
                grid=grid,
                seed=_seed(seed, stage),
                numbers=numbers,
                on_step=observe,
                cancelled=cancelled,
                bookmark=bookmark,
            )
        table = _table(
            began,
            index=numbers,
            name=as_written(names),
            label=labels,
            attack=[stage.name] * len(labels),
            clean_prediction=result.read_as,
            clean_margin=clean_margin,
            success=result.success,
            prediction=result.logits.argmax(1),
            distance=result.distance.double().where(result.success, torch.inf),
            margin=torch.minimum(closest.margin, clean_margin),
            flat=closest.flat.nan_to_num(0.0),
            steep=closest.steep,
            finished=result.finished,
            forwards=result.forwards,
            backwards=result.backwards,
        )
        return with_notes(table, distinct([*notes_of(model), *told])), result

    try:
        return attempt()
    except UnusableBookmarkError:
        assert bookmark is not None
        bookmark.drop()
    return attempt()


def _seed(seed: int, stage: Stage) -> int:
    """A stage's seed: the run's, save where it says that it draws anew."""
    if not stage.seed:
        return seed
    return int(randomness.keys(seed, torch.tensor([stage.seed], device="cpu")))


class _Closest:
    """The smallest lead of the label at any allowed image that the network was asked about.

    And of the first gradient, at which share of the pixel values it was exactly zero, and by how
    many times its border lies within the bound, if the network were linear (that of a cross-entropy
    says less than it might).
    """

    def __init__(self, stage: Stage, images: Tensor, labels: Tensor) -> None:
        method = stage.attack
        self._threat, self._images, self._labels = method.threat, images, labels
        self._outside = method.minimum_norm or method.probes
        self.margin = torch.full((len(labels),), torch.inf, dtype=torch.double, device="cpu")
        self.flat = torch.full_like(self.margin, torch.nan)
        self.steep = torch.zeros_like(self.margin)
        self._unseen = len(labels)

    def take_up(self, bookmark: Bookmark) -> None:
        found = bookmark.kept("closest", (self.margin, self.flat, self.steep))
        if any(each.shape != self.margin.shape for each in found):
            raise UnusableBookmarkError(f"{bookmark.path} is of other samples")
        self.margin, self.flat, self.steep = found
        self._unseen = int(self.flat.isnan().sum())

    def see(self, step: Step) -> None:
        rows = step.indices.cpu()
        margin = MARGIN(step.answer.logits.double(), self._labels.to(step.indices)[step.indices])
        lead = margin
        if self._outside:
            allowed = self._threat.allows(step.images, self._images.to(step.images)[step.indices])
            margin = margin.where(allowed, torch.inf)
        self.margin.scatter_reduce_(0, rows, margin.cpu(), "amin")
        gradient = step.answer.gradient
        if self._unseen and gradient is not None:
            # Who asked for none got one with the others, and is not charged for it.
            first = self.flat[rows].isnan() & (step.backwards.cpu() > 0)
            if bool(first.any()):
                there = first.to(lead.device)
                self._slopes(rows[first], lead[there], gradient[there])

    def _slopes(self, rows: Tensor, lead: Tensor, gradient: Tensor) -> None:
        """Note the first gradients ``(n, C, H, W)`` of these samples, and their leads ``(n,)``."""
        self.flat[rows] = (gradient == 0).flatten(1).double().mean(1).cpu()
        self._unseen = int(self.flat.isnan().sum())
        eps = float(self._threat.eps)
        if self._threat.name in NORMS and math.isfinite(eps):
            border = distances(lead[:, None], gradient[:, None].double(), self._threat.name)
            self.steep[rows] = (eps / border[:, 0].clamp(min=eps / _STEEPEST)).cpu()


def _table(began: float, **columns: Any) -> pa.Table:
    found = {
        name: column.tolist() if isinstance(column, Tensor) else column
        for name, column in columns.items()
    }
    seconds = time.perf_counter() - began
    passes = columns["forwards"] + columns["backwards"]
    share = passes.double() / passes.sum().clamp(min=1)
    return table_of({**found, "seconds": (seconds * share).tolist()}, schema=SCHEMA)
