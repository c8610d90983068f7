"""What an evaluation says: accuracies with their intervals, and what each attack did and cost."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fluoroscope.arrow import array_of
from fluoroscope.data.slices import MISSING
from fluoroscope.engine.bounds import Bounded
from fluoroscope.engine.intervals import Interval, wilson
from fluoroscope.engine.numbers import one_class
from fluoroscope.evaluation.behind import Behind, classes_behind, in_words
from fluoroscope.evaluation.check import Check, Outcome
from fluoroscope.evaluation.curve import Curve
from fluoroscope.evaluation.history import History
from fluoroscope.evaluation.rows import notes_in
from fluoroscope.evaluation.slices import Flags, Slice, Slicing, slices_of, slicing
from fluoroscope.notices import distinct
from fluoroscope.pictures import html
from fluoroscope.words import count, duration, interval, number, percent, threat_name
from fluoroscope.words import count as counted


@dataclass(frozen=True)
class Component:
    """One attack of the plan, on all parts."""

    name: str
    given: int
    """Samples it attacked."""
    fooled: int
    """Of these, misclassified within its bound."""
    unfinished: int
    """Searches that a budget or an interruption cut."""
    robust_accuracy: float
    """Share of all samples that survive it and those before."""
    robust_interval: Interval
    forwards: int
    backwards: int
    seconds: float


@dataclass(frozen=True, repr=False)
class Verdict(html.Shown):
    """How robust a network is on ``count`` samples."""

    count: int
    classes: int
    clean_accuracy: float
    clean_interval: Interval
    robust_accuracy: float
    """Share of the samples classified correctly that no attack of the plan fooled within the
    bound.
    """
    robust_interval: Interval
    forwards: int
    """Images that went through the network, the clean looks included."""
    backwards: int
    seconds: float
    """Spent on looking and searching, summed over the processes that took part."""
    components: tuple[Component, ...]
    complete: bool
    """Whether every sample went through the whole plan."""
    notes: tuple[str, ...] = ()
    trust: tuple[Check, ...] = ()
    """What was found on whether the accuracy can be trusted, where somebody asked."""
    record: dict[str, Any] = field(default_factory=dict)
    """Network, data, plan, seed, versions and hardware, as plain values."""
    behind: tuple[Behind, ...] = ()
    """Classes far behind the others, in clean or in robust accuracy."""
    curve: Curve | None = None
    """Accuracy against the bound, if the plan looks for every sample's closest misclassified
    image.
    """
    by_class: tuple[Slice, ...] = ()
    """The accuracies of each class that has samples, the lowest under attack first."""
    slices: tuple[Slicing, ...] = ()
    """The accuracies by the values of columns, where somebody asked."""
    requirements: tuple[Outcome, ...] = ()
    """How requirements came out, where there are some."""

    @property
    def trust_forwards(self) -> int:
        """Images that went through the network for the checks, beside those of the verdict."""
        return sum(check.forwards for check in self.trust)

    @property
    def trust_backwards(self) -> int:
        """Gradients computed for the checks."""
        return sum(check.backwards for check in self.trust)

    @property
    def _said(self) -> dict[str, Any]:
        """What the record says that identifies the evaluation."""
        found = self.record.get("identity", {})
        return found if isinstance(found, dict) else {}

    @property
    def bounded(self) -> bool:
        """Whether an image may move so far and no farther; else a robust accuracy says nothing."""
        threat = self._said.get("threat")
        return not threat or isinstance(threat.get("eps"), int | float)

    def _line(self) -> str:
        threat, plan = self._said.get("threat", {}), self._said.get("plan", {}).get("name", "")
        told = (self._said.get("model", ""), threat_name(threat), plan and f"plan {plan}")
        about = ", ".join(part for part in told if part)
        robust = (
            f"robust accuracy {percent(self.robust_accuracy)} ({interval(self.robust_interval)})"
        )
        if self.curve is not None and not self.bounded:
            robust = f"median smallest change {number(self.curve.median)}"
        return (
            f"{about + ': ' if about else ''}{robust}, clean accuracy "
            f"{percent(self.clean_accuracy)}, {count(self.count, 'picture')}"
            f"{'' if self.complete else ', stopped early'}"
        )

    def _view(self) -> Iterator[html.Html]:
        yield html.table(
            ["", "", "95 % interval"],
            [
                ["clean accuracy", percent(self.clean_accuracy), interval(self.clean_interval)],
                *(
                    [
                        [
                            "robust accuracy",
                            percent(self.robust_accuracy),
                            interval(self.robust_interval),
                        ]
                    ]
                    if self.bounded
                    else []
                ),
            ],
            right=(1,),
        )
        yield html.table(
            ["required", "", "what was measured"],
            [[one.text, one.status, one.words] for one in self.requirements],
        )
        yield html.table(
            ["attack", "given", "fooled", "robust accuracy left", "forwards", "backwards", "time"],
            [
                [
                    each.name, f"{each.given:,}", f"{each.fooled:,}", percent(each.robust_accuracy),
                    f"{each.forwards:,}", f"{each.backwards:,}", duration(each.seconds),
                ]
                for each in self.components
            ],
            right=range(1, 7),
        )  # fmt: skip
        if self.curve is not None:
            yield from self.curve._view()
        for each in self.slices:
            yield html.table(
                [each.column, "pictures", "clean accuracy", "95 % interval", "robust accuracy",
                 "95 % interval"],
                [one.cells() for one in each.slices], right=range(1, 6),
            )  # fmt: skip
        yield html.table(
            ["can it be trusted?", "", "what was seen"],
            [[check.name, check.status, check.words] for check in self.trust],
            most=len(self.trust),
        )
        yield html.notes(self.notes)

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **asdict(replace(self, curve=None)),
            "trust_forwards": self.trust_forwards,
            "trust_backwards": self.trust_backwards,
            "curve": None if self.curve is None else self.curve.describe(),
        }


def history(tables: list[pa.Table]) -> History:
    """Of the samples that the first table, the clean look, says are classified correctly."""
    right = array_of(pc.filter(tables[0]["index"], pc.invert(tables[0]["success"])))
    clean = tables[0].filter(pc.invert(tables[0]["success"]))
    margin = array_of(clean["clean_margin"]).copy()
    distance = np.full(len(right), np.inf)
    margins, flat, steep = {}, np.zeros(len(right)), np.zeros(len(right))
    order = np.argsort(right)
    for table in tables[1:]:
        rows = order[np.searchsorted(right, array_of(table["index"]), sorter=order)]
        own = np.full(len(right), np.inf)
        own[rows] = array_of(table["margin"])
        margins[_name(table)] = own
        margin = np.minimum(margin, own)
        flat[rows] = np.maximum(flat[rows], array_of(table["flat"]))
        steep[rows] = np.maximum(steep[rows], array_of(table["steep"]))
        distance[rows] = np.minimum(distance[rows], array_of(table["distance"]))
    return History(array_of(clean["clean_margin"]), margin, distance, margins, flat, steep)


def outcomes(
    parts: Sequence[Sequence[pa.Table]], threat: Bounded
) -> tuple[NDArray[np.int64], NDArray[np.int64], Flags, Flags]:
    """Of every sample its index, its class, whether it is classified correctly, and whether it
    stays so under attack; each ``(N,)``.
    """
    found = []
    for clean, *stages in parts:
        right = ~array_of(clean["success"])
        robust = right.copy()
        robust[right] = history([clean, *stages]).surviving(threat)
        found.append((array_of(clean["index"]), array_of(clean["label"]), right, robust))
    index, label, right, robust = (np.concatenate(each) for each in zip(*found, strict=True))
    return index, label, right, robust


def in_slices(
    verdict: Verdict,
    parts: Sequence[Sequence[pa.Table]],
    threat: Bounded,
    labels: Sequence[str],
    columns: Mapping[str, Mapping[int, str]],
) -> Verdict:
    """The verdict with the accuracies of the classes, and of what else the samples are told by.

    Args:
        verdict: on these parts.
        parts: of each its clean look and the rows of its stages.
        threat: within which a sample is robust.
        labels: the names of the network's classes.
        columns: of each column the value of every sample, by its index.
    """
    if not parts:
        return verdict
    index, label, right, robust = outcomes(parts, threat)
    by_column = [
        slicing(name, [of.get(one, MISSING) for one in index.tolist()], right, robust)
        for name, of in columns.items()
    ]
    by_class = slices_of(class_names(label.tolist(), labels), right, robust)
    return replace(verdict, by_class=by_class, slices=tuple(by_column))


def class_names(numbers: Sequence[int], labels: Sequence[str]) -> list[str]:
    """Names of classes; with its number where several classes share one."""
    several = {name for name, many in Counter(labels).items() if many > 1}
    return [f"{labels[one]} ({one})" if labels[one] in several else labels[one] for one in numbers]


def verdict_of(
    parts: list[list[pa.Table]],
    stages: Sequence[str],
    threat: Bounded,
    *,
    total: int,
    classes: int,
    stopped: bool,
    record: dict[str, Any],
    notes: tuple[str, ...] = (),
    names: Sequence[str] | None = None,
) -> Verdict:
    """The verdict on the rows of each part: of its clean look, and of its stages in their order.

    Samples that were not attacked to the end count as surviving; there are such if it was
    ``stopped``, or if a stage has a budget. ``notes`` are what else is to be said of it, and
    ``names`` those of the classes.
    """
    count = sum(len(tables[0]) for tables in parts)
    right = sum(int(pc.sum(pc.invert(tables[0]["success"])).as_py()) for tables in parts)
    components, surviving = [], right
    for place, stage in enumerate(stages):
        rows = [table for tables in parts for table in tables[1:] if _name(table) == stage]
        after = set(stages[: place + 1])
        surviving = sum(
            int(history([tables[0], *_named(tables, after)]).surviving(threat).sum())
            for tables in parts
        )
        components.append(
            Component(
                stage,
                given=sum(map(len, rows)),
                fooled=_sum(rows, "success"),
                unfinished=sum(map(len, rows)) - _sum(rows, "finished"),
                robust_accuracy=surviving / count if count else 0.0,
                robust_interval=wilson(surviving, count),
                forwards=_sum(rows, "forwards"),
                backwards=_sum(rows, "backwards"),
                seconds=_seconds(rows),
            )
        )
    everything = [table for tables in parts for table in tables]
    unfinished = sum(each.unfinished for each in components)
    whole = count == total and not unfinished and not stopped
    off = f", and {counted(unfinished, 'search', 'searches')} cut off" if unfinished else ""
    cut = (
        f"stopped early: {count} of {total} samples were looked at{off}; what was not attacked to "
        "the end counts as surviving",
    )
    told = [note for table in everything for note in notes_in(table)]
    behind = _behind(parts, threat, names)
    return Verdict(
        count=count,
        classes=classes,
        clean_accuracy=right / count if count else 0.0,
        clean_interval=wilson(right, count),
        robust_accuracy=surviving / count if count else 0.0,
        robust_interval=wilson(surviving, count),
        forwards=_sum(everything, "forwards"),
        backwards=_sum(everything, "backwards"),
        seconds=_seconds(everything),
        components=tuple(components),
        complete=whole,
        notes=distinct(
            [
                *(() if whole else cut),
                *_as_one([tables[0] for tables in parts]),
                *in_words(behind),
                *told,
                *notes,
            ]
        ),
        behind=behind,
        record=record,
    )


def _behind(
    parts: list[list[pa.Table]], threat: Bounded, names: Sequence[str] | None
) -> tuple[Behind, ...]:
    if not parts:
        return ()
    _, labels, right, robust = outcomes(parts, threat)
    return (
        *classes_behind(labels, right, names),
        *classes_behind(labels, robust, names, "robust"),
    )


def _as_one(clean: Sequence[pa.Table]) -> tuple[str, ...]:
    """A word on a network that classifies everything as one class, where there are several."""
    if not clean:
        return ()
    labels, read = (
        np.concatenate([array_of(table[of]) for table in clean])
        for of in ("label", "clean_prediction")
    )
    if not one_class(read, labels):
        return ()
    return (f"all {len(read)} pictures are predicted as one class, number {int(read[0])}",)


def _named(tables: list[pa.Table], names: set[str]) -> list[pa.Table]:
    return [table for table in tables[1:] if _name(table) in names]


def _name(table: pa.Table) -> str:
    return str(table["attack"][0])


def _sum(tables: list[pa.Table], column: str) -> int:
    return sum(int(pc.sum(table[column]).as_py() or 0) for table in tables)


def _seconds(tables: list[pa.Table]) -> float:
    return float(sum(pc.sum(table["seconds"]).as_py() or 0 for table in tables))
