"""How a training went: of each epoch, and of a few hundred points within it.

It goes along with the training and looks on, so it is in the checkpoint, and the same after a kill
as without one. Times are not part of it: they are never the same twice.
"""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.errors import ModelFormatError
from fluoroscope.models.labels import printable
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.step import FitStep, Moment

# Points within a training, about as many as a curve has pixels.
POINTS = 400
_FIXED = ("step", "epoch", "loss", "accuracy", "learning_rate", "held_out", "held_out_adversarial")
# Beside these a point keeps how many steps it is the mean of.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Point:
    """The steps since the point before it, in one: their mean, and what was judged meanwhile."""

    step: int
    """The last of them."""
    epoch: int
    loss: float
    accuracy: float
    """Share of the batches classified correctly; in adversarial training, of the moved pictures."""
    learning_rate: float
    """Of the last step."""
    held_out: float | None = None
    """Share of the held-out pictures classified correctly, where they were judged."""
    held_out_adversarial: float | None = None
    """Share of them that are, too, under attack."""
    terms: dict[str, float] = field(default_factory=dict)
    """By name, the parts of the loss, where it has more than one."""


@dataclass(frozen=True)
class History:
    """Keeps about so many ``points`` of a training, and one at the end of each epoch."""

    points: int = POINTS

    watches = True

    def begin(self, module: nn.Module, classes: int) -> "Keeping":
        """For one training."""
        return Keeping(self)


class Keeping(Running):
    """The history of one training."""

    watches = True

    def __init__(self, settings: History) -> None:
        self.settings = settings
        self.points: list[Point] = []
        """So far."""
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._judged: dict[str, float] = {}
        self._share = 1.0

    @property
    def epochs(self) -> list[Point]:
        """One point for each epoch that is over: the means of all its steps."""
        found: dict[int, list[Point]] = {}
        for point in self.points:
            found.setdefault(point.epoch, []).append(point)
        return [_together(points, self._before(points[0])) for points in found.values()]

    def after(self, module: nn.Module, moment: Moment) -> None:
        self._share = moment.share

    def look(self, module: nn.Module, step: FitStep) -> FitStep:
        self._add({"loss": step.loss, "accuracy": step.accuracy})
        self._add({f"term {name}": value for name, value in step.terms.items()})
        for name in ("held_out", "held_out_adversarial"):
            if (value := getattr(step, name)) is not None:
                self._judged[name] = value
        total = round(step.number / self._share)
        before, now = (at * self.settings.points // total for at in (step.number - 1, step.number))
        if now > before or step.held_out is not None or step.number == total:
            self._note(step)
        return step

    def tensors(self) -> dict[str, Tensor]:
        state = {"sums": self._sums, "counts": self._counts, "judged": self._judged}
        names = sorted({name for point in self.points for name in point.terms})
        rows = [_row(point, names) for point in self.points]
        table = torch.tensor(rows, dtype=torch.float64, device="cpu")
        text = json.dumps([names, state]).encode()
        return {
            "points": table.view(len(rows), len(_FIXED) + len(names)),
            "words": torch.tensor(list(text), dtype=torch.uint8, device="cpu"),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        if "words" not in tensors:  # of a training that nobody looked on
            return
        try:
            names, state = json.loads(bytes(tensors["words"].tolist()))
            self.points = [_point(row, names) for row in tensors["points"].tolist()]
            self._sums, self._counts, self._judged = (
                dict(state[key]) for key in ("sums", "counts", "judged")
            )
        except (ValueError, TypeError, KeyError) as problem:
            raise ModelFormatError(
                f"the history in the checkpoint cannot be read ({problem}); expected what this "
                "training left: delete the file to begin anew"
            ) from problem

    def describe(self) -> list[dict[str, Any]]:
        """Every epoch as plain values."""
        return [_plain(point) for point in self.epochs]

    def csv(self) -> str:
        """Every point, a line each; no column's name begins as a formula would."""
        names = sorted({name for point in self.points for name in point.terms})
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_FIXED, *map(_column, names)])
        for point in self.points:
            row = _row(point, names)
            writer.writerow(
                [int(row[0]), int(row[1])]
                + ["" if math.isnan(value) else f"{value:.6g}" for value in row[2:]]
            )
        return file.getvalue()

    def _add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def _note(self, step: FitStep) -> None:
        means = {name: value / self._counts[name] for name, value in self._sums.items()}
        terms = {
            name.removeprefix("term "): mean
            for name, mean in means.items()
            if name.startswith("term ")
        }
        self.points.append(
            Point(
                step=step.number,
                epoch=step.epoch,
                loss=means["loss"],
                accuracy=means["accuracy"],
                learning_rate=step.learning_rate,
                terms=terms,
                **self._judged,
            )
        )
        self._sums, self._counts, self._judged = {}, {}, {}

    def _before(self, first: Point) -> int:
        at = self.points.index(first)
        return self.points[at - 1].step if at else 0


def _together(points: list[Point], before: int) -> Point:
    """The points of an epoch as one, each counting by its steps."""
    steps = [
        point.step - earlier
        for point, earlier in zip(points, [before, *(one.step for one in points)], strict=False)
    ]

    def mean(values: list[float | None]) -> float:
        there = [
            (value, many) for value, many in zip(values, steps, strict=True) if value is not None
        ]
        return sum(value * many for value, many in there) / sum(many for _, many in there)

    names = {name for point in points for name in point.terms}
    last = points[-1]
    return Point(
        step=last.step,
        epoch=last.epoch,
        loss=mean([point.loss for point in points]),
        accuracy=mean([point.accuracy for point in points]),
        learning_rate=last.learning_rate,
        held_out=last.held_out,
        held_out_adversarial=last.held_out_adversarial,
        terms={name: mean([point.terms.get(name) for point in points]) for name in sorted(names)},
    )


def _row(point: Point, names: list[str]) -> list[float]:
    fixed = [getattr(point, name) for name in _FIXED]
    values = [*fixed, *(point.terms.get(name) for name in names)]
    return [math.nan if value is None else float(value) for value in values]


def _point(row: list[float], names: list[str]) -> Point:
    fixed = dict(zip(_FIXED, row, strict=False))
    step, epoch = int(fixed.pop("step")), int(fixed.pop("epoch"))
    values: dict[str, Any] = {
        name: None if math.isnan(value) else value for name, value in fixed.items()
    }
    terms = zip(names, row[len(_FIXED) :], strict=True)
    return Point(
        step, epoch, **values, terms={name: value for name, value in terms if not math.isnan(value)}
    )


def _plain(point: Point) -> dict[str, Any]:
    found: dict[str, Any] = {"epoch": point.epoch, "step": point.step, "loss": point.loss}
    if point.terms:
        found["terms"] = dict(point.terms)
    found |= {"accuracy": point.accuracy, "learning_rate": point.learning_rate}
    for name in ("held_out", "held_out_adversarial"):
        if (value := getattr(point, name)) is not None:
            found[name] = value
    return found


def _column(name: str) -> str:
    text = printable(name)
    return f"'{text}" if text.startswith(_FORMULA) else text
