"""Clean accuracy, calibration, and both by class."""

from collections import Counter

import numpy as np

from fluoroscope.engine.first_look import notes_of
from fluoroscope.engine.intervals import wilson
from fluoroscope.evaluation.calibration import Calibration, calibration
from fluoroscope.pictures.plots import LINE, SERIES, Canvas, percent_axis
from fluoroscope.report.blocks import (
    Block,
    Content,
    Figure,
    Heading,
    Number,
    Numbers,
    Table,
    Text,
)
from fluoroscope.report.findings import Reading
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.words import count, interval, listed, percent, sentence

# Rows of a table that a reader looks at; a class needs so many pictures to have an accuracy.
_SHOWN, _ENOUGH = 12, 5
# Pictures from which on probabilities can be judged.
_TELLS = 20
# And the calibration error that chance alone gives on so few, above which nothing is told.
_COARSE = 0.15


@section("clean", "How well it classifies clean pictures", order=20, cost=10, free=True)
def clean(study: Study) -> Content:
    reading = study.reading
    right = reading.right
    share = float(right.double().mean())
    bounds = wilson(int(right.sum()), len(right))
    top5 = float((reading.rank < 5).double().mean())
    held = calibration(reading.confidence.numpy(), right.numpy(), seed=study.seed)
    numbers = [
        Number(
            percent(share),
            "classified correctly",
            f"95\N{NO-BREAK SPACE}% interval {interval(bounds)}",
        ),
        *(
            [Number(percent(top5), "with the label among the first five", "")]
            if study.model.num_classes > 10
            else []
        ),
        Number(percent(held.confidence), "its own estimate", "mean probability of the class named"),
        Number(
            percent(held.error),
            "calibration error",
            f"up to {percent(held.by_chance)} comes by chance on {count(len(right), 'picture')}",
        ),
    ]
    blocks: list[Block] = [Text(_in_words(held, len(right)), "lead"), Numbers(numbers)]
    blocks.append(Text(sentence(str(study.seen)), "note"))
    blocks += [
        Text(sentence(note), "note") for note in (*study.level.notes, *notes_of(study.model))
    ]
    if len(right) >= _TELLS:
        blocks.append(_reliability(held, len(right)))
    by_class, data = _by_class(study, reading)
    return Content(
        [*blocks, *by_class],
        {
            "count": len(right),
            "seen": study.seen.describe(),
            "accuracy": share,
            "interval": list(bounds),
            "top5": top5,
            "confidence": held.confidence,
            "calibration_error": held.error,
            "calibration_error_by_chance": held.by_chance,
            "calibration_bins": len(held.bins),
            **data,
        },
    )


def _in_words(held: Calibration, pictures: int) -> str:
    if pictures < _TELLS or held.by_chance > _COARSE:
        return (
            f"{count(pictures, 'picture')} cannot tell whether its probabilities can be taken at "
            "their word: with so few, chance alone gives an error as large."
        )
    gap = held.confidence - held.accuracy
    if held.error <= held.by_chance:
        return (
            "Its probabilities can be taken at their word: as far as these pictures can tell, what "
            "it calls 90 % certain is right nine times out of ten."
        )
    if abs(gap) < held.error / 2:
        return (
            "Its probabilities are off in both directions: too high for some pictures and too low "
            "for others."
        )
    how, what = ("surer", "lower") if gap > 0 else ("less sure", "higher")
    return (
        f"It is {how} than it is right: on average it claims {percent(held.confidence)} and gets "
        f"{percent(held.accuracy)}. Read its probabilities as {what} than they say."
    )


def _reliability(held: Calibration, pictures: int) -> Figure:
    filled = [one for one in held.bins if one.count]
    most = max(one.count for one in filled)
    with (canvas := Canvas(5.0, 3.2)) as axes:
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.2, linestyle="--", zorder=1)
        for one in filled:
            axes.plot(
                [one.confidence] * 2, [one.confidence, one.accuracy],
                color=SERIES[1], linewidth=1.4, zorder=2,
            )  # fmt: skip
        axes.scatter(
            [one.confidence for one in filled],
            [one.accuracy for one in filled],
            s=[14 + 110 * one.count / most for one in filled],
            color=SERIES[0],
            zorder=3,
        )
        axes.grid(alpha=0.5)
        axes.set(xlabel="how sure it is", ylabel="how often it is right")
        percent_axis(axes, "x")
        percent_axis(axes, "y")
    rows = [
        [
            f"{percent(one.low, 0)} to {percent(one.high, 0)}",
            str(one.count),
            percent(one.confidence),
            percent(one.accuracy),
        ]
        for one in filled
    ]
    return Figure(
        canvas.svg,
        says="Reliability diagram: for pictures grouped by how sure the network is, how often it "
        "is right. The numbers are in the table below.",
        caption=(
            f"Reliability. Each dot is the pictures of one of {len(held.bins)} equally wide bands "
            "of confidence, its area their number; on the dashed line a network is as sure as it "
            "is right, below it too sure. The calibration error is the mean length of the orange "
            f"lines, weighted by pictures ({pictures} here)."
        ),
        table=Table(
            ["sure", "pictures", "mean confidence", "right"],
            rows,
            "Confidence and accuracy by band",
            right=(1, 2, 3),
        ),
    )


def _by_class(study: Study, reading: Reading) -> tuple[list[Block], dict[str, object]]:
    labels = reading.labels.numpy()
    classes, counts = np.unique(labels, return_counts=True)
    right = np.bincount(labels, reading.right.numpy(), study.model.num_classes)
    names = study.labels
    data: dict[str, object] = {
        "by_class": {
            study.model.labels[c]: {"count": int(n), "right": int(right[c])}
            for c, n in zip(classes.tolist(), counts.tolist(), strict=True)
        }
    }
    blocks: list[Block] = [Heading("By class")]
    enough = [
        (c, n) for c, n in zip(classes.tolist(), counts.tolist(), strict=True) if n >= _ENOUGH
    ]
    if enough:
        ranked = sorted(enough, key=lambda each: right[each[0]] / each[1])
        whole = len(ranked) <= 2 * _SHOWN
        shown = ranked if whole else ranked[:_SHOWN]
        rows = [
            [names[c], str(n), percent(right[c] / n), interval(wilson(int(right[c]), n), 0)]
            for c, n in shown
        ]
        what = (
            "Every class"
            if whole
            else f"The {_SHOWN} classes it classifies worst, of {len(ranked)}"
        )
        blocks.append(
            Table(
                ["class", "pictures", "right", "95\N{NO-BREAK SPACE}% interval"],
                rows,
                f"{what}, worst first",
                right=(1, 2, 3),
            )
        )
    else:
        blocks.append(
            Text(
                f"There are only {count(len(labels), 'picture')} of "
                f"{count(len(classes), 'class', 'classes')}"
                f", fewer than {_ENOUGH} of each: too few to say which classes it classifies well."
            )
        )
    wrong = ~reading.right
    pairs = Counter(
        zip(reading.labels[wrong].tolist(), reading.winners[wrong].tolist(), strict=True)
    )
    common = [(pair, n) for pair, n in pairs.most_common(_SHOWN) if n > 1] or pairs.most_common(6)
    if common:
        rows = [[names[a], names[b], str(n)] for (a, b), n in common]
        blocks.append(
            Table(
                ["labelled", "predicted as", "pictures"], rows, "What it takes for what", right=(2,)
            )
        )
    first = [f"{names[a]} as {names[b]}" for (a, b), _ in common[:3]]
    data["confusions"] = [
        {"label": study.model.labels[a], "read_as": study.model.labels[b], "count": n}
        for (a, b), n in common
    ]
    if first and common[0][1] > 1:
        blocks.append(Text(f"Most often it takes {listed(first)}.", "note"))
    return blocks, data
