"""``fluoroscope runs``: read a run again, and compare several."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.options import Command, Json
from fluoroscope.cli.output import Output
from fluoroscope.cli.requirements import (
    Junit,
    Require,
    check_junit,
    end_unless_met,
    report_outcomes,
)
from fluoroscope.cli.verdict_report import interval, report, share
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.labels import printable
from fluoroscope.words import picture_name

if TYPE_CHECKING:
    from fluoroscope.engine.intervals import Interval
    from fluoroscope.evaluation.runs.compare import Comparison, Paired
    from fluoroscope.evaluation.runs.table import RunsTable

runs = typer.Typer(
    name="runs", help="Read a run of evaluate, or compare several.", no_args_is_help=True
)

# Samples and classes that are listed; the JSON has them all.
_LISTED = 10
Csv = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help="Also a line for each run as CSV; - for stdout."),
]
Latex = Annotated[
    str | None,
    typer.Option(
        "--latex", metavar="FILE", help="Also a table for LaTeX (booktabs); - for stdout."
    ),
]


@runs.command(cls=Command)
def show(
    run: Annotated[Path, typer.Argument(help="Directory of the run.")],
    require: Require = None,
    junit: Junit = None,
    csv: Csv = None,
    latex: Latex = None,
    json: Json = None,
) -> None:
    """The verdict of a run, made anew from its rows; the network is not needed.

    [bold]Example:[/] fluoroscope runs show out/run
    """
    from dataclasses import replace

    from fluoroscope.evaluation.requirements import as_requirements
    from fluoroscope.evaluation.runs.stored import read_run

    check_junit(require, junit)
    output, verdict = Output(json, csv=csv, latex=latex), read_run(run)
    report(output, verdict)
    required = as_requirements(require)
    if required is not None:
        verdict = replace(verdict, requirements=required.of(verdict))
    report_outcomes(output, verdict.requirements, title=str(run), checks=verdict.trust, junit=junit)
    output.json(verdict.describe())
    _write(output, [run], csv, latex)
    end_unless_met(verdict.requirements)


@runs.command(cls=Command)
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Directories of runs; the others are compared with the first."),
    ],
    csv: Csv = None,
    latex: Latex = None,
    json: Json = None,
) -> None:
    """Compare runs on the same pictures: what changed, and can that be by chance?

    Two are compared picture by picture; of more, each is a row of a table.

    [bold]Examples:[/]
      fluoroscope runs compare out/before out/after
      fluoroscope runs compare out/plain out/hardened out/larger --latex table.tex
    """
    from fluoroscope.evaluation.runs.compare import compare_runs
    from fluoroscope.evaluation.runs.table import runs_table

    if len(runs) < 2:
        raise InvalidParameterError(
            f"one run is given ({runs[0]}); expected two or more to compare, or fluoroscope runs "
            "show for one"
        )
    output = Output(json, csv=csv, latex=latex)
    if len(runs) == 2:
        found = compare_runs(*runs)
        _print(output, found)
        output.json(found.describe())
        _write(output, runs, csv, latex)
        return
    table = runs_table(runs)
    _print_table(output, table)
    output.json(table.describe())
    _write(output, runs, csv, latex, table)


def _write(
    output: Output,
    runs: list[Path],
    csv: str | None,
    latex: str | None,
    table: "RunsTable | None" = None,
) -> None:
    from fluoroscope.evaluation.runs.table import runs_table

    if csv or latex:
        table = table or runs_table(runs)
        output.file(csv, table.csv() if csv else "")
        output.file(latex, table.latex() if latex else "")


def _print_table(output: Output, table: "RunsTable") -> None:
    named = list(zip(_letters(len(table.rows)), table.rows, strict=True))
    output.table(
        ["", "run", "network", "data", "threat", "plan"],
        [
            [name, row.run, *map(printable, (row.network, row.data, row.threat, row.plan))]
            for name, row in named
        ],
    )
    output.table(
        ["", "pictures>", "clean>", "95 % interval>", "robust>", "95 % interval>", "passes>", "s>"],
        [
            [
                name, row.count,
                *(_points(row.clean), _between(row.clean_interval)),
                *(_points(row.robust), _between(row.robust_interval)),
                f"{row.forwards + row.backwards:,}", f"{row.seconds:.1f}",
            ]
            for name, row in named
        ],
    )  # fmt: skip
    beside = [(name, row.against) for name, row in named if row.against]
    p_value = "p (Holm)>" if len(beside) > 1 else "p>"
    output.table(
        ["less A", "clean>", p_value, "robust>", "95 % interval>", p_value],
        [
            [
                name,
                *(f"{100 * one.clean.difference:+.2f}", f"{one.p_clean:.2g}"),
                *(f"{100 * one.robust.difference:+.2f}", _between(one.robust.interval)),
                f"{one.p_robust:.2g}",
            ]
            for name, one in beside
        ],
    )
    for note in table.notes:
        output.note(note)


def _letters(count: int) -> list[str]:
    """A, B … Z, and then by number."""
    return [chr(ord("A") + n) if n < 26 else f"#{n + 1}" for n in range(count)]


def _points(value: float) -> str:
    return f"{100 * value:.2f}"


def _between(of: "Interval") -> str:
    return f"{100 * of[0]:.1f} to {100 * of[1]:.1f}"


def _print(output: Output, found: "Comparison") -> None:
    output.table(
        [f"{found.count} pictures", "A", "B"],
        [
            ["run", found.first, found.second],
            *([what, *map(printable, pair)] for what, pair in found.apart.items()),
        ],
    )
    output.table(
        ["", "clean accuracy>", "robust accuracy>"],
        [
            [what, *(_cell(paired, field) for paired in (found.clean, found.robust))]
            for what, field in (
                ("A", "first_share"),
                ("B", "second_share"),
                ("B less A", "difference"),
                ("95 % interval (Newcombe)", "interval"),
                ("McNemar's exact p", "p_value"),
                ("in both", "both"),
                ("in A only", "first"),
                ("in B only", "second"),
                ("in neither", "neither"),
            )
        ],
    )
    if found.classes:
        output.table(
            ["class", "pictures>", "fooled in A only>", "fooled in B only>"],
            [
                [printable(each.label), each.count, each.fooled_in_first_only,
                 each.fooled_in_second_only]
                for each in found.classes[:_LISTED]
            ],
        )  # fmt: skip
        if len(found.classes) > _LISTED:
            output.say(f"and {len(found.classes) - _LISTED} more classes")
    for run, indices in (("A", found.fooled_in_first_only), ("B", found.fooled_in_second_only)):
        if indices:
            more = f" and {len(indices) - _LISTED} more" if len(indices) > _LISTED else ""
            called = [picture_name(found.names[one], one) for one in indices[:_LISTED]]
            output.say(f"fooled in {run} only: pictures {', '.join(map(printable, called))}{more}")
    for note in found.notes:
        output.note(note)


def _cell(paired: "Paired", field: str) -> str:
    value = getattr(paired, field)
    if field == "interval":
        return interval(value)
    if field == "p_value":
        return f"{value:.2g}"
    if field == "difference":
        return f"{100 * value:+.2f} points"
    return share(value) if isinstance(value, float) else str(value)
