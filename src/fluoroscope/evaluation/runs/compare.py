"""Two runs on the same samples, side by side.

Each sample is a pair of answers, so what counts are the samples on which the runs disagree.
McNemar's exact test (McNemar 1947) asks whether they lie more to one side than a fair coin would
have it. The interval of the difference is Newcombe's (1998, Statistics in Medicine 17, 2635-2650,
method 10): from the Wilson limits ``l, u`` of both shares ``p`` and their correlation ``φ``,
``δ² = (p₂-l₂)² - 2φ(p₂-l₂)(u₁-p₁) + (u₁-p₁)²`` below the difference, and likewise above it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoroscope.engine.intervals import Interval, wilson
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.runs.part_files import hash_of
from fluoroscope.evaluation.runs.stored import StoredRun, open_run
from fluoroscope.evaluation.verdict import outcomes
from fluoroscope.pictures import html
from fluoroscope.words import count, percent, shortened, whole_levels

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Paired:
    """How often the same samples do well in two runs."""

    both: int
    first: int
    """Samples that do well in the first run only."""
    second: int
    neither: int
    first_share: float
    second_share: float
    difference: float
    """The second share less the first."""
    interval: Interval
    """Of the difference, 95 %, Newcombe's."""
    p_value: float
    """McNemar's, exact and two-sided: how probable so uneven a split were of a fair coin."""


@dataclass(frozen=True)
class ClassChange:
    """What differs on the samples of one class."""

    label: str
    count: int
    fooled_in_first_only: int
    fooled_in_second_only: int


@dataclass(frozen=True, repr=False)
class Comparison(html.Shown):
    """Two runs on the ``count`` samples that both have."""

    first: str
    second: str
    count: int
    clean: Paired
    """Classified correctly."""
    robust: Paired
    """Classified correctly, and robust against every attack of the run's plan."""
    fooled_in_first_only: tuple[int, ...]
    """Numbers of the samples in their data set, of those that are robust in the other run."""
    fooled_in_second_only: tuple[int, ...]
    classes: tuple[ClassChange, ...]
    """Those on which the runs differ, most samples first."""
    apart: dict[str, tuple[str, str]]
    """What is not the same about the runs: network, threat, plan."""
    notes: tuple[str, ...]
    names: dict[int, str] = field(default_factory=dict)
    """What the pictures fooled in one run only are called: by their files, if they are known."""

    def _line(self) -> str:
        low, high = self.robust.interval
        return (
            f"{self.first} → {self.second}: robust accuracy "
            f"{100 * self.robust.difference:+.1f} points ({100 * low:.1f} to {100 * high:.1f}), "
            f"p = {self.robust.p_value:.2g}, {count(self.count, 'picture')}"
        )

    def _view(self) -> Iterator[html.Html]:
        yield html.table(
            ["", "first", "second", "difference, points", "95 % interval", "McNemar's p",
             "only in first", "only in second"],
            [
                [
                    what, percent(pair.first_share), percent(pair.second_share),
                    f"{100 * pair.difference:+.1f}",
                    " to ".join(f"{100 * end:.1f}" for end in pair.interval),
                    f"{pair.p_value:.2g}", f"{pair.first:,}", f"{pair.second:,}",
                ]
                for what, pair in (
                    ("classified correctly", self.clean), ("robust", self.robust)
                )
            ],
            right=range(1, 8),
        )  # fmt: skip
        yield html.table(
            ["what differs", "first", "second"],
            [[what, *values] for what, values in self.apart.items()],
        )
        yield html.table(
            ["class", "pictures", "fooled in first only", "fooled in second only"],
            [
                [
                    shortened(each.label), f"{each.count:,}", f"{each.fooled_in_first_only:,}",
                    f"{each.fooled_in_second_only:,}",
                ]
                for each in self.classes
            ],
            right=(1, 2, 3),
        )  # fmt: skip
        yield html.notes(self.notes)

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def compare_runs(first: str | Path, second: str | Path) -> Comparison:
    """Compare the runs in two directories, sample by sample.

    Networks, threats and plans may differ; the data may not.

    Raises:
        ResultFormatError: no run there, or a damaged one.
        InvalidParameterError: runs on other data, or with no sample in common.
    """
    one, other = open_run(first), open_run(second)
    shared, a, b = shared_samples(one, other)
    robust = paired(a.robust, b.robust)
    apart = a.robust != b.robust
    named = zip(shared[apart], a.name[apart], b.name[apart], strict=True)
    return Comparison(
        first=str(one.path),
        second=str(other.path),
        count=len(shared),
        clean=paired(a.right, b.right),
        robust=robust,
        fooled_in_first_only=tuple(shared[~a.robust & b.robust].tolist()),
        fooled_in_second_only=tuple(shared[a.robust & ~b.robust].tolist()),
        classes=_classes(one, a, b),
        apart={
            what: (str(mine), str(yours))
            for what, mine, yours in (
                ("network", one.model, other.model),
                ("weights", one.model_sha256[:12], other.model_sha256[:12]),
                ("threat", threat_of(one), threat_of(other)),
                ("plan", one.plan, other.plan),
            )
            if mine != yours
        },
        notes=_notes(one, other, len(shared)),
        names={int(index): mine or yours or str(index) for index, mine, yours in named},
    )


def paired(first: Flags, second: Flags) -> Paired:
    """Compare two yes-or-no answers ``(N,)`` for the same samples."""
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    count, apart = len(first), only_first + only_second
    shares = (both + only_first) / count, (both + only_second) / count
    return Paired(
        both=both,
        first=only_first,
        second=only_second,
        neither=neither,
        first_share=shares[0],
        second_share=shares[1],
        difference=shares[1] - shares[0],
        interval=paired_interval(both, only_first, only_second, neither),
        p_value=fair_coin(only_first, apart),
    )


def fair_coin(heads: int, tosses: int) -> float:
    """How probable a split at least so uneven is of a fair coin (the exact binomial test)."""
    fewer = min(heads, tosses - heads)
    ways = tail = 1
    for number in range(fewer):
        ways = ways * (tosses - number) // (number + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << tosses))


def paired_interval(both: int, first: int, second: int, neither: int) -> Interval:
    """Newcombe's 95 % interval for the second share less the first; see the module."""
    count = both + first + second + neither
    yes = both + second, both + first
    (p2, p1) = (each / count for each in yes)
    (l2, u2), (l1, u1) = (wilson(each, count) for each in yes)
    margins = yes[0] * (count - yes[0]) * yes[1] * (count - yes[1])
    agreement = both * neither - first * second
    # The correction for continuity that makes it method 10.
    corrected = max(agreement - count / 2, 0.0) if agreement > 0 else float(agreement)
    phi = corrected / math.sqrt(margins) if margins else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0))

    return p2 - p1 - reach(p2 - l2, u1 - p1), p2 - p1 + reach(u2 - p2, p1 - l1)


@dataclass(frozen=True)
class RunSamples:
    """The samples of a run, each field ``(N,)``."""

    index: NDArray[np.int64]
    label: NDArray[np.int64]
    """As the data number their classes."""
    named: NDArray[np.int64]
    """As the network does."""
    right: Flags
    robust: Flags
    name: NDArray[np.object_]
    """Of the picture; empty where the run does not know it."""

    def take(self, rows: NDArray[np.int64]) -> "RunSamples":
        return RunSamples(*(value[rows] for value in vars(self).values()))


def shared_samples(
    one: StoredRun, other: StoredRun
) -> tuple[NDArray[np.int64], RunSamples, RunSamples]:
    """Numbers of the samples that both runs have, and what each found of them.

    Raises:
        InvalidParameterError: runs on other data, or with no sample in common.
    """
    found = [samples_of(run) for run in (one, other)]
    shared, here, there = np.intersect1d(found[0].index, found[1].index, return_indices=True)
    a, b = found[0].take(here), found[1].take(there)
    _check_same_data(one, other, a, b)
    return shared, a, b


def samples_of(run: StoredRun) -> RunSamples:
    """What a run found of its samples.

    Raises:
        InvalidParameterError: it has no finished part.
    """
    if not run.parts:
        raise InvalidParameterError(
            f"{run.path} has no finished part yet; expected a run that got further"
        )
    index, named, right, robust = outcomes(run.parts, run.threat)
    label = named = named.astype(np.int64)
    if run.class_numbers is not None:
        back = np.full(len(run.labels), -1, dtype=np.int64)
        back[list(run.class_numbers)] = np.arange(len(run.class_numbers))
        label = back[named]
    names = [name for clean, *_ in run.parts for name in clean["name"].to_pylist()]
    return RunSamples(index, label, named, right, robust, np.array(names, dtype=object))


def _check_same_data(one: StoredRun, other: StoredRun, a: RunSamples, b: RunSamples) -> None:
    """Refuse what cannot be the same pictures.

    Rows carry the hash of the pictures as the network was fed them. Networks that take another
    size, and runs in 8 bits, are fed other pixels, so that their runs are held together by the
    data's name and the labels.
    """
    if not len(a.index):
        raise InvalidParameterError(f"{one.path} and {other.path} have no sample in common")
    hashes = [
        {tuple(tables[0]["index"].to_pylist()): hash_of(tables[0]) for tables in run.parts}
        for run in (one, other)
    ]
    common = [(hashes[0][part], hashes[1][part]) for part in hashes[0] if part in hashes[1]]
    equal = bool(common) and all(mine == yours for mine, yours in common)
    if equal:
        return
    if (_last(one.data), one.split) != (_last(other.data), other.split):
        raise _other_data(one, other, f"{_called(one)} and {_called(other)}")
    same_network = one.model_sha256 == other.model_sha256
    if common and same_network and on_grid(one) == on_grid(other):
        raise _other_data(one, other, "their pictures differ")
    apart = np.flatnonzero(a.label != b.label)
    if len(apart):
        raise _other_data(
            one, other, f"sample {a.index[apart[0]]} and {len(apart) - 1} more have other labels"
        )


def _other_data(one: StoredRun, other: StoredRun, why: str) -> InvalidParameterError:
    return InvalidParameterError(
        f"{one.path} and {other.path} are runs on other data ({why}); expected two runs on the "
        "same pictures"
    )


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _called(run: StoredRun) -> str:
    return run.data + (f":{run.split}" if run.split else "")


def threat_of(run: StoredRun) -> str:
    """What it is within, in a word; of all bounds at once the norm alone."""
    eps = float(run.threat.eps)
    levels = whole_levels(eps)
    far = f":{levels}/255" if levels else f":{eps:.6g}"
    bits = ", 8-bit pictures" if on_grid(run) else ""
    return f"{run.threat.name}{'' if math.isinf(eps) else far}{bits}"


def on_grid(run: StoredRun) -> bool:
    """Whether it is about 8-bit pictures alone."""
    return bool(run.record["identity"].get("grid") == 8)


def _classes(run: StoredRun, a: RunSamples, b: RunSamples) -> tuple[ClassChange, ...]:
    changes = [
        ClassChange(
            label=run.labels[number],
            count=int(of.sum()),
            fooled_in_first_only=int((of & ~a.robust & b.robust).sum()),
            fooled_in_second_only=int((of & a.robust & ~b.robust).sum()),
        )
        for number in np.unique(a.named[a.robust != b.robust]).tolist()
        for of in [a.named == number]
    ]
    return tuple(sorted(changes, key=_most))


def _most(change: ClassChange) -> int:
    return -(change.fooled_in_first_only + change.fooled_in_second_only)


def _notes(one: StoredRun, other: StoredRun, shared: int) -> tuple[str, ...]:
    notes = [
        f"{run.path} did not come to its end; what was not attacked to the end counts as surviving"
        for run in (one, other)
        if not run.ended
    ]
    if one.threat != other.threat:
        notes.append("the threats differ: each run is judged within its own bound")
    counts: Sequence[int] = [sum(len(tables[0]) for tables in run.parts) for run in (one, other)]
    if max(counts) > shared:
        notes.append(f"of {counts[0]} and {counts[1]} samples only the {shared} in both count")
    return tuple(notes)
