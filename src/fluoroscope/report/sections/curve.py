"""Accuracy against the size of the change, beside networks that everybody has."""

from math import isfinite

import numpy as np

from fluoroscope.engine.grid import HALF_A_LEVEL
from fluoroscope.evaluation.curve import QUANTILES, Curve
from fluoroscope.pictures.curves import add_legend
from fluoroscope.pictures.plots import INK, LINE, SERIES, SOFT, Canvas, percent_axis
from fluoroscope.report.blocks import Block, Content, Figure, Table, Text
from fluoroscope.report.references import Reference, references
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.words import count, interval, listed, percent, shortened

# Bounds in the table.
_BOUNDS = 8
_CLASSES = 20
# Pictures that a class needs to have a place among them; classes without that are named.
_ENOUGH, _NAMED = 5, 5


@section("curve", "How much change it stands", order=30)
def curve(study: Study) -> Content:
    found = study.curve
    alike = references(found.norm, study.model.channels, study.side)
    others = [one for one in alike if one.model != study.model.name]
    blocks: list[Block] = [
        Text(_in_words(study, found, others), "lead"),
        _figure(study, found, others),
        _table(study, found, others),
    ]
    by_class = {label: one for label, one in found.classes.items() if one.right >= _ENOUGH}
    if 1 < len(by_class) <= _CLASSES:
        blocks.append(_by_class(study, by_class))
        few = [name for label, name in enumerate(study.labels) if label not in by_class]
        if few:
            named = few if len(few) <= _NAMED else [*few[:_NAMED], f"{len(few) - _NAMED} more"]
            blocks.append(
                Text(
                    f"Not in that table, as fewer than {_ENOUGH} of the pictures attacked are of "
                    f"them and classified correctly: {listed(named)}.",
                    "note",
                )
            )
    return Content(blocks, found.describe())


def _in_words(study: Study, found: Curve, others: list[Reference]) -> str:
    ruler = study.ruler
    if not found.right:
        return "It classifies none of these pictures correctly: there is nothing to take away."
    if not isfinite(found.median):
        return (
            "Fewer than half of the pictures that it classifies correctly were led to another "
            "class by any change at all: either it is very robust, or these attacks do not reach "
            "it. See whether the verdict can be trusted."
        )
    quarter, three = found.quantile(0.25), found.quantile(0.75)
    words = (
        f"Half of the pictures that it classifies correctly are misclassified after a change of "
        f"{ruler.short(found.median)} or less, {ruler.measure}; a quarter after "
        f"{ruler.short(quarter)}, three quarters after {ruler.short(three)}."
    )
    if study.vanishes(found.median):
        words += (
            " The first is less than half a level of 8 bits (0.5/255): a saved picture cannot hold "
            "such a change."
        )
    nearest = [one for one in others if isfinite(one.median) and one.data == study.images.name]
    ratios = [(found.median / one.median, one.model) for one in nearest]
    return " ".join(
        [words, *(f"That is {_times(ratio)} what {model} stands." for ratio, model in ratios)]
    )


def _times(ratio: float) -> str:
    if 0.9 <= ratio <= 1.1:
        return "about"
    return f"{ratio:.2g} times" if ratio > 1 else f"1/{1 / ratio:.2g} of"


def _figure(study: Study, found: Curve, others: list[Reference]) -> Figure:
    from matplotlib.ticker import LogLocator

    ruler, points = study.ruler, found.points()
    finite = found.distance[np.isfinite(found.distance) & (found.distance > 0)]
    own = [float(np.quantile(finite, share)) for share in (0.02, 1.0)] if len(finite) else []
    ends = [one.eps[2] for one in others] + [one.eps[-1] for one in others]
    ends += [*own, study.eps]
    low, high = 0.6 * min(ends), 1.5 * max(ends)
    named = []
    with (canvas := Canvas(5.0, 3.4)) as axes:
        for number, one in enumerate(others, 1):
            where = [ruler.scaled(eps) for eps in (low, *one.eps[1:], high)]
            [line] = axes.step(
                where, [*one.accuracy, one.accuracy[-1]], where="post", color=SERIES[number],
                linewidth=1.3, linestyle="--",
            )  # fmt: skip
            named.append((line, one.model))
        where = [ruler.scaled(eps) for eps in (low, *(at.eps for at in points[1:]), high)]
        shares = [at.accuracy for at in points]
        bounds = [at.interval for at in points]
        axes.fill_between(
            where, [*(b[0] for b in bounds), bounds[-1][0]],
            [*(b[1] for b in bounds), bounds[-1][1]],
            step="post", color=SERIES[0], alpha=0.18, linewidth=0,
        )  # fmt: skip
        [line] = axes.step(where, [*shares, shares[-1]], where="post", color=SERIES[0])
        named.append((line, shortened(study.name, 24)))
        axes.axvline(ruler.scaled(study.eps), color=SOFT, linewidth=1)
        axes.annotate(
            "verdict", (ruler.scaled(study.eps), 1.03), (0, 2), textcoords="offset points",
            ha="center", va="bottom", fontsize=8.5, color=SOFT,
        )  # fmt: skip
        axes.set_xscale("log")
        if study.vanishes(low):
            ends_at = min(HALF_A_LEVEL, high)
            axes.axvspan(
                ruler.scaled(low), ruler.scaled(ends_at), color=LINE, alpha=0.35, linewidth=0
            )
        axes.set_xlim(ruler.scaled(low), ruler.scaled(high))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
        axes.set(xlabel=ruler.unit, ylabel="accuracy")
        percent_axis(axes)
        axes.grid(color=LINE, alpha=0.5)
        add_legend(
            axes, named, loc="upper center", bbox_to_anchor=(0.45, 1.2), ncols=3, fontsize=9,
            labelcolor=INK, handlelength=1.6, columnspacing=1.2,
        )  # fmt: skip
    names = [study.name, *(one.model for one in others)]
    rows = [
        [study.far(at.eps), percent(at.accuracy), interval(at.interval),
         *(percent(one.at(at.eps)) for one in others)]
        for at in found.points(24)
    ]  # fmt: skip
    # In 8 bits many distances are one and the same up to rounding.
    rows = list({row[0]: row for row in rows}.values())
    return Figure(
        canvas.svg,
        says=f"Curves of accuracy, which fall as the {ruler.unit} grows, for {', '.join(names)}. "
        "The numbers are in the table below.",
        caption=(
            "Robust accuracy: the share of pictures classified correctly however they are changed, "
            "up to the size on the axis, which is logarithmic. The band is the 95 % interval; the "
            "upright line is the verdict's bound."
            + (
                " On the grey ground a change is less than half a level of 8 bits, and lost when "
                "the picture is saved."
                if study.vanishes(low)
                else ""
            )
            + (
                " Dashed, to hold it beside, networks of the same kind on their own pictures: "
                + "; ".join(
                    f"{one.model}, {one.about} ({count(one.count, 'picture')} of {one.data})"
                    for one in others
                )
                + "."
                if others
                else ""
            )
        ),
        table=Table(
            ["change up to", "accuracy", "95\N{NO-BREAK SPACE}% interval",
             *(one.model for one in others)],
            rows,
            "Accuracy against the size of the change",
            right=tuple(range(3 + len(others))),
        ),
    )  # fmt: skip


def _table(study: Study, found: Curve, others: list[Reference]) -> Table:
    low = min(study.eps / 16, max(found.quantile(0.1), study.eps / 1000))
    grid = [*np.geomspace(low, study.eps, _BOUNDS - 1)[:-1], study.eps, 2 * study.eps]
    at = [found.at(0.0), *(found.at(float(f"{eps:.2g}")) for eps in grid[:-2])]
    at += [found.at(eps) for eps in grid[-2:]]
    return Table(
        ["change up to", "accuracy", "95\N{NO-BREAK SPACE}% interval",
         *(one.model for one in others)],
        [
            [
                "nothing" if not one.eps else study.far(one.eps, 2),
                percent(one.accuracy),
                interval(one.interval),
                *(percent(other.at(one.eps)) for other in others),
            ]
            for one in at
        ],
        "Accuracy at some bounds",
        right=tuple(range(1, 3 + len(others))),
    )  # fmt: skip


def _by_class(study: Study, by_class: dict[int, Curve]) -> Table:
    ranked = sorted(by_class.items(), key=lambda each: each[1].median)
    low, high = QUANTILES[0], QUANTILES[-1]
    return Table(
        ["class", "pictures", "median", f"{low:.0%} within", f"{high:.0%} within"],
        [
            [
                study.labels[label],
                f"{one.right:,}",
                study.far(one.median),
                study.far(one.quantile(low)),
                study.far(one.quantile(high)),
            ]
            for label, one in ranked
        ],
        "The smallest change by class, the most fragile first",
        right=(1, 2, 3, 4),
        folded=True,
    )
