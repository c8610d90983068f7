"""Constraint relaxation against targeted Auto-PGD at equal passes, on all networks for verdicts."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

import fluoroscope as fs
from benchmarks.page import PAGE, Scale, Section, Skipped
from benchmarks.timing import on_threads
from benchmarks.verdict_beds import BEDS, Bed
from benchmarks.verdicts import BATCH, Passes
from fluoroscope.attacks.attack import Method
from fluoroscope.engine.threats import Threat, as_threat
from fluoroscope.errors import NoGradientError

COUNT, LARGE = 100, 8
"""Pictures of a bed; of one of ImageNet's, whose passes cost a thousand times as much."""
TARGETS = (9, 3)
_MOST = 1000
"""Steps from which more would tell nothing."""


@dataclass(frozen=True)
class _Ended:
    """What a search fooled, by the pictures' numbers, and what it cost."""

    fooled: frozenset[int]
    left: int
    forwards: int
    backwards: int

    @property
    def total(self) -> int:
        return self.forwards + self.backwards


@dataclass(frozen=True)
class _Opened:
    """A network as it is searched, and pictures."""

    model: fs.Classifier
    images: Tensor
    labels: Tensor

    def by(self, attack: Method) -> _Ended:
        """That attack on all pictures, its passes counted at the module."""
        passes = Passes()
        modules = {self.model.module, self.model.plain.module}
        with on_threads(1), passes.counted(*modules):
            result = attack(self.model, self.images, self.labels, batch_size=BATCH)
        fooled = frozenset(result.success.nonzero().flatten().tolist())
        left = len(self.images) - len(fooled)
        return _Ended(fooled, left, passes.forwards, passes.backwards)


@dataclass
class _Sum:
    """Of one way over all networks."""

    counts: list[int] = field(default_factory=lambda: [0] * 5)

    def add(self, cells: list[int]) -> list[str]:
        """The cells of one network as they are shown."""
        self.counts = [old + new for old, new in zip(self.counts, cells, strict=True)]
        return _shown(cells)


def relaxation(scale: Scale) -> Section:
    """A table of both, the passes of the second no fewer than those of the first."""
    section = Section(PAGE, "relaxation", "Constraint relaxation at equal passes")
    rows, sums, absent, pictures = [], {targets: _Sum() for targets in (0, *TARGETS)}, [], 0
    for name, bed in BEDS.items():
        try:
            opened = _open(bed, scale)
        except Skipped as why:
            absent.append(f"{name} ({why})")
            continue
        for bound in bed.bounds:
            pictures += len(opened.images)
            for targets, said, ended, beside in _held(opened, as_threat(bound)):
                cells = [*[""] * 5]
                if ended is not None and beside is not None:
                    cells = sums[targets].add(_cells(ended, beside))
                rows.append([name.rpartition(":")[2], bound, len(opened.images), said, *cells])
                print(" | ".join(map(str, rows[-1])), flush=True)
    for targets, total in sums.items():
        by = f"`apgd-t`, {targets} targets" if targets else "`cr`"
        rows.append(["**all**", "", pictures, by, *_shown(total.counts)])
    section.text(
        "`cr` with its defaults, then `apgd-t` with 9 targets and with 3, of so many steps that "
        "its passes on these pictures are as near to those of `cr` as they can be, and not fewer "
        "(they are fewer where nothing is left to search). The first pictures of each bed of the "
        "verdicts; one start; *fooled* counts those misclassified clean. *Only it* are pictures "
        "that `cr` leaves, *only `cr`* those that it alone fools."
    )
    section.table(
        ["network", "within", "pictures>", "by", "fooled>", "forwards>", "backwards>", "only it>",
         "only `cr`>"], rows,
    )  # fmt: skip
    if absent:
        section.text(f"Left out: {', '.join(absent)}.")
    return section


def _open(bed: Bed, scale: Scale) -> _Opened:
    model, data = bed.open(min(scale.limit or COUNT, LARGE if bed.prepared else COUNT))
    batch = next(iter(data.batches(len(data), fit=model.preprocessing)))
    assert batch.labels is not None
    return _Opened(fs.prepare(model) if bed.prepared else model, batch.images, batch.labels)


def _held(
    opened: _Opened, threat: Threat
) -> Iterator[tuple[int, str, _Ended | None, _Ended | None]]:
    """Targets, the words for a way, what came of it and of ``cr``; nothing where it refuses."""
    try:
        own = opened.by(fs.attack("cr", eps=threat.eps, norm=threat.name))
    except NoGradientError:
        yield 0, "refuses: no gradient comes back", None, None
        return
    yield 0, "`cr`", own, own
    for targets in TARGETS:
        steps, ended = _as_dear(opened, threat, targets, own.total)
        yield targets, f"`apgd-t`, {targets} targets, {steps} steps", ended, own


def _as_dear(opened: _Opened, threat: Threat, targets: int, least: int) -> tuple[int, _Ended]:
    """Targeted Auto-PGD of the fewest steps that cost at least so many passes."""
    enough: tuple[int, _Ended] | None = None
    low, steps = 0, max(1, least // (2 * targets * len(opened.images)))
    while True:
        made = {"eps": threat.eps, "norm": threat.name, "targets": targets, "steps": steps}
        ended = opened.by(fs.attack("apgd-t", **made))
        if ended.total >= least:
            enough = steps, ended
        elif enough is None and (steps >= _MOST or not ended.left):
            return steps, ended
        else:
            low = steps
        high = enough[0] if enough else _MOST + 1
        if enough and high - low <= 1:
            return enough
        # Passes grow with the steps, nearly as fast; a step less or more settles it.
        wanted = round(steps * least / max(ended.total, 1))
        steps = min(max(wanted, low + 1), high - 1)


def _cells(ended: _Ended, own: _Ended) -> list[int]:
    return [
        len(ended.fooled), ended.forwards, ended.backwards,
        len(ended.fooled - own.fooled), len(own.fooled - ended.fooled),
    ]  # fmt: skip


def _shown(counts: list[int]) -> list[str]:
    return [f"{count:,}" for count in counts]


SECTIONS = {"relaxation": relaxation}
