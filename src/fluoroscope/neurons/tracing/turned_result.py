"""What came of comparing two pictures: the units that turned, where they looked, what they like."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, float64, int64

from fluoroscope.neurons.tracing import looked
from fluoroscope.neurons.tracing.sides import sides, turned_units
from fluoroscope.pictures import html
from fluoroscope.pictures.attribution_colours import Colours
from fluoroscope.sealed_files import Kind, plain, read_sealed, write_sealed
from fluoroscope.words import class_names, count, network_name, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

KIND = Kind("turned", "comparison of units", "comparisons of units")
TENSORS = (
    "before", "after", "logits", "effects", "activations", "shown", "maps", "favourites",
    "favourite_numbers",
)  # fmt: skip
"""Those of it, by name."""
_LISTED = 12


@dataclass(frozen=True, kw_only=True, repr=False)
class Turned(html.Shown):
    """Two pictures and the ``K`` units of a layer; all tensors are on the CPU."""

    before: Tensor
    """``(C, H, W)`` in ``[0, 1]``."""
    after: Tensor
    """The same of the other picture."""
    logits: Tensor
    """``(2, classes)`` float64."""
    effects: Tensor
    """``(2, K)`` float64: what is lost of the margin of :attr:`pair` without each unit."""
    activations: Tensor
    """``(2, K)`` float64, each unit's mean over its places."""
    shown: Tensor
    """``(M,)`` int64, the units that turned most."""
    maps: Tensor
    """``(2, M, C, H, W)``: where they looked; ``(2, 0, C, H, W)`` where that cannot be said."""
    favourites: Tensor
    """``(M, n, C, h, w)``, what activates them most in a data set, made small."""
    favourite_numbers: Tensor
    """``(M, n)`` int64, which pictures of it these are."""
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
    def turned(self) -> list[int]:
        """Units that were for one class and then for the other, those that changed most first."""
        found: list[int] = turned_units(self.effects[0], self.effects[1]).tolist()
        return found

    @property
    def changed(self) -> Tensor:
        """All units ``(K,)`` by how much their effect changed, the most first."""
        change = (self.effects[1] - self.effects[0]).abs()
        return change.argsort(descending=True, stable=True)

    @property
    def summary(self) -> str:
        """What became of the margin, and who turned, in a sentence or two."""
        one, other = self._names[:2]
        margins = self.record["margins"]
        now = sides(self.effects)
        to_other = sum(int(now[0, unit]) > 0 for unit in self.turned)
        words = (
            f"The margin of {one} over {other} went from {number(margins[0])} to "
            f"{number(margins[1])}; of {count(self.effects.shape[1], 'unit')} of "
            f"layer {self.record['layer']} {len(self.turned):,} turned, {to_other:,} of them to "
            f"{other}"
        )
        first = int(self.changed[0])
        return words + (
            f". Unit {first} changed most: it gave the margin "
            f"{float(self.effects[0, first]):+.3g}, and then {float(self.effects[1, first]):+.3g}"
        )

    def rows(self, many: int = _LISTED) -> list[dict[str, Any]]:
        """The units whose effect changed most, as plain values."""
        turned = set(self.turned)
        return [
            {
                "unit": unit,
                "before": float(self.effects[0, unit]),
                "after": float(self.effects[1, unit]),
                "turned": unit in turned,
                "activation_before": float(self.activations[0, unit]),
                "activation_after": float(self.activations[1, unit]),
            }
            for unit in self.changed.tolist()[:many]
        ]

    @property
    def _names(self) -> list[str]:
        """The classes of :attr:`pair`, and what both pictures are predicted as, short."""
        names = class_names(self.labels)
        return [names[each] for each in (*self.record["pair"], *self.record["predicted"])]

    def _tiles(self) -> tuple[list[list[Tensor]], Colours]:
        """Maps over the pictures in grey, ``[before or after][unit]``, and their colours."""
        maps, colours = looked.seen(self.maps.flatten(0, 1))
        pictures, many = (self.before, self.after), self.maps.shape[1]
        return [
            [colours.laid_over(pictures[side], one) for one in maps[side * many :][:many]]
            for side in (0, 1)
        ], colours

    def _words(self, side: int, place: int) -> list[str]:
        return looked.words(
            self.maps[side, place], float(self.effects[side, int(self.shown[place])])
        )

    def figure(self) -> "Figure":
        """Bars of the units that changed most, what they did before behind what they do after."""
        from fluoroscope.pictures.unit_bars import Bar, bars_figure

        one, other = self._names[:2]
        bars = [
            Bar(f"{'↷ ' if row['turned'] else ''}unit {row['unit']}", row["after"], row["before"])
            for row in self.rows(2 * _LISTED)
        ]
        return bars_figure(
            bars,
            left=f"for {other}",
            right=f"for {one}",
            title=f"layer {self.record['layer']}: the units that changed most; ↷ turned",
            unit=f"effect on the margin of {one} over {other}",
            faint="in the first picture",
        )

    def sheet(self) -> "Image":
        """Both pictures; of the units that turned most where they looked, and what they like."""
        from fluoroscope.pictures.tile_sheet import Tile, tile_sheet

        said = self._names[2:]
        pictures = (self.before, self.after)
        rows = [[Tile(each, [f"predicted as {name}"])
                 for each, name in zip(pictures, said, strict=True)]]  # fmt: skip
        names, liked = [""], self.favourites.shape[1]
        tiles, colours = self._tiles()
        for place in range(self.maps.shape[1]):
            unit = int(self.shown[place])
            both = [Tile(tiles[side][place], self._words(side, place)) for side in (0, 1)]
            rows.append([*both, *(Tile(self._beside(each)) for each in self.favourites[place])])
            names.append(f"unit {unit}")
        heads = ["before", "after", *(["favourites"] if liked else [])]
        one, other = self._names[:2]
        return tile_sheet(
            rows,
            names,
            heads=heads,
            title=f"{network_name(str(self.record['model']))}: units of layer "
            f"{self.record['layer']} that turned",
            foot=looked.key((one, other), self.record["looked"], self.maps, colours)
            if self.maps.numel()
            else "",
        )

    def _beside(self, favourite: Tensor) -> Tensor:
        """A favourite as large as the pictures, for tiles are of one size."""
        from torch.nn import functional as F

        size = tuple(self.before.shape[1:])
        return F.interpolate(favourite[None], size, mode="nearest")[0]

    def describe(self) -> dict[str, Any]:
        """What it is and found, as plain values, without maps."""
        described: dict[str, Any] = plain(
            {
                **self.record,
                "summary": self.summary,
                "pair": list(self.pair),
                "predicted": [self.labels[each] for each in self.record["predicted"]],
                "turned": self.turned,
                "shown": self.shown.tolist(),
                "favourites": self.favourite_numbers.tolist(),
                "units": self.rows(self.effects.shape[1]),
                "notes": list(self.notes),
            }
        )
        return described

    def save(self, directory: str | Path, name: str = "turned") -> list[Path]:
        """Write the exact numbers and what they are, ``NAME.safetensors`` and ``NAME.json``.

        Raises:
            InvalidParameterError: the directory cannot be written to, or the name is no file's.
            StorageError: the disk is full, or refuses.
        """
        tensors = {tensor: getattr(self, tensor) for tensor in TENSORS}
        record = {**self.describe(), "labels": list(self.labels), "record": self.record}
        return write_sealed(KIND, directory, name, tensors, record)

    @staticmethod
    def load(path: str | Path) -> "Turned":
        """Read back what :meth:`save` wrote: the JSON file, or a directory with one comparison.

        Raises:
            ResultFormatError: files missing, broken, or of a newer version.
        """
        return read_sealed(KIND, path, _made)

    def _line(self) -> str:
        return (
            f"{network_name(str(self.record.get('model')))}, {self.record['layer']}: "
            f"{count(len(self.turned), 'unit')} turned between "
            f"{' and '.join(self._names[:2])}"
        )

    def _view(self) -> Iterator[html.Html]:
        yield html.paragraph(self.summary)
        yield html.table(
            ["unit", "before", "after", "turned"],
            [
                [row["unit"], f"{row['before']:+.3g}", f"{row['after']:+.3g}",
                 "yes" if row["turned"] else ""]
                for row in self.rows()
            ],
            right=(1, 2),
        )  # fmt: skip
        said = self._names[2:]
        tiles = [
            html.picture(each, f"predicted as {name}")
            for each, name in zip((self.before, self.after), said, strict=True)
        ]
        yield html.cards([tiles])
        laid, colours = self._tiles()
        yield html.cards(
            [
                html.picture(laid[side][place], "\n".join(
                    [f"unit {int(self.shown[place])}, {when}", *self._words(side, place)]))
                for side, when in enumerate(("before", "after"))
            ]
            for place in range(self.maps.shape[1])
        )  # fmt: skip
        if self.maps.numel():
            pair = self._names[:2]
            yield html.paragraph(looked.key(pair, self.record["looked"], self.maps, colours))
        yield html.notes(self.notes)


def _made(record: dict[str, Any], tensors: dict[str, Tensor]) -> Turned:
    from pydantic import TypeAdapter

    own = TypeAdapter(dict[str, Any]).validate_python(record["record"])
    labels = TypeAdapter(tuple[str, ...]).validate_python(record["labels"])
    TypeAdapter(str).validate_python(own["layer"])
    two = TypeAdapter(tuple[int, int])
    for name in ("pair", "predicted"):
        if any(not 0 <= each < len(labels) for each in two.validate_python(own[name])):
            raise ValueError(f"{name} is none of {len(labels)} classes")
    TypeAdapter(tuple[float, float]).validate_python(own["margins"])
    _check_shapes(tensors, len(labels))
    return Turned(
        record=own, labels=labels,
        notes=TypeAdapter(tuple[str, ...]).validate_python(record["notes"]),
        **{name: tensors[name] for name in TENSORS},
    )  # fmt: skip


def _check_shapes(tensors: dict[str, Tensor], classes: int) -> None:
    before, effects, shown = (tensors[name] for name in ("before", "effects", "shown"))
    if before.dim() != 3 or not before.is_floating_point() or effects.dim() != 2:
        raise ValueError(f"the picture has shape {tuple(before.shape)}")
    many, loud = effects.shape[1], len(shown)
    if not many:
        raise ValueError("there are no units")
    liked = tensors["favourite_numbers"].shape[-1]
    wanted = {
        "after": (tuple(before.shape), before.dtype),
        "logits": ((2, classes), float64),
        "effects": ((2, many), float64),
        "activations": ((2, many), float64),
        "shown": ((loud,), int64),
        "favourite_numbers": ((loud, liked), int64),
    }
    for name, (shape, kind) in wanted.items():
        if tuple(tensors[name].shape) != shape or tensors[name].dtype != kind:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {shape}")
    maps, kept = tensors["maps"], tensors["favourites"]
    if maps.shape not in ((2, loud, *before.shape), (2, 0, *before.shape)):
        raise ValueError(f"maps have shape {tuple(maps.shape)}")
    if kept.dim() != 5 or kept.shape[:3] != (loud, liked, len(before)):
        raise ValueError(f"favourites have shape {tuple(kept.shape)}")
    if not maps.is_floating_point() or not kept.is_floating_point():
        raise ValueError("maps or favourites are no floats")
    if loud and not 0 <= int(shown.min()) <= int(shown.max()) < many:
        raise ValueError("shown names a unit that there is not")
