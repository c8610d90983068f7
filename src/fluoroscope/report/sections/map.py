"""The map between classes: which one lies how far from which, and what is met on the way."""

from math import isfinite

from fluoroscope.evaluation.class_map import ClassMap, Pair
from fluoroscope.pictures.class_maps import class_map_figure
from fluoroscope.pictures.plots import page_style, svg
from fluoroscope.report.blocks import Block, Content, Figure, Heading, Table, Text
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.words import count, listed, number, sentence

# Classes up to which all pairs are drawn, and rows of the table of neighbours.
_DRAWN, _ROWS = 20, 20
# Searches from which on a distance tells of classes.
_ENOUGH = 3


@section("map", "Which classes lie next to each other", order=50)
def class_map(study: Study) -> Content:
    found = study.class_map
    near = sorted(
        (pair for pair in found.pairs if isfinite(pair.distance)), key=lambda pair: pair.distance
    )
    if not near:
        return Content(
            [Text("No picture was led to a class of choice, so there is no map.", "lead")],
            found.describe(),
        )
    searches = sorted(pair.searches for pair in found.pairs)
    middle = searches[len(searches) // 2]
    told = _in_words(study, found, near)
    if middle < _ENOUGH:
        told = (
            f"Most of these distances are of {count(middle, 'picture')} alone: they tell of "
            "pictures rather than of classes, and another choice may turn their order round. Of "
            f"these: {told[0].lower()}{told[1:]}"
        )
    blocks: list[Block] = [Text(told, "lead")]
    sources = sorted({pair.source for pair in found.pairs})
    whole = len(found.pairs) == len(found.labels) * (len(found.labels) - 1)
    if 2 < len(found.labels) <= _DRAWN and whole:
        blocks.append(_figure(study, found))
    blocks += [Heading("Nearest neighbours"), _neighbours(study, found, sources)]
    blocks.append(Text(f"How it was measured: {sentence(found.chosen)}", "note"))
    if not found.complete:
        blocks.append(Text("The time was up before the map was finished.", "note"))
    return Content(blocks, found.describe())


def _in_words(study: Study, found: ClassMap, near: list[Pair]) -> str:
    names, first, last = study.labels, near[0], near[-1]
    words = (
        f"The shortest way leads from {names[first.source]} to {names[first.target]}: a change of "
        f"{study.far(first.distance)} is enough. "
    )
    if len(near) > 1:
        words += (
            f"The longest is from {names[last.source]} to {names[last.target]}, at "
            f"{study.far(last.distance)}. "
        )
    met: dict[int, int] = {}
    for pair in found.pairs:
        for station in pair.stations:
            met[station.label] = met.get(station.label, 0) + station.count
    often = sorted(met, key=lambda label: -met[label])[:2]
    if often and met[often[0]] > 2:
        words += (
            f"Searches that aim elsewhere most often pass through "
            f"{listed([names[label] for label in often])}."
        )
    return words


def _figure(study: Study, found: ClassMap) -> Figure:
    scale = study.ruler.scaled(1.0)
    with page_style():
        figure = class_map_figure(
            found.distance * scale, study.labels, norm=study.ruler.norm, title=""
        )
        figure.axes[-1].set_ylabel(f"median {study.ruler.unit}")
        drawn = svg(figure)
    names = study.labels
    rows = [
        [
            names[row],
            *(
                "–" if row == column else number(found.distance[row, column] * scale, 2)
                for column in range(len(names))
            ),
        ]
        for row in range(len(names))
    ]
    return Figure(
        drawn,
        says="Heat map of the median smallest change from each class (rows) to each other one "
        "(columns), classes that lie close together side by side. The numbers are in the table "
        "below.",
        wide=True,
        caption=(
            "The median smallest change that leads pictures of the class in the row to the class "
            "in the column; dark is near. Classes that lie close together stand side by side, and "
            "the tree above joins the nearest first."
        ),
        table=Table(
            ["from \\ to", *names],
            rows,
            f"Median {study.ruler.unit}",
            right=tuple(range(1, len(names) + 1)),
        ),
    )


def _neighbours(study: Study, found: ClassMap, sources: list[int]) -> Table:
    names = study.labels
    nearest = {label: found.neighbours(label) for label in sources}
    ranked = sorted(
        (label for label in sources if nearest[label]), key=lambda one: nearest[one][0].distance
    )
    rows = []
    for label in ranked[:_ROWS]:
        words = [f"{names[p.target]} ({study.far(p.distance, 2)})" for p in nearest[label]]
        met: dict[int, int] = {}
        for pair in found.pairs:
            if pair.source == label:
                for station in pair.stations:
                    met[station.label] = met.get(station.label, 0) + station.count
        often = sorted(met, key=lambda one: -met[one])[:3]
        rows.append([names[label], ", ".join(words), ", ".join(names[one] for one in often) or "–"])
    left = len(ranked) - len(rows)
    return Table(
        ["class", "its nearest, with the change needed", "met most often on its ways elsewhere"],
        rows,
        "The most easily crossed first" + (f"; {left} more left out" if left else ""),
    )
