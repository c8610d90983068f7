"""What an attribution comes back with: maps, what they promise, and what they cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fluoroscope.attribution import reading
from fluoroscope.errors import InvalidParameterError
from fluoroscope.pictures import html
from fluoroscope.pictures.attribution_colours import Colours, colours_of
from fluoroscope.pictures.uris import blocks_of
from fluoroscope.words import as_percent, average, count, network_name, number, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from fluoroscope.pictures.attributions import Column

# Maps that a notebook shows, and those in a figure; of so many pictures the answers are kept.
SHOWN = 6
# The share from which on a promise is not kept but missed.
_BROKEN = 0.05
NOT_VALID = "not valid here"
"""The verdict of a method whose maps are not drawn unless asked for."""
BY_MAPS = "what its maps show"
"""Where a verdict comes from that no audit gave."""


@dataclass(frozen=True)
class _Answer:
    """What the network says of a picture: its two best classes, and how sure of the targets."""

    best: list[tuple[int, float]]
    targets: list[float]


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
        return reading.unit_of(self.record, self.targets.dim() == 2)

    @property
    def key(self) -> str:
        """What the colours mean, a line each."""
        return reading.key_of(self.method, self.colours.signed, self.targets, self.labels)

    @property
    def colours(self) -> Colours:
        """The colours of the maps, on one scale."""
        return colours_of(list(self.maps))

    def target(self, row: int) -> str:
        """What a map speaks of, in words: a label, or one rather than another."""
        numbers = self.targets[row].reshape(-1).tolist()
        return " rather than ".join(self.labels[number] for number in numbers)

    def kept(self, row: int) -> str:
        """How well a map keeps what its method promises, in words; nothing of nothing."""
        error = float(self.error[row])
        return "" if isnan(error) else reading.kept(self.promise, error, self.missed(row))

    def missed(self, row: int) -> bool:
        """Whether a map is further from what its method promises than that is asked to be."""
        options = self.record.get("options")  # of a file, perhaps anything
        asked = options.get("tolerance") if isinstance(options, dict) else None
        bound = asked if isinstance(asked, float) else _BROKEN
        return self.promise is not None and float(self.error[row]) > min(bound, _BROKEN)

    def answer(self, row: int) -> str:
        """What the network says of a picture, in words; nothing where it was not asked."""
        best = self._answer(row).get("best", [])
        return reading.answer_words([(self.labels[number], share) for number, share in best])

    def shares(self, row: int) -> list[float]:
        """The probability of a map's class, or of it and its rival; empty where none is known."""
        return list(self._answer(row).get("targets", []))

    def _answer(self, row: int) -> dict[str, Any]:
        """Of the first pictures what the network says of them; see :func:`.attribute.attribute`."""
        answers = self.record.get("answers") or []
        return answers[row] if row < len(answers) else {}

    def spoken(self, row: int) -> str:
        """What a map speaks of, with how likely the network finds it, and no label too long."""
        numbers, shares = self.targets[row].reshape(-1).tolist(), self.shares(row)
        sure = [f" ({as_percent(share)})" for share in shares] or [""] * len(numbers)
        return " rather than ".join(
            shortened(self.labels[number]) + each
            for number, each in zip(numbers, sure, strict=True)
        )

    def figure(self, *, overlay: bool = False) -> "Figure":
        """The first six pictures with their maps beside; ``overlay`` lays these over them.

        Raises:
            InvalidParameterError: there is no map.
        """
        from fluoroscope.pictures.attributions import attribution_sheet

        rows = range(min(len(self.maps), SHOWN))
        if not rows:
            raise InvalidParameterError("there are no maps; expected one or more to draw")
        return attribution_sheet(
            [self.column(list(rows))],
            [self.spoken(row) for row in rows],
            [self.images[row] for row in rows],
            [self.answer(row) for row in rows],
            overlay=overlay,
        )

    def column(self, rows: list[int], *, drawn: bool = True) -> "Column":
        """Maps as a column of a sheet; see :mod:`.pictures.attributions`."""
        from fluoroscope.pictures.attributions import Column

        maps = [self.maps[row] for row in rows]
        colours = colours_of(maps)
        return Column(
            self.method,
            maps,
            colours,
            unit=self.unit,
            key=f"{self.key}\n{reading.ground_of(self.record)}".strip(),
            captions=[
                self.kept(row) or reading.doubt_of(self.record, colours.signed, self.shares(row))
                for row in rows
            ],
            missed=[self.missed(row) for row in rows],
            foot=reading.LOGIT if "logit" in self.unit else "",
            warning=self.complaint,
            drawn=drawn,
        )

    def tile(self, row: int, rows: list[int] | None = None) -> "Image":
        """One map by itself, with its colours and words below, on the scale of ``rows``."""
        from fluoroscope.pictures.attribution_tile import attribution_tile

        rows = [row] if rows is None else rows
        column = self.column(rows)
        key, caption = column.key.replace("\n", ", "), column.captions[rows.index(row)]
        words = [self.method, self.spoken(row), column.unit, key, caption]
        if column.colours.cut:
            words.insert(-1, column.colours.told)
        return attribution_tile(self.maps[row], column.colours, words, warning=column.warning)

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
                "probabilities": self.shares(row) or None,
            }
            for row in range(len(self.maps))
        ]
        from fluoroscope.sealed_files import plain

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
        from fluoroscope.attribution.attribution_files import KIND, TENSORS
        from fluoroscope.sealed_files import write_sealed

        tensors = {tensor: getattr(self, tensor) for tensor in TENSORS}
        record = {
            **self.describe(),
            "labels": list(self.labels),
            "record": self.record,
        }
        return write_sealed(KIND, directory, name, tensors, record)

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
            labels = TypeAdapter(tuple[str, ...]).validate_python(record["labels"])
            answers = TypeAdapter(list[_Answer]).validate_python(plain.get("answers") or [])
            if any(not 0 <= one < len(labels) for each in answers for one, _ in each.best):
                raise ValueError(f"an answer is none of {len(labels)} classes")
            wide = tensors["targets"][:1].numel()
            if any(len(each.targets) != wide for each in answers):
                raise ValueError(f"an answer is not of {count(wide, 'target')}")
            return Attribution(
                record=plain,
                labels=labels,
                notes=TypeAdapter(tuple[str, ...]).validate_python(record["notes"]),
                verdict=TypeAdapter(dict[str, Any] | None).validate_python(record["verdict"]),
                **tensors,
            )

        return load_attribution(path, made)

    def _line(self) -> str:
        maps = count(len(self.maps), "map")
        return f"{self.method} of {network_name(str(self.record.get('model')))}: {maps}"

    def _view(self) -> Iterator[html.Html]:
        rows = range(min(len(self.maps), SHOWN))
        # As they are drawn: of large ones the means of small blocks.
        shown = [blocks_of(self.maps[row].nan_to_num()) for row in rows if self.maps.numel()]
        colours = colours_of(shown)
        if shown:
            end = colours.words(self.maps.shape[1])
            lines = [self.unit, *self.column(list(rows)).key.splitlines()]
            meaning = "; ".join(filter(None, lines))
            logit = f" {reading.LOGIT.capitalize()}." if "logit" in self.unit else ""
            yield html.paragraph(f"In {meaning}; the colours end at {end}.{logit}")
        yield html.cards(
            [
                html.picture(self.images[row], self._said(row)),
                html.coloured(shown[row], colours, self._caption(row), wrong=bool(self.complaint)),
            ]
            for row in range(len(shown))
        )
        left = len(self.maps) - len(rows)
        yield html.paragraph(f"and {left:,} more" if left > 0 else "")
        yield html.facts(self._facts())
        yield html.notes(self.notes)

    def _said(self, row: int) -> str:
        answer = self.answer(row)
        said = f"the network says: {answer}" if answer else ""
        return "\n".join(filter(None, [f"picture {int(self.numbers[row])}", said]))

    def _caption(self, row: int) -> str:
        value, shares = float(self.values[row]), self.shares(row)
        said = "" if isnan(value) else f"explains {number(value)}"
        doubt = reading.doubt_of(self.record, self.colours.signed, shares)
        words = [self.spoken(row), said, self.kept(row), doubt, self.complaint]
        return "\n".join(filter(None, words))

    def _facts(self) -> Iterator[tuple[str, str]]:
        if self.verdict is not None:
            seen = self.verdict.get("by") == BY_MAPS
            yield BY_MAPS if seen else "the audit's verdict", str(self.verdict.get("verdict"))
        if len(self.maps):
            passes = [float(each.double().mean()) for each in (self.forwards, self.backwards)]
            yield "passes a map", f"{average(passes[0])} forward, {average(passes[1])} backward"
        yield "operations", reading.coverage_words(self.record.get("coverage"), self.promise)
