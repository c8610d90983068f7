"""Runs as rows of one table, beside the first of them, and as CSV and LaTeX for a paper.

A run is compared with the first where both are of the same pictures within the same threat: paired,
as :mod:`.compare` does it for two. Who makes several comparisons finds something by chance alone
more often than 1 in 20 times, so that p-values are Holm's (1979, Scandinavian Journal of Statistics
6, 65-70): the ``i``-th smallest of ``m`` counts ``m - i + 1`` times.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from fluoroscope.engine.intervals import Interval
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.runs.compare import (
    Paired,
    on_grid,
    paired,
    samples_of,
    shared_samples,
    threat_of,
)
from fluoroscope.evaluation.runs.stored import StoredRun, open_run
from fluoroscope.models.labels import printable
from fluoroscope.pictures import html
from fluoroscope.words import count, interval, network_name, percent, shortened

SIGNIFICANT = 0.05
"""From this p-value on a difference may be by chance."""
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "|")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
}  # fmt: skip


@dataclass(frozen=True)
class Against:
    """A run beside the first, on the ``count`` samples that both have."""

    count: int
    clean: Paired
    robust: Paired
    p_clean: float
    """McNemar's, Holm's for all comparisons of the table."""
    p_robust: float


@dataclass(frozen=True)
class RunRow:
    """A run."""

    run: str
    """Its directory."""
    network: str
    weights: str
    """SHA-256."""
    data: str
    threat: str
    plan: str
    count: int
    clean: float
    """Clean accuracy."""
    clean_interval: Interval
    """95 %, Wilson's, as the other."""
    robust: float
    """Robust accuracy."""
    robust_interval: Interval
    forwards: int
    backwards: int
    seconds: float
    complete: bool
    best_clean: bool
    """Whether its clean accuracy is surely the highest: above every other one's, each p < 0.05
    (Holm's for all pairs of runs that can be compared)."""
    best_robust: bool
    """The same; never where plans differ, as a weaker plan leaves a higher number."""
    against: Against | None
    """Beside the first; nothing for itself, and where they cannot be compared."""
    apart: str
    """Why it cannot be compared with the first; empty where it can."""


@dataclass(frozen=True, repr=False)
class RunsTable(html.Shown):
    """Runs side by side, the first being the one that the others are compared with."""

    rows: tuple[RunRow, ...]
    notes: tuple[str, ...]

    def _line(self) -> str:
        each = "; ".join(
            f"{shortened(network_name(row.network))} {percent(row.robust)}" for row in self.rows[:4]
        )
        more = f" and {len(self.rows) - 4} more" if len(self.rows) > 4 else ""
        return f"{count(len(self.rows), 'run')}, robust accuracy: {each}{more}"

    def _view(self) -> Iterator[html.Html]:
        yield html.table(
            ["run", "network", "threat", "plan", "pictures", "clean", "95 % interval", "robust",
             "95 % interval", "above the first, points", "p"],
            [[*_told(row)] for row in self.rows],
            right=range(4, 11),
        )  # fmt: skip
        yield html.notes([*self.notes, *(row.apart for row in self.rows if row.apart)])

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def csv(self) -> str:
        """One line for a run, numbers as numbers; no cell begins as a formula would."""
        return as_csv([_flat(row) for row in self.rows])

    def latex(self) -> str:
        """A ``tabular`` for the package booktabs; bold is what is surely the highest."""
        several = len(self.rows) > 1
        head = ["Run", "Network", "Data", "Threat", "Plan", "$N$", r"Clean (\%)", r"Robust (\%)"]
        last = ["Passes", "Seconds"]
        more = [r"Difference (points)", "$p$"] if several else []
        lines = [
            r"% \usepackage{booktabs}; brackets: 95 % intervals (Wilson; differences: Newcombe)",
            *(f"% {printable(note)}" for note in self.notes),
            rf"\begin{{tabular}}{{lllll{'r' * (len(head + more + last) - 5)}}}",
            r"\toprule",
            " & ".join(head + more + last) + r" \\",
            r"\midrule",
            *(" & ".join(_latex_row(row, several)) + r" \\" for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        return "\n".join(lines) + "\n"


def _told(row: RunRow) -> Iterator[str]:
    """A run as a notebook has it."""
    yield from (row.run, row.network, row.threat, row.plan, f"{row.count:,}")
    for share, bounds in ((row.clean, row.clean_interval), (row.robust, row.robust_interval)):
        yield from (percent(share), interval(bounds))
    beside = row.against
    yield "" if beside is None else f"{100 * beside.robust.difference:+.1f}"
    yield "" if beside is None else f"{beside.p_robust:.2g}"


def runs_table(runs: Sequence[str | Path]) -> RunsTable:
    """The runs in these directories as rows, compared with the first of them.

    A run on other pictures, or within another threat, is listed and not compared: ``apart`` says
    why. The networks are not needed.

    Args:
        runs: directories that :func:`~fluoroscope.evaluate` made with ``out``.

    Raises:
        ResultFormatError: no run there, or a damaged one.
        InvalidParameterError: no directory, one given twice, or a run without a finished part.
    """
    if isinstance(runs, str | Path) or not runs:
        raise InvalidParameterError(
            f"runs is {runs!r}; expected the directories of one run or more, as a list"
        )
    paths = [Path(run).resolve() for run in runs]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise InvalidParameterError(
                f"{runs[number]} is given twice; expected the directories of different runs"
            )
    opened = [open_run(run) for run in runs]
    reasons = [_apart(opened[0], other) for other in opened]
    alike = [run for run, why in zip(opened, reasons, strict=True) if not why]
    bests = _best(alike)
    found = [_paired(opened[0], run) for run in alike[1:]]
    corrected = holm([one.p_value for _, *pair in found for one in pair])
    against = {
        id(run): Against(count, clean, robust, *corrected[2 * number : 2 * number + 2])
        for number, (run, (count, clean, robust)) in enumerate(zip(alike[1:], found, strict=True))
    }
    rows = [
        _row(run, against.get(id(run)), why, tuple(best is run for best in bests))
        for run, why in zip(opened, reasons, strict=True)
    ]
    return RunsTable(tuple(rows), _notes(opened, rows))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's p-values of several tests, in the order of their own."""
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[number]))
        corrected[number] = least
    return corrected


def _apart(one: StoredRun, other: StoredRun) -> str:
    samples_of(other)  # a run without rows is refused
    if other is one:
        return ""
    if one.threat != other.threat or on_grid(one) != on_grid(other):
        return f"another threat than {threat_of(one)}"
    try:
        shared_samples(one, other)
    except InvalidParameterError:
        return "other pictures"
    return ""


def _paired(one: StoredRun, other: StoredRun) -> tuple[int, Paired, Paired]:
    shared, a, b = shared_samples(one, other)
    return len(shared), paired(a.right, b.right), paired(a.robust, b.robust)


def _best(runs: Sequence[StoredRun]) -> list[StoredRun | None]:
    """Of runs that can be compared, whose clean and whose robust accuracy is surely the highest."""
    pairs = list(combinations(range(len(runs)), 2))
    found = [_paired(runs[one], runs[other]) for one, other in pairs]
    best: list[StoredRun | None] = []
    for which in (1, 2):
        won = [0] * len(runs)
        results: list[Any] = [each[which] for each in found]
        corrected = holm([each.p_value for each in results])
        for (one, other), each, p_value in zip(pairs, results, corrected, strict=True):
            if p_value < SIGNIFICANT:
                won[other if each.difference > 0 else one] += 1
        sure = [run for run, wins in zip(runs, won, strict=True) if wins == len(runs) - 1 > 0]
        if which == 2 and len({run.plan for run in runs}) > 1:
            sure = []
        best.append(sure[0] if sure else None)
    return best


def _row(
    run: StoredRun, against: Against | None, apart: str, best: tuple[bool, ...]
) -> RunRow:  # fmt: skip
    verdict = run.verdict()
    return RunRow(
        run=str(run.path),
        network=run.model,
        weights=run.model_sha256,
        data=run.data + (f":{run.split}" if run.split else ""),
        threat=threat_of(run),
        plan=run.plan,
        count=verdict.count,
        clean=verdict.clean_accuracy,
        clean_interval=verdict.clean_interval,
        robust=verdict.robust_accuracy,
        robust_interval=verdict.robust_interval,
        forwards=verdict.forwards,
        backwards=verdict.backwards,
        seconds=verdict.seconds,
        complete=verdict.complete,
        best_clean=best[0],
        best_robust=best[1],
        against=against,
        apart=apart,
    )


def _notes(runs: Sequence[StoredRun], rows: Sequence[RunRow]) -> tuple[str, ...]:
    first, compared = rows[0], [row.against for row in rows if row.against]
    notes = [
        f"{row.run} is not compared with {first.run}: {row.apart}" for row in rows if row.apart
    ]
    notes += [
        f"{row.run} did not come to its end; what was not attacked to the end counts as robust"
        for row in rows
        if not row.complete
    ]
    plans = {run.plan for run, row in zip(runs, rows, strict=True) if not row.apart}
    if len(plans) > 1:
        notes.append(
            f"the plans differ ({', '.join(sorted(map(printable, plans)))}): a weaker plan leaves "
            "a higher robust accuracy, of the same network too"
        )
    for row in rows:
        if row.against and row.against.count < max(row.count, first.count):
            notes.append(
                f"{row.run} is compared with {first.run} on the {row.against.count} pictures "
                "that both have"
            )
    if len(compared) > 1:
        notes.append(
            f"{2 * len(compared)} comparisons with {first.run} are made, and p-values are "
            "corrected for that (Holm)"
        )
    return tuple(notes)


def _flat(row: RunRow) -> dict[str, Any]:
    """As one line: intervals in two cells, the comparison in cells of its own."""
    cells: dict[str, Any] = {}
    for name, value in asdict(row).items():
        if name.endswith("_interval"):
            base = name.removesuffix("_interval")
            cells[f"{base}_low"], cells[f"{base}_high"] = value
        elif name != "against":
            cells[name] = value
    beside = row.against
    cells["compared"] = beside and beside.count
    for name in ("clean", "robust"):
        pair: Paired | None = getattr(beside, name, None)
        low, high = pair.interval if pair else (None, None)
        cells |= {
            f"{name}_difference": pair and pair.difference,
            f"{name}_difference_low": low,
            f"{name}_difference_high": high,
            f"{name}_p": pair and pair.p_value,
            f"{name}_p_holm": beside and getattr(beside, f"p_{name}"),
        }
    return cells


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same columns, at least one, as CSV; no cell begins as a formula would."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula; all else as it is."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def as_latex(text: str) -> str:
    """A stranger's text as LaTeX sets it, and nothing more."""
    escaped = "".join(_LATEX.get(sign, sign) for sign in printable(text))
    return escaped.replace("--", "-{}-").replace("--", "-{}-")


def _latex_row(row: RunRow, several: bool) -> list[str]:
    named = (Path(row.run).name, network_name(row.network), row.data, row.threat, row.plan)
    cells = [as_latex(text) for text in named]
    cells += [f"{row.count}", _share(row.clean, row.clean_interval, row.best_clean)]
    cells.append(_share(row.robust, row.robust_interval, row.best_robust))
    if several:
        beside = row.against
        pair = beside and beside.robust
        cells += (
            [f"${100 * pair.difference:+.1f}$ {_range(pair.interval)}", p_in_words(beside.p_robust)]
            if beside and pair
            else ["--", "--"]
        )
    return [*cells, f"{row.forwards + row.backwards}", f"{row.seconds:.1f}"]


def _share(value: float, interval: Interval, best: bool) -> str:
    number = f"{100 * value:.1f}"
    shown = rf"\textbf{{{number}}}" if best else number
    return f"{shown} {_range(interval)}"


def _range(interval: Interval) -> str:
    return f"[${100 * interval[0]:.1f}$, ${100 * interval[1]:.1f}$]"


def p_in_words(value: float) -> str:
    """A p-value for a table."""
    return "$<$0.001" if value < 0.001 else f"{value:.3f}"
