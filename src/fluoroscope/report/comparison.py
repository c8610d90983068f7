"""Two X-rays side by side on one page: before and after, or one network and another.

Where both have pictures in common within the same threat, every number is of these, and differences
are paired; where they have not, the page says so and gives none.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fluoroscope.engine.intervals import wilson
from fluoroscope.evaluation.curve import Curve
from fluoroscope.evaluation.runs.compare import RunSamples, paired, samples_of, shared_samples
from fluoroscope.evaluation.runs.table import SIGNIFICANT, Against, RunsTable, runs_table
from fluoroscope.pictures.plots import INK, LINE, SERIES, SOFT, Canvas, percent_axis
from fluoroscope.pictures.uris import signed_uri, uri
from fluoroscope.report.blocks import (
    Block,
    Card,
    Content,
    Facts,
    Figure,
    Gallery,
    Number,
    Numbers,
    Picture,
    Table,
    Text,
)
from fluoroscope.report.kept import KeptXray, open_xray
from fluoroscope.report.page import Missing, Shown, render
from fluoroscope.report.pictures import which_channels
from fluoroscope.report.portraits_compared import portraits_compared
from fluoroscope.report.xray import Report
from fluoroscope.words import (
    NORMS,
    Ruler,
    count,
    interval,
    percent,
    picture_name,
    sentence,
    shortened,
    some,
    whole_levels,
)

# Rows of a table that a reader looks at.
_SHOWN = 20
# A class that loses this share of its pictures, and so many, is named at the top.
_FALLEN, _FALLEN_PICTURES = 0.2, 3
_PLUS = "\N{PLUS SIGN}"
_MINUS = "\N{MINUS SIGN}"


def compare_reports(a: str | Path, b: str | Path, *, title: str | None = None) -> Report:
    """Two X-rays as one page, from the directories that ``xray(run=...)`` kept.

    Args:
        a: the first, such as the network before it was hardened; a directory of ``evaluate`` will
            do, too, for what it holds.
        b: the other.
        title: the page's heading.

    Raises:
        ResultFormatError: there is no X-ray with a verdict, several, or a damaged one.
    """
    pair = _Pair(open_xray(a), open_xray(b))
    named = title or f"{pair.names[0]} beside {pair.names[1]}"
    sections = tuple(_made(*one, pair) for one in _SECTIONS)
    record = {
        "a": {"path": str(pair.a.path), **pair.a.run.record},
        "b": {"path": str(pair.b.path), **pair.b.run.record},
        "compared": not pair.apart,
        "why_not": pair.apart or None,
    }
    return Report(render(named, pair.about, sections), named, sections, record)


class _Pair:
    """Two X-rays, and what can be said of both together."""

    def __init__(self, a: KeptXray, b: KeptXray) -> None:
        same = a.run.path.resolve() == b.run.path.resolve()
        self.table: RunsTable | None = None if same else runs_table([a.run.path, b.run.path])
        self.apart = "both are the same run" if same else self.table.rows[1].apart  # type: ignore[union-attr]
        self.against: Against | None = self.table.rows[1].against if self.table else None
        self.names = _names(a, b)
        self.counts = [len(one.clean_rows) for one in (a, b)]
        if self.against is not None:
            # With all their rows: these say whether both were shown the same pictures.
            self._shared = shared_samples(a.run, b.run)
            if max(self.counts) > self.against.count:
                a, b = a.of(self._shared[0]), b.of(self._shared[0])
        self.a, self.b, self.both = a, b, (a, b)
        self.rulers = [Ruler.of(one.run.threat, _channels(one)) for one in self.both]

    @property
    def about(self) -> str:
        """What it is of, in a line."""
        said = [
            f"{count(one.verdict.count, 'picture')} of {one.run.data}, attacks within {bound}"
            for one, bound in zip(self.both, self.bounds, strict=True)
        ]
        return said[0] if said[0] == said[1] else f"A: {said[0]}. B: {said[1]}."

    @property
    def notes(self) -> list[str]:
        """What is to be known of the comparison; that there is none, and why, stands above."""
        said = []
        if self.against is not None and max(self.counts) > self.against.count:
            sets = " and ".join(f"{number:,}" for number in self.counts)
            said.append(
                f"Of {sets} pictures {self.against.count:,} are in both, and every number on this "
                "page is of these"
            )
        for note in self.table.notes if self.table else ():
            for one, name in zip(self.both, self.names, strict=True):
                note = note.replace(str(one.run.path), name)
            said.append(note)
        return [note for note in said if " compared with " not in note]

    @property
    def bounds(self) -> list[str]:
        """How far pictures may move, of each."""
        return [
            f"{NORMS.get(ruler.norm, ruler.norm)} {ruler.short(float(one.run.threat.eps))}"
            for one, ruler in zip(self.both, self.rulers, strict=True)
        ]

    def samples(self) -> tuple[list[int], RunSamples, RunSamples]:
        """Numbers of the pictures that both have, and what each found of them."""
        shared, a, b = self._shared
        return shared.tolist(), a, b


def _names(a: KeptXray, b: KeptXray) -> list[str]:
    """What to call each: its network, its directory where they are of one name, else a letter."""
    by_network, by_place = (
        [shortened(name) for name in names]
        for names in ((a.name, b.name), (a.path.resolve().name, b.path.resolve().name))
    )
    for names in (by_network, by_place):
        if names[0] != names[1]:
            return names
    return [f"{name} ({letter})" for name, letter in zip(by_network, "AB", strict=True)]


def _channels(one: KeptXray) -> int:
    """Of the pictures; where none was kept, as the bound reads: 255ths are said of colours."""
    if one.maps is not None:
        return int(one.maps.images.shape[1])
    return 3 if whole_levels(float(one.run.threat.eps)) else 1


class _LeftOut(Exception):  # noqa: N818  said on the page
    """Why a section is not there."""


def _verdict(pair: _Pair) -> Content:
    found = [one.verdict for one in pair.both]
    numbers = [
        Number(
            f"{percent(getattr(found[0], which))} → {percent(getattr(found[1], which))}",
            words,
            _difference(pair.against, field) if pair.against else "not compared",
        )
        for which, field, words in (
            ("clean_accuracy", "clean", "clean accuracy"),
            ("robust_accuracy", "robust", "robust accuracy"),
        )
    ]
    lead = " ".join(filter(None, (_in_words(pair), _fallen(pair))))
    blocks: list[Block] = [Text(lead, "lead"), Numbers(numbers)]
    blocks += [Text(f"{note}.", "note") for note in pair.notes]  # they begin with a name
    names = pair.names
    blocks.append(
        Table(
            ["", *names],
            [
                ["network", *(one.run.model for one in pair.both)],
                ["weights (SHA-256)", *(one.run.model_sha256[:12] for one in pair.both)],
                ["pictures", *(f"{each.count:,}" for each in found)],
                ["attacks within", *pair.bounds],
                ["clean accuracy", *(percent(each.clean_accuracy) for each in found)],
                ["95\N{NO-BREAK SPACE}% interval", *(interval(e.clean_interval) for e in found)],
                ["robust accuracy", *(percent(each.robust_accuracy) for each in found)],
                ["95\N{NO-BREAK SPACE}% interval", *(interval(e.robust_interval) for e in found)],
                ["passes", *(f"{each.forwards + each.backwards:,}" for each in found)],
            ],
            "The two verdicts",
            right=(1, 2),
        )
    )
    return Content(blocks, {
        "a": found[0].describe(), "b": found[1].describe(), "apart": pair.apart or None,
        "against": pair.table.describe()["rows"][1]["against"] if pair.table else None,
    })  # fmt: skip


def _in_words(pair: _Pair) -> str:
    a, b = (one.verdict for one in pair.both)
    first, second = pair.names
    said = (
        f"{first} has a robust accuracy of {percent(a.robust_accuracy)}, {second} one of "
        f"{percent(b.robust_accuracy)}"
    )
    if pair.against is None:
        return f"{said}. They cannot be compared: {pair.apart}."
    robust, p_value = pair.against.robust, pair.against.p_robust
    if p_value >= SIGNIFICANT:
        return (
            f"{said}. On {count(pair.against.count, 'picture')} that difference may be chance "
            f"(p = {p_value:.2g})."
        )
    better = second if robust.difference > 0 else first
    return (
        f"{said}: {better} is more robust by {100 * abs(robust.difference):.1f} points, and chance "
        f"does not explain that (p {_p(p_value)})."
    )


def _fallen(pair: _Pair) -> str:
    """The class that loses most from the first to the second, where that is much."""
    if pair.against is None:
        return ""
    _, a, b = pair.samples()
    worst: tuple[float, str] = (0.0, "")
    for number in np.unique(a.named).tolist():
        of = a.named == number
        clean, robust = paired(a.right[of], b.right[of]), paired(a.robust[of], b.robust[of])
        most = min(clean, robust, key=lambda each: each.difference)
        if most.first - most.second < _FALLEN_PICTURES or -most.difference < _FALLEN:
            continue
        shares = [
            f"{percent(each.first_share, 0)} to {percent(each.second_share, 0)} {what}"
            for each, what in ((clean, "clean"), (robust, "under attack"))
        ]
        chance = ", which may be chance" if most.p_value >= SIGNIFICANT else ""
        said = (
            f"Class {shortened(pair.a.run.labels[number])} loses most, from {shares[0]} and from "
            f"{shares[1]}, on {count(int(of.sum()), 'picture')}{chance} (p {_p(most.p_value)})."
        )
        worst = min(worst, (most.difference, said))
    return worst[1]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def _points(value: float) -> str:
    return f"{_PLUS if value >= 0 else _MINUS}{100 * abs(value):.1f}"


def _difference(against: Against, field: str) -> str:
    pair, p_value = getattr(against, field), getattr(against, f"p_{field}")
    low, high = (_points(end) for end in pair.interval)
    return (
        f"{_points(pair.difference)} points, 95\N{NO-BREAK SPACE}% interval {low} to {high}, "
        f"p {_p(p_value)}"
    )


def _curve(pair: _Pair) -> Content:
    curves = [one.verdict.curve for one in pair.both]
    if curves[0] is None or curves[1] is None:
        raise _LeftOut(
            "Both runs would have to hold the smallest change of every picture; "
            f"{pair.names[0 if curves[0] is None else 1]} has none."
        )
    found = [curve for curve in curves if curve is not None]
    if found[0].norm != found[1].norm:
        raise _LeftOut(
            f"They are in other norms: {found[0].norm} and {found[1].norm} have no common axis."
        )
    rows = []
    for eps in _grid(pair, found):
        cells = [curve.at(eps) for curve in found]
        rows.append([
            pair.rulers[0].short(eps, 2) if eps else "nothing",
            *(cell for at in cells for cell in (percent(at.accuracy), interval(at.interval))),
        ])  # fmt: skip
    heads = [cell for name in pair.names for cell in (name, "95\N{NO-BREAK SPACE}% interval")]
    table = Table(
        ["change up to", *heads], rows, "Accuracy at some bounds", right=tuple(range(1, 5))
    )
    medians = [pair.rulers[0].short(curve.median) for curve in found]
    said = (
        f"Half of what it classifies correctly is fooled by a change of {medians[0]} for "
        f"{pair.names[0]}, and of {medians[1]} for {pair.names[1]}."
    )
    caption = (
        "The share of pictures that are classified correctly however they are changed, up to the "
        "size on the axis, which is logarithmic. Bands are 95 % intervals."
    )
    if pair.apart == "other pictures":
        caption += " The two are of other pictures: they do not answer the same question."
    blocks: list[Block] = [
        Text(said, "lead"),
        Figure(
            _plot(pair, found),
            says=f"Two curves of accuracy, which fall as the {pair.rulers[0].unit} grows. The "
            "numbers are in the table below.",
            caption=caption,
            table=table,
        ),
    ]
    return Content(blocks, {"a": found[0].describe(), "b": found[1].describe()})


def _grid(pair: _Pair, curves: Sequence[Curve]) -> list[float]:
    bound = max(float(one.run.threat.eps) for one in pair.both)
    inner = [float(f"{eps:.2g}") for eps in np.geomspace(bound / 16, bound, 6)[:-1]]
    return [0.0, *inner, *sorted({float(one.run.threat.eps) for one in pair.both}), 2 * bound]


def _plot(pair: _Pair, curves: Sequence[Curve]) -> str:
    from matplotlib.ticker import LogLocator

    ruler = pair.rulers[0]
    finite = np.concatenate(
        [c.distance[np.isfinite(c.distance) & (c.distance > 0)] for c in curves]
    )
    bounds = [float(one.run.threat.eps) for one in pair.both]
    ends = [*bounds, *(np.quantile(finite, (0.02, 1.0)).tolist() if len(finite) else [])]
    low, high = 0.6 * min(ends), 1.5 * max(ends)
    with (canvas := Canvas(5.0, 3.4)) as axes:
        for curve, name, colour in zip(curves, pair.names, SERIES, strict=False):
            points = [point for point in curve.points() if point.eps <= high]
            where = [ruler.scaled(eps) for eps in (low, *(at.eps for at in points[1:]), high)]
            shares = [at.accuracy for at in points]
            low_band, high_band = ([at.interval[end] for at in points] for end in (0, 1))
            axes.fill_between(
                where, [*low_band, low_band[-1]], [*high_band, high_band[-1]],
                step="post", color=colour, alpha=0.18, linewidth=0,
            )  # fmt: skip
            axes.step(where, [*shares, shares[-1]], where="post", color=colour, label=name)
        for bound in sorted(set(bounds)):
            axes.axvline(ruler.scaled(bound), color=SOFT, linewidth=1)
        axes.set_xscale("log")
        axes.set_xlim(ruler.scaled(low), ruler.scaled(high))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
        axes.set(xlabel=ruler.unit, ylabel="classified correctly")
        percent_axis(axes)
        axes.grid(color=LINE, alpha=0.5)
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.45, 1.16), ncols=2, fontsize=9, labelcolor=INK
        )
    return canvas.svg


def _calibration(pair: _Pair) -> Content:
    found = [one.calibration for one in pair.both]
    if all(one is None for one in found):
        raise _LeftOut("Neither directory holds how sure the network was of each picture.")
    known = [None if one is None else (one.confidence, one.error, one.by_chance) for one in found]
    rows = [["clean accuracy", *(percent(one.verdict.clean_accuracy) for one in pair.both)]]
    for place, what in enumerate(
        (
            "mean probability of the class predicted",
            "calibration error",
            "of that, up to so much is chance",
        )
    ):
        rows.append([what, *("not kept" if one is None else percent(one[place]) for one in known)])
    table = Table(["", *pair.names], rows, "Accuracy and calibration", right=(1, 2))
    data = {
        letter: None if one is None else {"error": one.error, "confidence": one.confidence}
        for letter, one in zip("ab", found, strict=True)
    }
    return Content([table], data)


def _classes(pair: _Pair) -> Content:
    if pair.against is None:
        a, b = (samples_of(one.run) for one in pair.both)
        if pair.a.run.labels != pair.b.run.labels:
            raise _LeftOut("The networks have other classes.")
    else:
        _, a, b = pair.samples()
    labels = pair.a.run.labels
    rows: list[tuple[float, list[str], dict[str, Any]]] = []
    for number in np.unique(np.concatenate([a.named, b.named])).tolist():
        of = [each.named == number for each in (a, b)]
        if pair.against is not None:
            of[1] = of[0]  # the same pictures, however the other numbers its classes
        counts = [int(mask.sum()) for mask in of]
        if not all(counts):
            continue
        shares = [
            float(flags[mask].mean())
            for field in ("right", "robust")
            for flags, mask in zip((getattr(a, field), getattr(b, field)), of, strict=True)
        ]
        change = shares[3] - shares[2]
        low, high = wilson(round(shares[3] * counts[1]), counts[1])
        rows.append((
            -abs(change),
            [
                shortened(labels[number]), f"{counts[0]:,}" if len(set(counts)) == 1 else
                f"{counts[0]:,} / {counts[1]:,}", *(percent(share, 0) for share in shares[:2]),
                *(percent(share, 0) for share in shares[2:]),
                _points(change) if pair.against else "–",
            ],
            {"class": labels[number], "counts": counts, "clean": shares[:2], "robust": shares[2:],
             "robust_interval_b": [low, high]},
        ))  # fmt: skip
    rows.sort(key=lambda row: row[0])
    heads = ["class", "pictures", "clean A", "clean B", "robust A", "robust B", "points"]
    shown = [cells for _, cells, _ in rows]
    a_name, b_name = pair.names
    named = f"A is {a_name}, B is {b_name}. Differences on few pictures may be chance."
    blocks: list[Block] = [
        Text(named, "note"),
        Table(heads, shown[:_SHOWN], "By class, the largest difference first",
              right=tuple(range(1, 7))),
    ]  # fmt: skip
    if len(shown) > _SHOWN:
        blocks.append(
            Table(heads, shown[_SHOWN:], "The other classes", right=tuple(range(1, 7)), folded=True)
        )
    return Content(blocks, {"classes": [data for *_, data in rows]})


def _fooled(pair: _Pair) -> Content:
    if pair.against is None:
        raise _LeftOut(f"They cannot be compared: {pair.apart}.")
    shared, a, b = pair.samples()
    names = pair.a.names | pair.b.names
    labels = pair.a.run.labels
    pictures = {
        index: image
        for one in pair.both
        if one.maps is not None
        for index, image in zip(one.maps.indices, one.maps.images, strict=True)
    }
    blocks: list[Block] = []
    data: dict[str, list[int]] = {}
    for which, name, lost, held in (("a", pair.names[0], a, b), ("b", pair.names[1], b, a)):
        # Of what both classify correctly, or the fault would be no attack's.
        rows = np.flatnonzero(lost.right & held.right & ~lost.robust & held.robust).tolist()
        data[which] = [shared[row] for row in rows]
        caption = f"Fooled in {name} alone: {count(len(rows), 'picture')}"
        if not rows:
            blocks.append(Text(f"{caption}."))
            continue
        of_class: dict[int, list[str]] = {}
        for row in rows:
            called = picture_name(names.get(shared[row], ""), shared[row])
            of_class.setdefault(int(a.named[row]), []).append(called)
        ranked = sorted(of_class.items(), key=lambda each: -len(each[1]))
        cells = [
            [shortened(labels[number]), f"{len(called):,}", some(called)]
            for number, called in ranked
        ]
        heads = ["class", "pictures", "which"]
        blocks.append(Table(heads, cells[:_SHOWN], caption, right=(1,)))
        if cells[_SHOWN:]:
            blocks.append(Table(heads, cells[_SHOWN:], "More classes", right=(1,), folded=True))
        seen = [row for row in rows if shared[row] in pictures]
        if seen:
            blocks.append(Gallery([
                Card(shortened(labels[a.named[row]]), [Picture(
                    uri(pictures[shared[row]]),
                    f"Picture {shared[row]}, which {name} alone is fooled on",
                    picture_name(names.get(shared[row], ""), shared[row]),
                )])
                for row in seen
            ]))  # fmt: skip
    return Content(blocks, data)


def _gradients(pair: _Pair) -> Content:
    maps = [one.maps for one in pair.both]
    if maps[0] is None or maps[1] is None:
        raise _LeftOut(
            f"Input gradients of {pair.names[0 if maps[0] is None else 1]} were not kept: make its "
            "report with the section gradients."
        )
    a, b = maps[0], maps[1]
    if pair.apart == "other pictures":
        raise _LeftOut("The two are of other pictures.")
    common = [index for index in a.indices if index in b.indices]
    if not common:
        raise _LeftOut("No picture's gradient was kept by both.")
    cards = []
    for index in common:
        one, other = a.indices.index(index), b.indices.index(index)
        said = [
            (which.gradients[row], shortened(kept.run.labels[which.winners[row]]), name)
            for which, row, kept, name in (
                (a, one, pair.a, pair.names[0]), (b, other, pair.b, pair.names[1]),
            )
        ]  # fmt: skip
        cards.append(
            Card(
                picture_name((pair.a.names | pair.b.names).get(index, ""), index),
                [
                    Picture(uri(a.images[one]), f"Picture {index}", "picture"),
                    *(
                        Picture(
                            signed_uri(gradient),
                            f"Gradient of {label} at each pixel, of {name}",
                            f"{name}: {label}",
                        )
                        for gradient, label, name in said
                    ),
                ],
            )
        )
    blocks: list[Block] = [
        Text(
            "Each map shows which way every pixel moves the score of the class that the network "
            "predicts: red where a lighter pixel speaks for it, blue where a darker one does."
        ),
        *which_channels(int(a.images.shape[1])),
        Gallery(cards),
    ]
    return Content(blocks, {"pictures": common})


def _portraits(pair: _Pair) -> Content:
    for one, name in zip(pair.both, pair.names, strict=True):
        if not one.portraits:
            raise _LeftOut(
                f"Portraits of {name} were not kept: make its report with the section portraits."
            )
    found = portraits_compared(pair.a, pair.b, pair.names)
    if found is None:
        raise _LeftOut("No class has a portrait of both.")
    return found


def _record(pair: _Pair) -> Content:
    facts = []
    for letter, one in zip("AB", pair.both, strict=True):
        record = one.run.record
        facts += [
            (f"{letter}", str(one.path)),
            (f"Network {letter}", f"{one.run.model}, SHA-256 {one.run.model_sha256}"),
            (
                f"Versions {letter}",
                ", ".join(f"{name} {record.get(name)}" for name in ("fluoroscope", "torch")),
            ),
        ]
    return Content([Facts(facts)], {})


_SECTIONS = (
    ("verdict", "The verdicts", _verdict),
    ("curve", "How much change they stand", _curve),
    ("clean", "On clean pictures", _calibration),
    ("classes", "Class by class", _classes),
    ("fooled", "Fooled in one alone", _fooled),
    ("gradients", "What they look at", _gradients),
    ("portraits", "What they believe a class looks like", _portraits),
    ("record", "What was compared", _record),
)


def _made(name: str, title: str, build: Any, pair: _Pair) -> Shown:
    try:
        content = build(pair)
    except _LeftOut as reason:
        return Shown(name, title, (), {}, Missing("This section was left out.", sentence(reason)))
    return Shown(name, title, content.blocks, content.data)
