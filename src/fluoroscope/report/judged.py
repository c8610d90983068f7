"""What the verdict's section shows beside its numbers: what was required, and slices."""

from collections.abc import Sequence

from fluoroscope.evaluation.check import Outcome
from fluoroscope.evaluation.slices import Slicing
from fluoroscope.report.blocks import Block, Heading, Table, Text
from fluoroscope.words import count, sentence, shortened

# Rows of a table that stand open; and at all, as the JSON has every one.
_OPEN, _MOST = 8, 50
_MARKS = {"met": "✓ met", "not met": "✗ not met", "cannot be shown": "? cannot be shown"}


def required(outcomes: Sequence[Outcome]) -> list[Block]:
    """Whether what was required is met, and of each what was measured."""
    if not outcomes:
        return []
    met = [one for one in outcomes if one.met]
    failed = [one.text for one in outcomes if one.status == "not met"]
    if len(met) == len(outcomes):
        words = "What was required is met." if len(met) == 1 else f"All {len(met)} are met."
    else:
        rest = len(outcomes) - len(met) - len(failed)
        words = f"{len(met)} of {count(len(outcomes), 'requirement')} met" + (
            f", {len(failed)} not met" if failed else ""
        )
        words = f"{words}, {rest} cannot be shown." if rest else f"{words}."
    rows = [[one.text, _MARKS[one.status], sentence(one.words)] for one in outcomes]
    return [
        Heading("What was required"),
        Text(words),
        Table(["required", "outcome", "what was measured"], rows, "Requirements on this verdict"),
    ]


def sliced(slices: Sequence[Slicing]) -> list[Block]:
    """A table for each column that the data are told apart by, the lowest accuracy first."""
    blocks: list[Block] = []
    for each in slices:
        blocks.append(Heading(f"By {shortened(each.column)}"))
        blocks += [Text(sentence(words), "plain") for words in each.words]
        caption = f"Accuracies by {shortened(each.column)}, the lowest first"
        if len(each.slices) > _MOST:
            caption += f": {_MOST} of {len(each.slices)} values"
        blocks.append(
            Table(
                [
                    *(shortened(each.column), "pictures", "clean accuracy", "95 % interval"),
                    *("robust accuracy", "95 % interval"),
                ],
                [one.cells() for one in each.slices[:_MOST]],
                caption,
                right=(1, 2, 3, 4, 5),
                folded=len(each.slices) > _OPEN,
            )
        )
    return blocks
