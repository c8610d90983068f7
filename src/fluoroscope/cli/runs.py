"""``fluoroscope runs``: read a run again, and compare two."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.options import Json
from fluoroscope.cli.output import Output
from fluoroscope.cli.verdict_report import interval, report, share
from fluoroscope.models.labels import printable

if TYPE_CHECKING:
    from fluoroscope.evaluation.runs.compare import Comparison, Paired

runs = typer.Typer(
    name="runs", help="Read a run of evaluate, or compare two.", no_args_is_help=True
)

# Samples and classes that are listed; the JSON has them all.
_LISTED = 10


@runs.command()
def show(
    run: Annotated[Path, typer.Argument(help="Directory of the run.")], json: Json = None
) -> None:
    """The verdict of a run, made anew from its rows; the network is not needed.

    [bold]Example:[/] fluoroscope runs show out/run
    """
    from fluoroscope.evaluation.runs.stored import read_run

    output, verdict = Output(json), read_run(run)
    report(output, verdict)
    output.json(verdict.describe())


@runs.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Directory of a run.")],
    b: Annotated[Path, typer.Argument(help="Directory of another on the same pictures.")],
    json: Json = None,
) -> None:
    """Compare two runs picture by picture: what changed, and can it be chance?

    [bold]Example:[/] fluoroscope runs compare out/before out/after
    """
    from fluoroscope.evaluation.runs.compare import compare_runs

    output, found = Output(json), compare_runs(a, b)
    _print(output, found)
    output.json(found.describe())


def _print(output: Output, found: "Comparison") -> None:
    output.table(
        [f"{found.count} pictures", "A", "B"],
        [
            ["run", found.first, found.second],
            *([what, *map(printable, pair)] for what, pair in found.apart.items()),
        ],
    )
    output.table(
        ["", "read right>", "robust>"],
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
            listed = ", ".join(map(str, indices[:_LISTED]))
            output.say(f"fooled in {run} only: pictures {listed}{more}")
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
