"""Running a plan on planted examples: pictures of which a misclassified neighbour is known.

After Zimmermann, Brendel, Tramèr and Carlini 2022, "Increasing Confidence in Adversarial Robustness
Evaluations" (2206.13991): a plan that does not find what is known to be there is not to be believed
on this network.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.classes import Given
from fluoroscope.engine.labels import Truth, labelled
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.predict import check_batch_size, logits_of
from fluoroscope.engine.stream import DEFAULT_BATCH
from fluoroscope.engine.threats import L2, Linf, Threat, as_text, as_threat, usual_threat
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.evaluation.check import by_share
from fluoroscope.evaluation.history import ROUNDING
from fluoroscope.evaluation.parts import Job, Looked, Part, evaluate_part
from fluoroscope.evaluation.plan import Plan
from fluoroscope.evaluation.plans import find_plan
from fluoroscope.evaluation.planted.neighbours import FRESH, plant
from fluoroscope.evaluation.planted.network import Planted, Planting
from fluoroscope.evaluation.search import look
from fluoroscope.hashing import as_seed
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.wrappers.randomised import EOT, random_state_aside
from fluoroscope.pictures import html
from fluoroscope.words import count, number, percent

PICTURES = 16
"""Pictures that a neighbour is planted at."""
ROUND = 4
"""Of these, attacked together; between two rounds the plan may have failed already."""
# Pictures whose distance is more than so many radii have balls that do not meet.
_APART = 2.1


@dataclass(frozen=True)
class Example:
    """One picture, and what a plan made of it."""

    index: int
    """In its data set."""
    planted: bool
    random: int = 0
    """Of 64 random images in the ball, how many are misclassified."""
    why: str = ""
    """Why nothing was planted."""
    tried: bool = False
    """Whether the plan was run on it."""
    found_by: str = ""
    """The first stage that found a misclassified image within the bound; empty where none did."""
    forwards: int = 0
    """Images that the plan sent through the network."""
    backwards: int = 0

    @property
    def found(self) -> bool:
        """Whether the plan found a misclassified image within the bound."""
        return bool(self.found_by)


@dataclass(frozen=True, repr=False)
class PlantedExamples(html.Shown):
    """What a plan found of the misclassified neighbours that are known to be there."""

    model: str
    plan: str
    threat: str
    examples: tuple[Example, ...]
    forwards: int
    """Images that went through the network, all in all."""
    backwards: int
    stopped: bool = False
    """Whether it was cancelled."""

    @property
    def planted(self) -> int:
        """Pictures that a neighbour was planted at."""
        return sum(each.planted for each in self.examples)

    @property
    def tried(self) -> int:
        """Of these, those that the plan was run on."""
        return sum(each.tried for each in self.examples)

    @property
    def found(self) -> int:
        """Of these, those of which the plan found a misclassified image within the bound."""
        return sum(each.found for each in self.examples)

    @property
    def random_share(self) -> float:
        """How rarely a random image in the ball is misclassified: the share of all that were
        looked at.
        """
        return sum(each.random for each in self.examples) / max(FRESH * self.planted, 1)

    @property
    def by_stage(self) -> dict[str, int]:
        """How many were found by each stage that found any."""
        names = [each.found_by for each in self.examples if each.found]
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        about = {key: value for key, value in vars(self).items() if key != "examples"}
        counts = {key: getattr(self, key) for key in ("planted", "tried", "found", "random_share")}
        return {**about, **counts, "examples": [asdict(each) for each in self.examples]}

    def _line(self) -> str:
        return (
            f"{self.model}, {self.threat}: the plan {self.plan} found {self.found} of "
            f"{count(self.tried, 'planted example')}"
        )

    def _view(self) -> Iterator[html.Html]:
        missed = self.tried - self.found
        yield html.paragraph(
            f"of the random images in the same balls {percent(self.random_share)} are misclassified"
            + (f"; {missed} not found: the plan is not to be believed here" if missed > 1 else "")
        )
        yield html.table(
            ["picture", "found by", "random", "passes forward", "and back"],
            [
                [
                    str(each.index),
                    each.found_by or each.why or ("not found" if each.tried else "not tried"),
                    percent(each.random / FRESH),
                    number(each.forwards),
                    number(each.backwards),
                ]
                for each in self.examples
            ],
            right=(2, 3, 4),
            most=max(html.ROWS, PICTURES),
        )


def ball_for(threat: Threat) -> Linf | L2 | None:
    """The ball that neighbours are planted in, ``None`` in other norms and without a bound."""
    bounded = isinstance(threat, Linf | L2) and 0 < float(threat.eps) < float("inf")
    return threat if bounded and isinstance(threat, Linf | L2) else None


def planted_examples(
    model: Classifier | nn.Module,
    images: ImageSet | Tensor,
    labels: Given | None = None,
    *,
    threat: Threat | str | None = None,
    plan: str | Path | Plan = "standard",
    pictures: int = PICTURES,
    seed: int = 0,
    batch_size: int = DEFAULT_BATCH,
    cancelled: Callable[[], bool] | None = None,
) -> PlantedExamples:
    """Whether a plan finds misclassified images that are known to be there.

    Near each of some pictures the network's answer is changed so that an image within the bound is
    surely misclassified, and random ones are not: see
    :mod:`fluoroscope.evaluation.planted.network`. Then the plan is run as an evaluation runs it. It
    costs about 330 forward passes for a picture, and what the plan spends on it: of pictures whose
    neighbour is found, few. Once so many were missed that the rule of shares fails (4 of 16), no
    other one is tried.

    Args:
        model: the network under study, with whatever is around it.
        images: labelled pictures, or a batch ``(N, C, H, W)`` in ``[0, 1]``.
        labels: the true class of each ``(N,)``, for a batch.
        threat: a bound in Linf or L2; by default
            :func:`~fluoroscope.engine.threats.usual_threat`.
        plan: as for :func:`fluoroscope.evaluate`: a name, a file of TOML, a plan.
        pictures: how many, the first ones that the network classifies correctly.
        seed: for everything random; what is random of a sample hangs on it and on the sample's
            index alone.
        batch_size: images evaluated at once.
        cancelled: asked at every step; once true, the answer is of what was tried so far.

    Raises:
        InvalidImagesError: no labelled images, or none that is classified correctly.
        InvalidParameterError: a threat without a bound or in another norm; no such plan.
        NoGradientError: the plan reads gradients, and the network has none.
    """
    model = as_classifier(model)
    data, seed = labelled(model, images, labels), as_seed(seed)
    given = usual_threat(model, data) if threat is None else as_threat(threat)
    ball = ball_for(given)
    if ball is None:
        raise InvalidParameterError(
            f"threat is {as_text(given)!r}; expected a bound in Linf or L2, such as 'linf:8/255': "
            "without one and in other norms nothing can be planted"
        )
    chosen = find_plan(plan, given)
    if chosen.samples > 1 and not isinstance(model, EOT):
        model = EOT(model, samples=chosen.samples, seed=seed)
    job = Job(
        model, chosen, Truth.of(model, data), seed, check_batch_size(batch_size), save_images=False
    )
    run = _Run(job, ball, cancelled)
    with random_state_aside(model.device, seed):
        run.all(whole_number("pictures", pictures))
    return PlantedExamples(
        model.name, chosen.name, as_text(given), tuple(run.examples), run.forwards, run.backwards,
        stopped=run.stopped,
    )  # fmt: skip


class _Run:
    """A plan on the planted examples, round by round."""

    def __init__(self, job: Job, ball: Linf | L2, cancelled: Callable[[], bool] | None) -> None:
        self.job, self.ball, self.cancelled = job, ball, cancelled
        self.examples: list[Example] = []
        self.forwards = self.backwards = 0

    @property
    def stopped(self) -> bool:
        return self.cancelled is not None and self.cancelled()

    def all(self, most: int) -> None:
        images, labels, indices = self._right(most)
        for rows in torch.arange(len(images), device="cpu").split(ROUND):
            missed = sum(each.tried and not each.found for each in self.examples)
            if self.stopped or by_share(missed, len(images)) == "fail":
                break
            self._round(images[rows], labels[rows], indices[rows])

    def _right(self, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """The first so many pictures that are classified correctly, with labels and indices."""
        job, plain = self.job, self.job.model.plain
        found: list[tuple[Tensor, ...]] = []
        there = 0
        for start in range(0, len(job.images), most):
            positions = range(start, min(start + most, len(job.images)))
            batch = job.load(Part(0, positions))
            read = logits_of(plain, batch[0], job.batch_size).argmax(1).to(batch[1])
            self.forwards += len(positions) * plain.passes
            rows = (read == batch[1]).nonzero().squeeze(1)[: most - there]
            found.append(tuple(each[rows] for each in batch))
            there += len(rows)
            if there == most or self.stopped:
                break
        if not there and not self.stopped:
            raise InvalidImagesError(
                f"{job.model.name} classifies none of the {count(len(job.images), 'image')} "
                "correctly; expected some, since only those can be attacked"
            )
        images, labels, indices = (torch.cat(column) for column in zip(*found, strict=True))
        return images.to(job.model.device, job.model.dtype), labels, indices

    def _round(self, images: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Plant at some pictures, and run the plan on those where that is done."""
        job, eps = self.job, float(self.ball.eps)
        examples: dict[int, Example] = {}
        made: dict[int, Planting] = {}
        for row, (image, label, index) in enumerate(
            zip(images, labels.tolist(), indices.tolist(), strict=True)
        ):
            if self.stopped:
                break
            found = plant(
                job.model.plain, image, label, self.ball, number=index, seed=job.seed,
                batch_size=job.batch_size,
            )  # fmt: skip
            examples[row] = Example(index, found.planting is not None, found.random, found.why)
            if found.planting is not None:
                made[row] = found.planting
            self.forwards += found.forwards
        for rows in _apart(made, self.ball):
            near = Planted(job.model, [made[row] for row in rows], self.ball.name)
            parts = images[rows], labels[rows], indices[rows]
            tables = self._attacked(near, *parts) if not self.stopped else []
            for row in rows if not self.stopped else []:
                examples[row] = replace(examples[row], **_attempt(tables, examples[row].index, eps))
        self.examples += examples.values()

    def _attacked(
        self, near: Planted, images: Tensor, labels: Tensor, indices: Tensor
    ) -> list[pa.Table]:
        """The rows of the plan's stages on pictures, as an evaluation makes them."""
        job = replace(self.job, model=near, looked={})
        names = job.images.names(indices)
        clean = look(near, images, labels, indices, names=names, batch_size=job.batch_size)
        job.looked[0] = Looked(clean, (images, labels, indices))
        tables = evaluate_part(job, Part(0, range(len(images))), cancelled=self.cancelled)
        self.forwards += sum(int(pc.sum(table["forwards"]).as_py()) for table in tables)
        self.backwards += sum(int(pc.sum(table["backwards"]).as_py()) for table in tables)
        return tables[1:]


def _attempt(tables: Sequence[pa.Table], index: int, eps: float) -> dict[str, Any]:
    """What the stages made of one picture."""
    found: dict[str, Any] = {"tried": True, "found_by": "", "forwards": 0, "backwards": 0}
    for table in tables:
        for row in table.filter(pc.equal(table["index"], index)).to_pylist():
            found["forwards"] += row["forwards"]
            found["backwards"] += row["backwards"]
            if row["distance"] <= eps + ROUNDING and not found["found_by"]:
                found["found_by"] = row["attack"]
    return found


def _apart(made: dict[int, Planting], ball: Linf | L2) -> list[list[int]]:
    """The pictures in groups whose balls do not meet: mostly one."""
    groups: list[list[int]] = []
    for row, planting in made.items():
        for group in groups:
            others = torch.stack([made[other].image for other in group])
            if bool((ball.distance(others - planting.image) > _APART * float(ball.eps)).all()):
                group.append(row)
                break
        else:
            groups.append([row])
    return groups
