"""What pictures of classes are worth: all measures, what stands beside them, and the flags."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import output_directory
from fluoroscope.inversion.measures.flags import Flag
from fluoroscope.inversion.measures.layer_path import AtLayer
from fluoroscope.inversion.measures.measure import REFERENCE_WORDS, REFERENCES, Measure, Value
from fluoroscope.models.labels import printable
from fluoroscope.models.wording import did_you_mean
from fluoroscope.pictures import html
from fluoroscope.sealed_files import read_record, write_record
from fluoroscope.words import network_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
FILE = "assessment.json"
COLUMNS = (
    "own accuracy", "second accuracy", "second confidence", "Vendi within a class", "recall",
    "precision", "nearest training, pixels", "survives rounding", "two-alternative test",
    "way through the layers",
)  # fmt: skip
"""What a row of a table of several methods has room for."""
# Bytes of a file that is read back; measures that a page has room for.
_MOST, _ROWS = 4 * 2**20, 60
_LETTERS = 2_000


@dataclass(frozen=True, kw_only=True, repr=False)
class Assessment(html.Shown):
    """What pictures of classes are worth."""

    measures: tuple[Measure, ...]
    flags: tuple[Flag, ...]
    """The weightiest first."""
    ways: dict[str, tuple[AtLayer, ...]]
    """What each layer says: of the pictures (``made``) and of what stands beside them."""
    needs_data: bool | None
    """Whether the method that made them was given real pictures; ``None`` if nobody said."""
    record: dict[str, Any]
    """Networks, pictures and settings, as plain values."""
    notes: tuple[str, ...] = ()

    def of(self, name: str) -> Measure:
        """One measure.

        Raises:
            InvalidParameterError: there is none of that name.
        """
        for one in self.measures:
            if one.name == name:
                return one
        names = [one.name for one in self.measures]
        raise InvalidParameterError(
            f"the assessment has no measure {name!r}; {did_you_mean(name, names)}expected one of "
            f"{', '.join(names)}"
        )

    @property
    def collapsed(self) -> bool:
        """Whether any class has hardly more than one picture; the flag's words name them."""
        return any(flag.name == "collapsed" for flag in self.flags)

    @property
    def headline(self) -> str:
        """What it comes to in a line: the flags first, for with them no number is a success."""
        spoiled = [flag.short for flag in self.flags if flag.spoils]
        beside = [flag.short for flag in self.flags if not flag.spoils]
        own, second = self.of("own accuracy"), self.of("second accuracy")
        said = f"{own.words()} classified as their class by the network"
        if second.value is not None:
            said += f", {second.words()} by the second"
        else:
            said += ", by a second network not measured"
        if beside:
            said += f"; {', '.join(beside)}"
        return f"{', '.join(spoiled).upper()}: {said}" if spoiled else said

    @property
    def not_measured(self) -> dict[str, list[str]]:
        """What was not measured, by what is needed for it."""
        found: dict[str, list[str]] = {}
        for one in self.measures:
            if one.value is None:
                found.setdefault(one.missing, []).append(one.name)
        return found

    def row(self, columns: tuple[str, ...] = COLUMNS) -> list[str]:
        """The words of some measures, whether the method needs data, and the flags."""
        cells = [one.words() if one.value else "–" for one in map(self.of, columns)]
        return [*cells, *self._told()]

    def markdown_row(self, name: str, columns: tuple[str, ...] = COLUMNS) -> str:
        """A row of a table in Markdown, under :func:`markdown_head`."""
        return _row([name, *self.row(columns)])

    def _told(self) -> list[str]:
        needs = {True: "needs data", False: "no", None: "not said"}[self.needs_data]
        return [needs, ", ".join(flag.name for flag in self.flags) or "none"]

    def table(self) -> list[list[str]]:
        """Of each measure: name, number, real, noise, random weights, of how many, interval."""
        return [
            [
                one.name,
                one.words() if one.value else "not measured",
                *(one.reference(name) for name in REFERENCES),
                one.many(),
                one.interval(),
            ]
            for one in self.measures
        ]

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "headline": self.headline,
            "flags": [flag.describe() for flag in self.flags],
            "needs_data": self.needs_data,
            "measures": [one.describe() for one in self.measures],
            "layers": {name: [one.describe() for one in way] for name, way in self.ways.items()},
            "record": self.record,
            "notes": list(self.notes),
        }

    def save(self, directory: str | Path) -> Path:
        """Write ``assessment.json`` into a directory; it appears whole or not at all.

        Raises:
            InvalidParameterError, StorageError: it cannot be written.
        """
        return write_record(output_directory(directory) / FILE, self.describe(), FORMAT)

    @classmethod
    def load(cls, path: str | Path) -> "Assessment":
        """Read back what :meth:`save` wrote: the file, or the directory it is in.

        Raises:
            ResultFormatError: no such file, or one that is broken or of another version.
        """
        return read_record(
            path, FILE, FORMAT, from_plain,
            most=_MOST, one="assessment", wrote="fluoroscope invert assess",
        )  # fmt: skip

    def figure(self) -> "Figure":
        """The way through the layers: how like real pictures of the class, layer by layer."""
        return way_figure(self.ways)

    def _line(self) -> str:
        return f"{network_name(str(self.record.get('model')))}: {self.headline}"

    def _view(self) -> Iterator[html.Html]:
        for flag in self.flags:
            yield html.paragraph(flag.words)
        yield html.table(
            ("measure", "value", *(REFERENCE_WORDS[each] for each in REFERENCES), "of", "95 %"),
            self.table(),
            right=(1, 2, 3, 4, 5, 6),
            most=_ROWS,
        )
        yield html.notes([*missing_words(self), *self.notes])


def markdown_head(columns: tuple[str, ...] = COLUMNS, first: str = "method") -> str:
    """The head of a table of :meth:`Assessment.markdown_row`."""
    names = [first, *columns, "needs data", "flags"]
    return f"{_row(names)}\n|{'---|' * len(names)}"


def missing_words(found: Assessment) -> list[str]:
    """What was not measured and why, a sentence each."""
    return [f"not measured, for it needs {needs}: {'; '.join(names)}"
            for needs, names in found.not_measured.items()]  # fmt: skip


def way_figure(ways: dict[str, tuple[AtLayer, ...]]) -> "Figure":
    """How like real pictures of their class pictures are, layer by layer, beside real ones."""
    from matplotlib.figure import Figure

    made = ways.get("made", ())
    figure = Figure(figsize=(7.0, 3.6), layout="constrained", dpi=150)
    axes = figure.subplots()
    places = range(len(made))
    for label, colour, style, values in (
        ("these pictures and real ones of their class", "#D55E00", "-", [one.made for one in made]),
        ("real pictures of a class", "#0072B2", "-", [one.same for one in made]),
        ("real pictures of a class and of others", "#666666", "--", [one.others for one in made]),
    ):
        axes.plot(places, values, color=colour, linestyle=style, marker="o", markersize=4)
        if values:
            axes.plot([], [], color=colour, linestyle=style, marker="o", markersize=4, label=label)
    for place, one in enumerate(made):
        if not one.tells:
            axes.axvspan(place - 0.5, place + 0.5, color="#000000", alpha=0.06, linewidth=0)
    axes.set_xticks(list(places))
    axes.set_xticklabels(
        [one.layer[-18:] for one in made], rotation=45, ha="right", fontsize=8, parse_math=False
    )
    axes.set_xlabel("layer, first to last")
    axes.set_ylabel("similarity (mean cosine)")
    axes.grid(alpha=0.25)
    if made:
        axes.legend(fontsize=8, loc="upper left")
    return figure


def _row(cells: list[str]) -> str:
    clean = [" ".join(cell.replace("|", "\\|").split()) for cell in cells]
    return f"| {' | '.join(clean)} |"


def from_plain(found: dict[str, Any]) -> Assessment:
    """What :meth:`Assessment.describe` told of; what is no such thing raises as it may."""
    needs = found["needs_data"]
    if needs is not None and not isinstance(needs, bool):
        raise TypeError(f"needs_data is {needs!r}")
    measures = tuple(_measure(one) for one in found["measures"])
    lacking = {"own accuracy", "second accuracy", *COLUMNS} - {one.name for one in measures}
    if lacking:
        raise ValueError(f"it has no measure {sorted(lacking)[0]!r}")
    return Assessment(
        measures=measures,
        flags=tuple(
            Flag(
                printable(one["name"]), printable(one["words"]), bool(one["spoils"]),
                printable(one.get("where", "")),
            )
            for one in found["flags"]
        ),
        ways={
            printable(name): tuple(
                AtLayer(
                    printable(one["layer"]), float(one["made_to_same"]), float(one["real_to_same"]),
                    float(one["real_to_others"]),
                )
                for one in way
            )
            for name, way in found["layers"].items()
        },
        needs_data=needs,
        record=dict(found["record"]),
        notes=tuple(map(printable, found["notes"])),
    )  # fmt: skip


def _measure(found: dict[str, Any]) -> Measure:
    kind = found["kind"]
    if kind not in ("share", "number"):
        raise ValueError(f"a measure is of the kind {kind!r}")
    return Measure(
        printable(found["name"]),
        _value(found) if found["measured"] else None,
        {printable(name): _value(one) for name, one in found["references"].items()},
        kind,
        printable(found["missing"]),
        printable(found["about"]),
    )


def _value(found: dict[str, Any]) -> Value:
    ends, value = found["interval"], found["value"]
    return Value(
        math.inf if value is None else float(value),
        int(found["count"]),
        None if ends is None else (float(ends[0]), float(ends[1])),
    )
