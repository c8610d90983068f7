"""What a trace comes to: what every unit of a layer did to a decision, exactly and cheaply."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, float64, int64

from fluoroscope.neurons.tracing import looked
from fluoroscope.pictures import html
from fluoroscope.sealed_files import Kind, plain, read_sealed, write_sealed
from fluoroscope.words import as_percent, class_names, count, network_name, number, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

KIND = Kind("trace", "trace", "traces")
TENSORS = (
    "image", "effects", "activations", "approximations", "logits", "shown", "shown_effects", "maps",
    "set_order", "set_curve", "random_counts", "random_curves",
)  # fmt: skip
"""Those of a trace, by name."""
_LISTED = 6


@dataclass(frozen=True, kw_only=True, repr=False)
class Trace(html.Shown):
    """One picture and class, and the ``K`` units of a layer; all tensors are on the CPU."""

    image: Tensor
    """``(C, H, W)`` in ``[0, 1]``."""
    effects: Tensor
    """``(K, 3)`` float64: what is lost of margin, logit and probability of the class without each
    unit. Above 0 it spoke for the class."""
    activations: Tensor
    """``(K,)`` float64, each unit's mean over its places."""
    approximations: Tensor
    """``(A, K)`` float64, one row for each of :attr:`names`."""
    logits: Tensor
    """``(classes,)`` float64."""
    shown: Tensor
    """``(M,)`` int64, units that spoke loudest, for the class and against it."""
    shown_effects: Tensor
    """``(M,)`` float64: what is lost without each of them of the logit of the class over that of
    its rival: of the same two classes as the maps, whatever then is the strongest other one."""
    maps: Tensor
    """``(M, C, H, W)``: where they looked; ``(0, C, H, W)`` where that cannot be said."""
    set_order: Tensor
    """``(J,)`` int64: the small set of units that carries the decision, in the order of removal."""
    set_curve: Tensor
    """``(J + 1,)`` float64, the margin of the predicted class without the first of them."""
    random_counts: Tensor
    """``(L,)`` int64, how many units were removed in random orders instead."""
    random_curves: Tensor
    """``(orders, L)`` float64, the margin then."""
    record: dict[str, Any]
    """The layer, what stood in a unit's place, classes and numbers, how each number was found,
    versions and the network's content hash, as plain values."""
    labels: tuple[str, ...]
    """The network's names of the classes."""
    notes: tuple[str, ...] = ()
    """What a reader should know."""

    @property
    def wanted(self) -> str:
        """The class that effects are on."""
        return self.labels[int(self.record["wanted"])]

    @property
    def predicted(self) -> str:
        """What the picture is predicted as."""
        return self.labels[int(self.record["predicted"])]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the approximations."""
        return tuple(self.record["approximations"])

    @property
    def agreement(self) -> dict[str, float | None]:
        """Spearman's rank correlation of each approximation with the exact effects on the margin;
        ``None`` where one of the two is constant."""
        return {name: each["rank"] for name, each in self.record["agreement"].items()}

    @property
    def smallest_set(self) -> list[int] | None:
        """Units without which the decision changes; ``None`` if it never did or nobody looked."""
        changed = self.record["set"] is not None and self.record["set"]["becomes"] is not None
        return self.set_order.tolist() if changed else None

    @property
    def curve(self) -> list[float]:
        """The margin without the first 0, 1, … of the units that were removed."""
        return [float(each) for each in self.set_curve]

    def ranking(self, measure: str = "margin") -> Tensor:
        """Units ``(K,)`` from the one that spoke loudest for the class to the one most against."""
        column = self.record["measures"].index(measure)
        return self.effects[:, column].argsort(descending=True, stable=True)

    def speakers(self, many: int = _LISTED) -> tuple[list[int], list[int]]:
        """The units with the largest effects on the margin for the class, and those against it."""
        order = self.ranking().tolist()
        margin = self.effects[:, 0]
        for_it = [unit for unit in order if margin[unit] > 0][:many]
        against = [unit for unit in reversed(order) if margin[unit] < 0][:many]
        return for_it, against

    @property
    def summary(self) -> str:
        """Who decided, in a sentence or two."""
        values, (for_it, against) = self.record["values"], self.speakers(1)
        words = (
            f"{self._name('wanted')} has {as_percent(values['probability'])} and a margin of "
            f"{number(values['margin'])} over {self._name('rival')}"
        )
        units = f"of {count(len(self.effects), 'unit')} of layer {self.record['layer']}"
        loud = [
            f"unit {side[0]} did most {what} it ({float(self.effects[side[0], 0]):+.3g})"
            for side, what in ((for_it, "for"), (against, "against"))
            if side
        ]
        words += f"; {units} {' and '.join(loud)}" if loud else ""
        return words + (f". {self.set_words}" if self.set_words else "")

    @property
    def set_words(self) -> str:
        """What the smallest set is, in a sentence; nothing where nobody looked."""
        found = self.record["set"]
        if found is None:
            return ""
        tried = "trying every unit in each round" if found["rounds"] == "exact" else "by batches"
        decision = self._name("decision", found)
        gone = count(len(self.set_order), "unit")
        if found["becomes"] is None:
            return f"Without {gone}, removed greedily ({tried}), it is still {decision}"
        beside = _at_random(found["random_sizes"])
        return (
            f"Without {gone} it is predicted as {self._name('becomes', found)} and not "
            f"{decision}, found greedily ({tried}); {beside}"
        )

    def rows(self, many: int = _LISTED) -> list[dict[str, Any]]:
        """The loudest units for the class and against it, as plain values."""
        for_it, against = self.speakers(many)
        return [self._row(unit) for unit in [*for_it, *reversed(against)]]

    def _row(self, unit: int) -> dict[str, Any]:
        return {
            "unit": unit,
            "activation": float(self.activations[unit]),
            **{
                name: float(self.effects[unit, column])
                for column, name in enumerate(self.record["measures"])
            },
            **{name: float(self.approximations[row, unit]) for row, name in enumerate(self.names)},
        }

    def figure(self) -> "Figure":
        """Bars of the loudest units with their effects, and the curve of the smallest set."""
        from fluoroscope.pictures.unit_bars import Bar, Curves, bars_figure

        for_it, against = self.speakers(2 * _LISTED)
        bars = [
            Bar(f"unit {unit}", float(self.effects[unit, 0]))
            for unit in [*for_it, *reversed(against)]
        ]
        curves = None
        if self.record["set"] is not None:
            curves = Curves(
                self.curve, self.random_counts.tolist(), self.random_curves.tolist(),
                self._name("decision", self.record["set"]),
            )  # fmt: skip
        return bars_figure(
            bars,
            left=f"for {self._name('rival')} or others",
            right=f"for {self._name('wanted')}",
            title=f"layer {self.record['layer']}: what is lost of the margin without a unit",
            curves=curves,
        )

    def sheet(self) -> "Image":
        """The picture, and where the loudest units looked."""
        from fluoroscope.pictures.tile_sheet import Tile, tile_sheet

        maps, colours = looked.seen(self.maps)
        rows, names = [], []
        for which, name in zip(self._sides(), self._side_names(), strict=True):
            tiles = [
                Tile(colours.laid_over(self.image, maps[place]), [
                    f"unit {int(self.shown[place])}",
                    *looked.words(self.maps[place], float(self.shown_effects[place])),
                ])
                for place in which
            ]  # fmt: skip
            if tiles:
                rows.append(tiles)
                names.append(name)
        picture = Tile(self.image, [f"predicted as {self._name('predicted')}"])
        return tile_sheet(
            [[picture], *rows],
            ["", *names],
            title=f"{network_name(str(self.record['model']))}: where units of layer "
            f"{self.record['layer']} looked",
            foot=self._key(),
        )

    def _sides(self) -> tuple[list[int], list[int]]:
        """Of the maps: for the class and for its rival, the loudest first."""
        loud = self.shown_effects.tolist()[: len(self.maps)]
        order = sorted(range(len(loud)), key=lambda place: -abs(loud[place]))
        return [p for p in order if loud[p] > 0], [p for p in order if loud[p] <= 0]

    def _side_names(self) -> tuple[str, str]:
        return f"for {self._name('wanted')}", f"for {self._name('rival')}"

    def _key(self) -> str:
        """What the colours of maps mean."""
        if not len(self.maps):
            return ""
        colours = looked.seen(self.maps)[1]
        pair = self._name("wanted"), self._name("rival")
        return looked.key(pair, self.record["looked"], self.maps, colours)

    def _name(self, which: str, of: dict[str, Any] | None = None) -> str:
        """A class of the record, short enough for a line."""
        return class_names(self.labels)[int((of or self.record)[which])]

    def describe(self) -> dict[str, Any]:
        """What it is and found, as plain values, without maps."""
        described: dict[str, Any] = plain(
            {
                **self.record,
                "summary": self.summary,
                "wanted": self.wanted,
                "predicted": self.predicted,
                "rival": self.labels[self.record["rival"]],
                "smallest_set": self.smallest_set,
                "curve": self.curve,
                "shown": self.shown.tolist(),
                "units": [self._row(unit) for unit in self.ranking().tolist()],
                "notes": list(self.notes),
            }
        )
        return described

    def save(self, directory: str | Path, name: str = "trace") -> list[Path]:
        """Write the exact numbers and what they are, ``NAME.safetensors`` and ``NAME.json``.

        Raises:
            InvalidParameterError: the directory cannot be written to, or the name is no file's.
            StorageError: the disk is full, or refuses.
        """
        tensors = {tensor: getattr(self, tensor) for tensor in TENSORS}
        record = {**self.describe(), "labels": list(self.labels), "record": self.record}
        return write_sealed(KIND, directory, name, tensors, record)

    @staticmethod
    def load(path: str | Path) -> "Trace":
        """Read back what :meth:`save` wrote: the JSON file, or a directory with one trace.

        Raises:
            ResultFormatError: files missing, broken, or of a newer version.
        """
        return read_sealed(KIND, path, _made)

    def _line(self) -> str:
        return (
            f"{network_name(str(self.record.get('model')))}, {self.record['layer']}: "
            f"{self._name('wanted')} at {as_percent(self.record['values']['probability'])}"
        )

    def _view(self) -> Iterator[html.Html]:
        yield html.paragraph(self.summary)
        yield html.table(
            ["unit", "of the margin", "of the logit", "of the probability", *self.names],
            [
                [
                    row["unit"],
                    *(f"{row[name]:+.3g}" for name in ("margin", "logit")),
                    percent(row["probability"]),
                    *(f"{row[name]:+.3g}" for name in self.names),
                ]
                for row in self.rows()
            ],
            right=range(1, 4 + len(self.names)),
        )
        maps, colours = looked.seen(self.maps)
        tiles = [[html.picture(self.image, f"predicted as {self._name('predicted')}")]]
        for place, one in enumerate(maps):
            beside = looked.words(self.maps[place], float(self.shown_effects[place]))
            caption = "\n".join([f"unit {int(self.shown[place])}", *beside])
            tiles.append([html.picture(colours.laid_over(self.image, one), caption)])
        yield html.cards(tiles)
        yield html.paragraph(self._key())
        yield html.facts(
            (f"{name} agrees", agreement_words(each))
            for name, each in self.record["agreement"].items()
        )
        yield html.notes(self.notes)


def agreement_words(found: dict[str, Any]) -> str:
    """How well an approximation agrees, in words."""
    rank = "none" if found["rank"] is None else f"{found['rank']:.2f}"
    return (
        f"rank correlation {rank}, {percent(found['top'], 0)} of the top {found['of']} "
        f"({percent(found['at_random'], 0)} at random)"
    )


def _at_random(sizes: list[int | None]) -> str:
    """How many units random orders took, the fewest first; ``None`` where all were not enough."""
    orders = count(len(sizes), "random order")
    if sizes[0] is None:
        return f"in {orders} it never changed"
    low, middle, high = (
        "never" if size is None else f"{size:,}"
        for size in (sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1])
    )
    return f"in {orders} the median is {middle} ({low} to {high})"


def _made(record: dict[str, Any], tensors: dict[str, Tensor]) -> Trace:
    from pydantic import TypeAdapter

    own = TypeAdapter(dict[str, Any]).validate_python(record["record"])
    labels = TypeAdapter(tuple[str, ...]).validate_python(record["labels"])
    names = TypeAdapter(list[str]).validate_python(own["approximations"])
    TypeAdapter(str).validate_python(own["layer"])
    TypeAdapter(dict[str, float]).validate_python(own["values"])
    TypeAdapter(dict[str, dict[str, float | None]]).validate_python(own["agreement"])
    found = TypeAdapter(dict[str, Any] | None).validate_python(own["set"])
    if own["measures"] != ["margin", "logit", "probability"]:
        raise ValueError("effects are on other numbers")
    for name in ("wanted", "predicted", "rival"):
        _check_class(own[name], labels, name)
    for name in ("decision", "becomes") if found else ():
        if found and found[name] is not None:
            _check_class(found[name], labels, name)
    _check_shapes(tensors, len(labels), len(names))
    return Trace(
        record=own, labels=labels,
        notes=TypeAdapter(tuple[str, ...]).validate_python(record["notes"]),
        **{name: tensors[name] for name in TENSORS},
    )  # fmt: skip


def _check_class(given: object, labels: tuple[str, ...], name: str) -> None:
    if not isinstance(given, int) or not 0 <= given < len(labels):
        raise ValueError(f"{name} is none of {len(labels)} classes")


def _check_shapes(tensors: dict[str, Tensor], classes: int, names: int) -> None:
    image, effects = tensors["image"], tensors["effects"]
    if image.dim() != 3 or not image.is_floating_point() or effects.dim() != 2:
        raise ValueError(f"the picture has shape {tuple(image.shape)}")
    many, sets = len(effects), len(tensors["set_order"])
    shown, looks = tensors["shown"], len(tensors["random_counts"])
    orders = len(tensors["random_curves"])
    wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "effects": ((many, 3), float64),
        "activations": ((many,), float64),
        "approximations": ((names, many), float64),
        "logits": ((classes,), float64),
        "shown": ((len(shown),), int64),
        "shown_effects": ((len(shown),), float64),
        "set_order": ((sets,), int64),
        "random_counts": ((looks,), int64),
        "random_curves": ((orders, looks), float64),
    }
    for name, (shape, kind) in wanted.items():
        if tuple(tensors[name].shape) != shape or tensors[name].dtype != kind:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {shape}")
    if tensors["set_curve"].shape not in ((sets + 1,), (0,)):
        raise ValueError(f"set_curve has shape {tuple(tensors['set_curve'].shape)}")
    maps = tensors["maps"]
    if maps.shape not in ((len(shown), *image.shape), (0, *image.shape)):
        raise ValueError(f"maps have shape {tuple(maps.shape)}")
    for name in ("shown", "set_order"):
        units = tensors[name]
        if units.numel() and not 0 <= int(units.min()) <= int(units.max()) < many:
            raise ValueError(f"{name} names a unit that there is not")
