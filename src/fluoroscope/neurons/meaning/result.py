"""What the units of a layer mean on real pictures, and what an attack makes of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.labels import printable
from fluoroscope.neurons.meaning.class_similarity import ClassSimilarity
from fluoroscope.neurons.meaning.definitions import DEFINITIONS, FEW
from fluoroscope.neurons.meaning.figures import levels_figure, ratios_figure
from fluoroscope.neurons.meaning.resampling import Number
from fluoroscope.pictures import html
from fluoroscope.pictures.plots import SERIES, page_style
from fluoroscope.sealed_files import Kind, plain, read_sealed, write_sealed
from fluoroscope.words import class_names, count, network_name, number, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KIND = Kind("consistency", "consistency of units", "consistencies of units")
_PER_UNIT = (
    "level", "level_adversarial", "cs1", "cs2", "cs1_chance", "cs2_chance", "sensitivity",
    "relative_sensitivity", "label_real", "label_adversarial", "shared", "adversarial_only",
    "never_real",
)  # fmt: skip
_OPTIONAL = ("label_noisy", "flips_noise", "flips_attack")
_PER_PICTURE = ("r1", "r2", "r1_real")
_WHOLE = ("label_real", "label_noisy", "label_adversarial", "shared", "adversarial_only",
          "never_real", "flips_noise", "flips_attack")  # fmt: skip
LABELS = {"label_real": "label", "label_noisy": "label_noisy",
          "label_adversarial": "label_adversarial"}  # fmt: skip
ROWS = (
    ("level", "level of consistency"),
    ("level_adversarial", "the same, adversarial"),
    ("cs1", "CS1 (true classes)"),
    ("cs1_chance", "CS1 at chance"),
    ("cs2", "CS2 (target classes)"),
    ("cs2_chance", "CS2 at chance"),
    ("r1", "r1 (class means)"),
    ("r1_below_1", "r1 below 1"),
    ("r1_real", "r1 of real pictures"),
    ("r2", "r2 (source, nearest)"),
    ("r2_below_1", "r2 below 1"),
    ("relative_sensitivity", "sensitivity, in spreads"),
    ("flips_noise", "label flips, noise"),
    ("flips_attack", "label flips, attack"),
    ("shared", "units shared"),
)
"""Numbers of the layer in the order of tables, and what they are called there."""
SHARES = ("r1_below_1", "r2_below_1", "flips_noise", "flips_attack", "shared")


@dataclass(frozen=True)
class Bin:
    """Units of about the same level of consistency."""

    level: float
    """Their mean."""
    ends: tuple[float, float]
    """The lowest and the highest."""
    cs1: Number
    cs2: Number

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {"level": self.level, "ends": list(self.ends), "cs1": self.cs1.describe(),
                "cs2": self.cs2.describe()}  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Consistency(html.Shown):
    """Of ``K`` units, and of the layer: what they mean, and whether that survives an attack."""

    labels: tuple[str, ...]
    """The network's classes."""
    concepts: tuple[str, ...]
    """What units are named by: the classes, or what the user gave."""
    similarity: ClassSimilarity
    units: dict[str, NDArray[Any]]
    """By name, ``(K,)``: ``level``, ``level_adversarial``, ``cs1``, ``cs2`` and what these two are
    at chance level, ``sensitivity``, ``relative_sensitivity``, ``label_real``, ``label_noisy`` and
    ``label_adversarial`` (a number among ``concepts``, -1 for none, or several that are level),
    ``flips_noise`` and ``flips_attack`` (1 where it flipped, 0 where not, -1 where unknown),
    ``shared`` and ``adversarial_only`` (for how many classes), ``never_real`` (1 where only
    adversarial pictures use it). NaN where a unit moves on no picture.
    """
    pictures: dict[str, NDArray[np.float64]]
    """By name, of each adversarial picture ``(M,)``: ``r1``, ``r2``, and ``r1_real`` of the one it
    was made of. NaN where something that it needs is not there."""
    layer: dict[str, Number]
    """Means over units, pictures or classes, with intervals over pictures."""
    bins: tuple[Bin, ...]
    """Units by their level of consistency, the lowest first."""
    record: dict[str, Any]
    """Network, layer, pictures and settings, as plain values."""
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """What it comes to in a line."""
        one, two = self.layer["cs1"], self.layer["cs2"]
        if one.interval is None or two.interval is None:
            side = "whose side its units take was not measured"
        elif one.interval[0] > max(two.interval[1], self.layer["cs1_chance"].value):
            side = "under attack its units go with what a picture shows"
        elif two.interval[0] > max(one.interval[1], self.layer["cs2_chance"].value):
            side = "under attack its units go with the class a picture was aimed at"
        else:
            side = "under attack its units go clearly with neither the picture nor the target"
        r1 = self.layer["r1_below_1"]
        near = "" if not r1.count else (
            f"; {percent(r1.value, 0)} of the representations lie nearer to their own class"
        )  # fmt: skip
        return f"{self._doubt}{side} (CS1 {one.words()}, CS2 {two.words()}){near}"

    @property
    def _doubt(self) -> str:
        """That most of these pictures are no attack's success, where they are not."""
        success = self.record.get("targeted_success")
        if not isinstance(success, float) or success >= FEW:
            return ""
        fooled = "none" if success == 0 else f"only {percent(success)}"
        return f"of an attack that fails: {fooled} of its pictures are predicted as their target; "

    @property
    def pictures_words(self) -> str:
        """Which pictures it is of, and what the network makes of them, in a line."""
        many, success = self.record.get("pictures", {}), self.record.get("targeted_success")
        if not isinstance(many, dict) or not isinstance(success, float):
            return ""
        return (
            f"{count(int(many.get('real', 0)), 'real picture')}, "
            f"{percent(float(self.record.get('accuracy') or 0))} classified correctly; "
            f"{count(int(many.get('adversarial', 0)), 'adversarial picture')}, "
            f"{percent(success)} predicted as their target; "
            f"{self.record.get('top')} of each kind for a unit"
        )

    @property
    def rows(self) -> list[list[str]]:
        """Of each number of the layer: its name, value, interval, of how many, how sure."""
        return [
            [words, _cell(found, name), _ends(found, name), f"{found.count:,} {found.of}",
             _reading(name)]
            for name, words in ROWS
            if (found := self.layer.get(name)) is not None and found.count
        ]  # fmt: skip

    @property
    def bin_rows(self) -> list[list[str]]:
        """Of each bin of the level of consistency: ends, units, CS1 and CS2 with intervals."""
        return [
            [f"{number(one.ends[0])} to {number(one.ends[1])}", f"{one.cs1.count:,}",
             one.cs1.words(), one.cs1.ends(), one.cs2.words(), one.cs2.ends()]
            for one in self.bins
        ]  # fmt: skip

    def unit_rows(self, most: int = 10) -> list[list[str]]:
        """The units of the highest level of consistency: number, label, what becomes of it."""
        units = self.units
        level = np.nan_to_num(units["level"], nan=-1.0)
        order = np.lexsort((np.arange(len(level)), -level))[:most]
        return [
            [str(unit), self.named(units["label_real"][unit]),
             self.named(units["label_adversarial"][unit]),
             *(number(float(units[name][unit]))
               for name in ("level", "cs1", "cs2", "relative_sensitivity"))]
            for unit in order.tolist()
        ]  # fmt: skip

    def named(self, label: int) -> str:
        """The class or concept of that number; a dash for none."""
        return class_names(self.concepts, 20)[label] if label >= 0 else "–"

    def figure(self, colours: tuple[str, ...] | None = None) -> "Figure":
        """CS1 and CS2 by the level of consistency, as in Fig. 8 of Dong et al. (2017)."""
        chance = {name: self.layer[f"{name}_chance"].value for name in ("cs1", "cs2")}
        bins = [(one.level, {"cs1": one.cs1, "cs2": one.cs2}) for one in self.bins]
        return levels_figure(bins, chance, colours)

    def figure_of_representations(self, colours: tuple[str, ...] | None = None) -> "Figure":
        """How r1 and r2 are distributed over adversarial pictures, as in their Fig. 9."""
        return ratios_figure(self.pictures, colours)

    def describe(self) -> dict[str, Any]:
        """As plain values, with what each number is and how sure that is."""
        found = plain(
            {
                "headline": self.headline,
                "layer": {name: one.describe() for name, one in self.layer.items()},
                "bins": [one.describe() for one in self.bins],
                "units": self._units(),
                "pictures": {name: values.tolist() for name, values in self.pictures.items()},
                "similarity": self.similarity.describe(),
                "definitions": {name: one.describe() for name, one in DEFINITIONS.items()},
                "record": self.record,
                "notes": list(self.notes),
            }
        )
        assert isinstance(found, dict)
        return found

    def _units(self) -> list[dict[str, Any]]:
        columns = {name: values.tolist() for name, values in self.units.items()}
        for name in (*_PER_UNIT, *_OPTIONAL):
            if name.startswith("label_") and name in columns:
                columns[name] = [
                    self.concepts[label] if label >= 0 else None for label in columns[name]
                ]
        many = len(self.units["level"])
        return [
            {"unit": unit, **{name: values[unit] for name, values in columns.items()}}
            for unit in range(many)
        ]

    def save(self, directory: str | Path, name: str = KIND.name) -> list[Path]:
        """Write ``NAME.safetensors`` and ``NAME.json``; each appears whole or not at all.

        Raises:
            InvalidParameterError, StorageError: they cannot be written.
        """
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(values))
            for name, values in {**self.units, **self.pictures}.items()
        }
        tensors["similarity"] = torch.from_numpy(np.ascontiguousarray(self.similarity.matrix))
        layer = {key: _exact(one) for key, one in self.layer.items()}
        bins = [{"level": one.level, "ends": list(one.ends), "cs1": _exact(one.cs1),
                 "cs2": _exact(one.cs2)} for one in self.bins]  # fmt: skip
        about = self.similarity
        record = {
            "labels": list(self.labels), "concepts": list(self.concepts), "layer": layer,
            "bins": bins, "record": self.record, "notes": list(self.notes),
            "similarity": {"kind": about.kind, "words": about.words, "certainty": about.certainty,
                           "notes": list(about.notes)},
            "definitions": {key: one.describe() for key, one in DEFINITIONS.items()},
        }  # fmt: skip
        return write_sealed(KIND, directory, name, tensors, record)

    @classmethod
    def load(cls, path: str | Path) -> "Consistency":
        """Read back what :meth:`save` wrote: the JSON, or the directory it is in.

        Raises:
            ResultFormatError: no such file, or one that is broken or of another version.
        """
        return read_sealed(KIND, path, _made)

    def _line(self) -> str:
        of = f"{network_name(str(self.record.get('model')))}, {self.record.get('layer')}"
        return f"{of}: {self.headline}"

    def _view(self) -> Iterator[html.Html]:
        yield html.paragraph(self.pictures_words)
        yield html.table(("", "value", "95 %", "of", "reading"), self.rows, right=(1, 2),
                         most=len(ROWS))  # fmt: skip
        if self.bins:
            with page_style():
                figure = self.figure(SERIES)
            yield html.plot(figure, "CS1 and CS2 of units by their level of consistency")
        with page_style():
            figure = self.figure_of_representations(SERIES)
        yield html.plot(figure, "how r1 and r2 are distributed over adversarial pictures")
        yield html.paragraph(f"Similarity of classes: {self.similarity.words}.")
        yield html.notes(self.notes)


def _cell(found: Number, name: str) -> str:
    return percent(found.value) if name in SHARES and np.isfinite(found.value) else found.words()


def _ends(found: Number, name: str) -> str:
    if found.interval is None or name not in SHARES:
        return found.ends()
    low, high = found.interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _reading(name: str) -> str:
    """How sure it is that the source means the same."""
    own = next((key for key in DEFINITIONS if name == key), None)
    base = own or name.split("_")[0]
    return "control" if name.endswith(("_chance", "_real")) else DEFINITIONS[base].reading


def _exact(one: Number) -> dict[str, Any]:
    """A number with what JSON has no word for in words."""
    value = one.value if np.isfinite(one.value) else str(one.value)
    ends = None if one.interval is None else list(one.interval)
    return {"value": value, "interval": ends, "count": one.count, "of": one.of}


def _number(found: dict[str, Any]) -> Number:
    ends = found["interval"]
    return Number(
        float(found["value"]), None if ends is None else (float(ends[0]), float(ends[1])),
        int(found["count"]), printable(found["of"]),
    )  # fmt: skip


def _made(record: dict[str, Any], tensors: dict[str, Tensor]) -> Consistency:
    """What :meth:`Consistency.save` wrote; what is no such thing raises as it may."""
    concepts = tuple(map(printable, record["concepts"]))
    units = {name: tensors[name] for name in (*_PER_UNIT, *_OPTIONAL) if name in tensors}
    for name in _PER_UNIT:
        _check(name, units[name], len(units["level"]))
    for name in _OPTIONAL:
        if name in units:
            _check(name, units[name], len(units["level"]))
    for name, values in units.items():
        if name.startswith("label_") and not bool(
            ((values >= -1) & (values < len(concepts))).all()
        ):
            raise ValueError(f"{name} names none of {len(concepts)} concepts")
    for name in _PER_PICTURE:
        _check(name, tensors[name], len(tensors["r1"]))
    layer = {printable(name): _number(one) for name, one in record["layer"].items()}
    lacking = {"cs1", "cs2", "cs1_chance", "cs2_chance", "r1_below_1"} - layer.keys()
    if lacking:
        raise ValueError(f"it has no {sorted(lacking)[0]}")
    about = record["similarity"]
    try:
        similarity = ClassSimilarity(
            tensors["similarity"].double().numpy(), tuple(map(printable, record["labels"])),
            printable(about["kind"]), printable(about["words"]), printable(about["certainty"]),
            tuple(map(printable, about["notes"])),
        )  # fmt: skip
    except InvalidParameterError as error:
        raise ValueError(str(error)) from error
    return Consistency(
        labels=similarity.labels,
        concepts=concepts,
        similarity=similarity,
        units={name: values.numpy() for name, values in units.items()},
        pictures={name: tensors[name].numpy() for name in _PER_PICTURE},
        layer=layer,
        bins=tuple(
            Bin(float(one["level"]), (float(one["ends"][0]), float(one["ends"][1])),
                _number(one["cs1"]), _number(one["cs2"]))
            for one in record["bins"]
        ),
        record=dict(record["record"]),
        notes=tuple(map(printable, record["notes"])),
    )  # fmt: skip


def _check(name: str, values: Tensor, many: int) -> None:
    kind = torch.int64 if name in _WHOLE else torch.float64
    if values.shape != (many,) or values.dtype != kind:
        raise ValueError(f"{name} is {values.dtype} of shape {tuple(values.shape)}")


def unit_words(found: Consistency) -> str:
    """How many units there are, and how many say nothing, in words."""
    level = found.units["level"]
    dead = int(np.isnan(level).sum())
    return count(len(level), "unit") + (f", {dead:,} of which move on no picture" if dead else "")
