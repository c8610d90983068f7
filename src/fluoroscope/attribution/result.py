"""What an attribution comes back with: maps, what they promise, and what they cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fluoroscope.attribution.names import read_as
from fluoroscope.errors import InvalidParameterError
from fluoroscope.pictures import html
from fluoroscope.pictures.attribution_colours import Colours, colours_of
from fluoroscope.pictures.uris import blocks_of
from fluoroscope.words import average, count, network_name, number, percent, some

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fluoroscope.pictures.attributions import Column

# Maps that a notebook shows, and those in a figure.
_SHOWN = 6
# The share from which on a promise is not kept but missed.
_BROKEN = 0.05
NOT_VALID = "not valid here"
"""The verdict of a method whose maps are not drawn unless asked for."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Attribution(html.Shown):
    """The maps of ``N`` pictures; all tensors are on the CPU."""

    maps: Tensor
    """``(N, C, H, W)``, signed, in units of the objective (``gradient``: per unit of pixel value);
    ``(N, 1, H, W)`` of methods that know no channels."""
    images: Tensor
    """``(N, C, H, W)`` in ``[0, 1]``, what was explained."""
    targets: Tensor
    """``(N,)``, the class of each; or ``(N, 2)``, a class and its rival."""
    values: Tensor
    """``(N,)`` float64, the number that each map explains; NaN where the method does not ask."""
    error: Tensor
    """``(N,)`` float64, the completeness or conservation error; NaN where none is promised."""
    forwards: Tensor
    """``(N,)``, images that went through the network for each."""
    backwards: Tensor
    """``(N,)``, gradients computed for each."""
    numbers: Tensor
    """``(N,)``, which pictures of their data set these are."""
    record: dict[str, Any]
    """Method, options, promise, coverage, seed, versions and the network's content hash, as plain
    values."""
    labels: tuple[str, ...]
    """The network's names of the classes."""
    notes: tuple[str, ...] = ()
    """What a reader of the maps should know."""
    verdict: dict[str, Any] | None = None
    """What the audit says of the method on this network, if there is one."""

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.record["method"])

    @property
    def promise(self) -> str | None:
        """``completeness``, ``conservation`` or ``None``."""
        promise: str | None = self.record["promise"]
        return promise

    @property
    def complaint(self) -> str:
        """Of a method that is not valid on this network the sentence that says so; else nothing.

        An audit says so, or what the maps themselves show: a promise that is broken by far, or no
        operation of the network that has a rule.
        """
        if self.verdict is None or self.verdict.get("verdict") != NOT_VALID:
            return ""
        reasons = self.verdict.get("reasons")
        reason = str(reasons[0]).rstrip(".") if isinstance(reasons, list) and reasons else ""
        if reason[1:2].islower():  # no name in capitals
            reason = reason[0].lower() + reason[1:]
        return f"{self.method} is {NOT_VALID}" + (f": {reason}" if reason else "")

    @property
    def unit(self) -> str:
        """What the numbers are in."""
        objective = str((self.record.get("options") or {}).get("objective") or "logit")
        match self._reads:
            case "slope":
                return f"{objective} per unit of pixel value"
            case "heat":
                return "no unit"
        return f"parts of the {objective}"

    @property
    def key(self) -> str:
        """What the colours mean, a line each."""
        if not self.colours.signed:
            return "bright: much\ndark: nothing"
        if self._reads == "slope":
            return "red: brighter pixels raise it\nblue: darker pixels raise it"
        return "red speaks for the class\nblue against it"

    @property
    def colours(self) -> Colours:
        """The colours of the maps, on one scale."""
        return colours_of(list(self.maps))

    @property
    def _reads(self) -> str:
        return read_as(self.method)

    def target(self, row: int) -> str:
        """What a map speaks of, in words: a label, or one rather than another."""
        numbers = self.targets[row].reshape(-1).tolist()
        return " rather than ".join(self.labels[number] for number in numbers)

    def kept(self, row: int) -> str:
        """How well a map keeps what its method promises, in words; nothing of nothing."""
        error = float(self.error[row])
        if self.promise is None or isnan(error):
            return ""
        size = f"{error:.0e}" if error < 1e-3 else percent(error)
        return f"{self.promise} {'off by' if self.missed(row) else 'to'} {size}"

    def missed(self, row: int) -> bool:
        """Whether a map is further from what its method promises than that is asked to be."""
        options = self.record.get("options")  # of a file, perhaps anything
        asked = options.get("tolerance") if isinstance(options, dict) else None
        bound = asked if isinstance(asked, float) else _BROKEN
        return self.promise is not None and float(self.error[row]) > min(bound, _BROKEN)

    def figure(self, *, overlay: bool = False) -> "Figure":
        """The first six pictures with their maps beside; ``overlay`` lays these over them.

        Raises:
            InvalidParameterError: there is no map.
        """
        from fluoroscope.pictures.attributions import attribution_sheet

        rows = range(min(len(self.maps), _SHOWN))
        if not rows:
            raise InvalidParameterError("there are no maps; expected one or more to draw")
        return attribution_sheet(
            [self.column(list(rows))],
            [self.target(row) for row in rows],
            [self.images[row] for row in rows],
            overlay=overlay,
        )

    def column(self, rows: list[int], *, drawn: bool = True) -> "Column":
        """Maps as a column of a sheet; see :mod:`.pictures.attributions`."""
        from fluoroscope.pictures.attributions import Column

        maps = [self.maps[row] for row in rows]
        return Column(
            self.method,
            maps,
            colours_of(maps),
            unit=self.unit,
            key=self.key,
            captions=[self.kept(row) for row in rows],
            missed=[self.missed(row) for row in rows],
            warning=self.complaint,
            drawn=drawn,
        )

    def describe(self) -> dict[str, Any]:
        """What it is and found, as plain values, without the maps themselves."""
        channels = self.maps.double().sum(1).flatten(1)
        rows = [
            {
                "number": int(self.numbers[row]),
                "target": self.target(row),
                "classes": self.targets[row].reshape(-1).tolist(),
                "value": float(self.values[row]),
                "error": float(self.error[row]),
                "sum": float(channels[row].sum()),
                "lowest": float(channels[row].min()),
                "highest": float(channels[row].max()),
                "forwards": int(self.forwards[row]),
                "backwards": int(self.backwards[row]),
            }
            for row in range(len(self.maps))
        ]
        from fluoroscope.attribution.attribution_files import plain

        described: dict[str, Any] = plain(
            {
                **self.record,
                "unit": self.unit,
                "notes": list(self.notes),
                "verdict": self.verdict,
                "maps": rows,
            }
        )
        return described

    def save(self, directory: str | Path, name: str = "attribution") -> list[Path]:
        """Write the exact numbers and what they are; see :mod:`.attribution_files`.

        Raises:
            InvalidParameterError: the directory cannot be written to, or the name is no file's.
            StorageError: the disk is full, or refuses.
        """
        from fluoroscope.attribution.attribution_files import TENSORS, save_attribution

        tensors = {tensor: getattr(self, tensor) for tensor in TENSORS}
        record = {
            **self.describe(),
            "labels": list(self.labels),
            "record": self.record,
        }
        return save_attribution(directory, name, tensors, record)

    @staticmethod
    def load(path: str | Path) -> "Attribution":
        """Read back what :meth:`save` wrote: the JSON file, or a directory with one attribution.

        Raises:
            ResultFormatError: files missing, broken, or of a newer version.
        """
        from pydantic import TypeAdapter

        from fluoroscope.attribution.attribution_files import load_attribution

        def made(record: dict[str, Any], tensors: dict[str, Tensor]) -> Attribution:
            plain = TypeAdapter(dict[str, Any]).validate_python(record["record"])
            TypeAdapter(str).validate_python(plain["method"])
            TypeAdapter(str | None).validate_python(plain["promise"])
            TypeAdapter(dict[str, Any] | None).validate_python(plain.get("options"))
            TypeAdapter(dict[str, dict[str, int]] | None).validate_python(plain.get("coverage"))
            return Attribution(
                record=plain,
                labels=TypeAdapter(tuple[str, ...]).validate_python(record["labels"]),
                notes=TypeAdapter(tuple[str, ...]).validate_python(record["notes"]),
                verdict=TypeAdapter(dict[str, Any] | None).validate_python(record["verdict"]),
                **tensors,
            )

        return load_attribution(path, made)

    def _line(self) -> str:
        maps = count(len(self.maps), "map")
        return f"{self.method} of {network_name(str(self.record.get('model')))}: {maps}"

    def _view(self) -> Iterator[html.Html]:
        yield html.paragraph(self.complaint and f"{self.complaint}.")
        rows = range(min(len(self.maps), _SHOWN))
        # As they are drawn: of large ones the means of small blocks.
        shown = [blocks_of(self.maps[row].nan_to_num()) for row in rows if self.maps.numel()]
        colours = colours_of(shown)
        if shown:
            end = colours.words(self.maps.shape[1])
            meaning = self.key.replace("\n", ", ")
            yield html.paragraph(f"In {self.unit}; {meaning}; the colours end at {end}.")
        yield html.cards(
            [
                html.picture(self.images[row], f"picture {int(self.numbers[row])}"),
                html.coloured(shown[row], colours, self._caption(row)),
            ]
            for row in range(len(shown))
        )
        left = len(self.maps) - len(rows)
        yield html.paragraph(f"and {left:,} more" if left > 0 else "")
        yield html.facts(self._facts())
        yield html.notes(self.notes)

    def _caption(self, row: int) -> str:
        value = float(self.values[row])
        said = "" if isnan(value) else f"explains {number(value)}"
        return "\n".join(filter(None, [self.target(row), said, self.kept(row)]))

    def _facts(self) -> Iterator[tuple[str, str]]:
        if self.verdict is not None:
            yield "the audit's verdict", str(self.verdict.get("verdict"))
        if len(self.maps):
            passes = [float(each.double().mean()) for each in (self.forwards, self.backwards)]
            yield "passes a map", f"{average(passes[0])} forward, {average(passes[1])} backward"
        yield "operations", coverage_words(self.record.get("coverage"))


def coverage_words(coverage: dict[str, dict[str, int]] | None) -> str:
    """How many operations had a rule, and which had none; nothing of methods without rules."""
    if coverage is None:
        return ""
    missed = coverage.get("missed") or {}
    handled = sum((coverage.get("handled") or {}).values())
    words = f"{count(handled, 'non-linear operation')} by a rule"
    if not missed:
        return f"{words}, none without"
    names = some([f"{name} × {times}" for name, times in missed.items()])
    return f"{words}, {sum(missed.values())} without: {names}"
