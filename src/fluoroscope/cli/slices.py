"""``--slice``: the accuracies by the values of a column of the data, and how they are shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.output import Output
from fluoroscope.models.labels import printable
from fluoroscope.words import count

if TYPE_CHECKING:
    from fluoroscope.evaluation.slices import Slicing

# Slices that are listed; the JSON has them all.
_LISTED = 12

Slices = Annotated[
    list[str] | None,
    typer.Option(
        "--slice",
        metavar="COLUMN",
        help="Also the accuracies by a column of the data, as camera or site; fluoroscope labels "
        "names the columns. Repeatable.",
    ),
]


def report_slices(output: Output, slices: "Sequence[Slicing]") -> None:
    """A table for each column, the lowest accuracy first, and which value lies below the rest."""
    for each in slices:
        attacked = any(one.robust_accuracy is not None for one in each.slices)
        output.table(
            [
                printable(each.column), "pictures>", "clean>", "95 % interval>",
                *(["robust>", "95 % interval>"] if attacked else []),
            ],
            [map(printable, one.cells()) for one in each.slices[:_LISTED]],
        )  # fmt: skip
        if len(each.slices) > _LISTED:
            output.say(f"and {count(len(each.slices) - _LISTED, 'more value')}")
        for words in each.words:
            output.say(printable(words))
