"""``--require`` and ``--junit``: what a result must say, and how a service that runs it is told."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.output import Output, one_line
from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from fluoroscope.evaluation.check import Check, Outcome

NOT_MET = 3
"""The exit code where a requirement is not met, or cannot be shown."""


def _readable(text: str | None) -> str | None:
    """Refuse what nobody can read before anything is loaded."""
    if text is not None:
        from fluoroscope.evaluation.requirements import Requirements

        Requirements(text)
    return text


Require = Annotated[
    str | None,
    typer.Option(
        "--require",
        metavar="TEXT",
        callback=_readable,
        help="What must come out, else the exit code is 3: 'robust>=0.6 clean>=90% class>=0.8'. "
        "Of clean, robust, class (lowest clean accuracy of a class), robust-class, slice and "
        "robust-slice (lowest of a --slice); .low for the lower end of the 95 % interval "
        "(robust.low>=0.6); pictures>=500; trust: the checks of --trust are made, none fails.",
    ),
]
Junit = Annotated[
    Path | None,
    typer.Option(
        "--junit",
        metavar="FILE",
        help="With --require: the outcome as JUnit XML, a case for each requirement and check.",
    ),
]


def check_junit(require: str | None, junit: Path | None) -> None:
    """Refuse what cannot be written before the long run begins.

    Raises:
        InvalidParameterError: there is nothing to write.
        MissingExtraError: the library that writes it is not installed.
    """
    if junit is None:
        return
    if require is None:
        raise InvalidParameterError("--junit writes how requirements came out; expected --require")
    from fluoroscope.evaluation.junit import require_junit

    require_junit()


def report_outcomes(
    output: Output,
    outcomes: "Sequence[Outcome]",
    *,
    title: str,
    checks: "Sequence[Check]" = (),
    junit: Path | None = None,
) -> None:
    """What was required and what came of it, for people and for a service."""
    if not outcomes:
        return
    output.table(
        ["required", "", "what was measured"],
        [[one.text, one.status, one.words] for one in outcomes],
    )
    if junit is not None:
        from fluoroscope.evaluation.junit import write_junit

        output.say(f"wrote {write_junit(junit, title, outcomes, checks)}")


def end_unless_met(outcomes: "Sequence[Outcome]") -> None:
    """End with code 3 and a line for each requirement that is not met."""
    failed = [one for one in outcomes if not one.met]
    for one in failed:
        words = f"{one.text} {'is ' if one.status == 'not met' else ''}{one.status}: {one.words}"
        typer.echo(f"fluoroscope: {one_line(words)}", err=True)
    if failed:
        raise typer.Exit(NOT_MET)
