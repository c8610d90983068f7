"""A trajectory and what every unit did to a margin on the way: bands, and who turned where."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, float64, int64

from fluoroscope.neurons.tracing.sides import sides, turned_units
from fluoroscope.pictures import html
from fluoroscope.sealed_files import Kind, plain, read_sealed, write_sealed
from fluoroscope.words import class_names, count, listed, network_name, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KIND = Kind("along", "trajectory of units", "trajectories of units")
TENSORS = ("frames", "steps", "logits", "effects")
"""Those of it, by name."""
_NAMED = 5


@dataclass(frozen=True, kw_only=True, repr=False)
class Along(html.Shown):
    """``F`` frames and the ``K`` units of a layer; all tensors are on the CPU."""

    frames: Tensor
    """``(F, C, H, W)`` in ``[0, 1]``."""
    steps: Tensor
    """``(F,)`` int64, the step of each."""
    logits: Tensor
    """``(F, classes)`` float64."""
    effects: Tensor
    """``(F, K)`` float64: what is lost of the margin of :attr:`pair` without each unit."""
    record: dict[str, Any]
    """Layer, classes, margins, versions and the network's content hash, as plain values."""
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def pair(self) -> tuple[str, str]:
        """The margin's classes: how far the first leads over the second."""
        one, other = self.record["pair"]
        return self.labels[one], self.labels[other]

    @property
    def way_stations(self) -> list[tuple[int, int]]:
        """``(frame, class)`` at the start and wherever another class is predicted."""
        winners = self.record["predicted"]
        return [
            (row, winner)
            for row, winner in enumerate(winners)
            if row == 0 or winner != winners[row - 1]
        ]

    @property
    def looks(self) -> list[int]:
        """The first frame of each way station, and the last of all."""
        return sorted({*(row for row, _ in self.way_stations), len(self.frames) - 1})

    def turned_at(self, look: int) -> list[int]:
        """Units that turned between a frame of :attr:`looks` and the one before it in that list,
        those that changed most first; none at the start.
        """
        rows = self.looks
        if not look:
            return []
        before, after = self.effects[rows[look - 1]], self.effects[rows[look]]
        found: list[int] = turned_units(before, after).tolist()
        return found

    @property
    def _names(self) -> list[str]:
        """Of all classes, short."""
        return class_names(self.labels)

    @property
    def _pair(self) -> tuple[str, str]:
        one, other = self.record["pair"]
        return self._names[one], self._names[other]

    @property
    def turned(self) -> list[int]:
        """Units that turned at any of them."""
        return sorted({unit for look in range(len(self.looks)) for unit in self.turned_at(look)})

    @property
    def loudest(self) -> Tensor:
        """All units ``(K,)`` by how far their effect went on the way, the farthest first."""
        far = self.effects.amax(0) - self.effects.amin(0)
        return far.argsort(descending=True, stable=True)

    @property
    def summary(self) -> str:
        """What became of the margin, and who turned at which way station."""
        (one, other), names = self._pair, self._names
        margins = self.record["margins"]
        words = (
            f"The margin of {one} over {other} went from {number(margins[0])} to "
            f"{number(margins[-1])} over {count(len(self.frames), 'frame')}"
        )
        for look, row in enumerate(self.looks[1:], 1):
            units = self.turned_at(look)
            named = listed([str(unit) for unit in units[:_NAMED]])
            more = f", most of all {named}" if units else ""
            place = names[self.record["predicted"][row]]
            words += (
                f". Up to step {int(self.steps[row])} ({place}) {count(len(units), 'unit')} "
                f"turned{more}"
            )
        return words

    def figure(self) -> "Figure":
        """The band chart, way stations above it; see :mod:`.pictures.bands`."""
        from fluoroscope.pictures.bands import Look, bands_figure

        winners, names = self.record["predicted"], self._names
        looks = [
            Look(
                int(self.steps[row]), self.frames[row], names[winners[row]],
                [int(unit) for unit in self.turned_at(look)],
            )
            for look, row in enumerate(self.looks)
        ]  # fmt: skip
        return bands_figure(
            self.steps.tolist(),
            self.effects.numpy(),
            self.loudest.tolist(),
            looks,
            self.turned,
            margins=self.record["margins"],
            pair=self._pair,
            title=f"{network_name(str(self.record['model']))}, layer {self.record['layer']}",
        )

    def describe(self) -> dict[str, Any]:
        """What it is and found, as plain values, without the frames."""
        now = sides(self.effects)
        described: dict[str, Any] = plain(
            {
                **self.record,
                "summary": self.summary,
                "pair": list(self.pair),
                "predicted": [self.labels[each] for each in self.record["predicted"]],
                "steps": self.steps.tolist(),
                "way_stations": [
                    {
                        "frame": row,
                        "step": int(self.steps[row]),
                        "predicted": self.labels[self.record["predicted"][row]],
                        "turned": self.turned_at(look),
                    }
                    for look, row in enumerate(self.looks)
                ],
                "units": [
                    {"unit": unit, "effects": self.effects[:, unit].tolist(),
                     "sides": now[:, unit].tolist()}
                    for unit in self.loudest.tolist()
                ],
                "notes": list(self.notes),
            }
        )  # fmt: skip
        return described

    def save(self, directory: str | Path, name: str = "along") -> list[Path]:
        """Write the exact numbers and what they are, ``NAME.safetensors`` and ``NAME.json``.

        Raises:
            InvalidParameterError: the directory cannot be written to, or the name is no file's.
            StorageError: the disk is full, or refuses.
        """
        tensors = {tensor: getattr(self, tensor) for tensor in TENSORS}
        record = {**self.describe(), "labels": list(self.labels), "record": self.record}
        return write_sealed(KIND, directory, name, tensors, record)

    @staticmethod
    def load(path: str | Path) -> "Along":
        """Read back what :meth:`save` wrote: the JSON file, or a directory with one of them.

        Raises:
            ResultFormatError: files missing, broken, or of a newer version.
        """
        return read_sealed(KIND, path, _made)

    def _line(self) -> str:
        return (
            f"{network_name(str(self.record.get('model')))}, {self.record['layer']}: "
            f"{' to '.join(self._pair)} in {count(len(self.frames), 'frame')}"
        )

    def _view(self) -> Iterator[html.Html]:
        from fluoroscope.pictures.bands import bands_figure
        from fluoroscope.pictures.plots import page_style

        yield html.paragraph(self.summary)
        winners, names = self.record["predicted"], self._names
        yield html.cards(
            [
                html.picture(
                    self.frames[row],
                    f"step {int(self.steps[row])}\n{names[winners[row]]}\n"
                    + (f"{count(len(self.turned_at(look)), 'unit')} turned" if look else ""),
                )
            ]
            for look, row in enumerate(self.looks)
        )
        with page_style():
            figure = bands_figure(
                self.steps.tolist(), self.effects.numpy(), self.loudest.tolist(), [], self.turned,
                margins=self.record["margins"],
                pair=self._pair,
            )  # fmt: skip
        yield html.plot(figure, "what each unit did to the margin, frame by frame")
        yield html.notes(self.notes)


def _made(record: dict[str, Any], tensors: dict[str, Tensor]) -> Along:
    from pydantic import TypeAdapter

    own = TypeAdapter(dict[str, Any]).validate_python(record["record"])
    labels = TypeAdapter(tuple[str, ...]).validate_python(record["labels"])
    TypeAdapter(str).validate_python(own["layer"])
    pair = TypeAdapter(tuple[int, int]).validate_python(own["pair"])
    winners = TypeAdapter(list[int]).validate_python(own["predicted"])
    margins = TypeAdapter(list[float]).validate_python(own["margins"])
    if any(not 0 <= each < len(labels) for each in (*pair, *winners)):
        raise ValueError(f"a class is none of {len(labels)}")
    frames, effects = tensors["frames"], tensors["effects"]
    many = len(frames)
    if many < 1 or len(winners) != many or len(margins) != many:
        raise ValueError(f"there are {many} frames and {len(winners)} predictions")
    if frames.dim() != 4 or not frames.is_floating_point():
        raise ValueError(f"frames have shape {tuple(frames.shape)}")
    if (
        effects.dim() != 2
        or len(effects) != many
        or effects.dtype != float64
        or not effects.numel()
    ):
        raise ValueError(f"effects have shape {tuple(effects.shape)}")
    if tensors["steps"].shape != (many,) or tensors["steps"].dtype != int64:
        raise ValueError(f"steps have shape {tuple(tensors['steps'].shape)}")
    if tensors["logits"].shape != (many, len(labels)) or tensors["logits"].dtype != float64:
        raise ValueError(f"logits have shape {tuple(tensors['logits'].shape)}")
    return Along(
        record=own, labels=labels,
        notes=TypeAdapter(tuple[str, ...]).validate_python(record["notes"]),
        **{name: tensors[name] for name in TENSORS},
    )  # fmt: skip
