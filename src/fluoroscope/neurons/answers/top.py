"""The pictures that a unit answers to most, and the patch of each that it saw.

By activation: where the unit is largest. By relevance: where it had the largest share in what the
network predicted, which may be quite other pictures (Achtibat et al. 2023, 2206.03208). The patch
is the receptive field of the unit's strongest place, measured by :mod:`.receptive_field` at that
very place, by the picture and by noise.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.predict import suitable_batch
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.answers.kept import KeptRelevance, kept_relevance, sample_of
from fluoroscope.neurons.answers.receptive_field import (
    NEARLY,
    Box,
    ReceptiveField,
    fields,
    receptive_field,
)
from fluoroscope.neurons.answers.relevance import GRADIENT_WAY, LayerReader, as_units, shown
from fluoroscope.neurons.answers.selectivity import top_rows
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.neurons.reading.read import Images, as_set, read
from fluoroscope.neurons.reading.units import Units, find_units
from fluoroscope.neurons.reading.usual import usual_layer
from fluoroscope.notices import distinct
from fluoroscope.pictures import html
from fluoroscope.words import as_percent, class_names, count, number

BY = ("activation", "relevance")
FEW = 4
"""Units that are shown where nobody names any."""
_LOOKED = 256
# Pictures that the field of the middle is measured with, beside noise.
_REAL = 2
_SHOWN = 6


@dataclass(frozen=True)
class TopPicture:
    """One of the pictures that a unit answers to most."""

    unit: int
    index: int
    """Of the picture in its data set."""
    name: str
    value: float
    """The unit's activation there, or its relevance."""
    place: int
    """Where it is strongest, tokens of no place first."""
    box: Box
    """What it sees from there, ``(y0, x0, y1, x1)`` in pixels of :attr:`TopPictures.images`."""
    core: Box
    """Where 95 % of its derivative lie."""
    label: int
    """The picture's class, or -1."""
    predicted: int
    confidence: float
    picture: int
    """Its row in :attr:`TopPictures.images`."""
    map: int = -1
    """Its row in :attr:`TopPictures.maps`, if there are any."""


@dataclass(frozen=True, repr=False)
class TopPictures(html.Shown):
    """For some units of a layer the pictures that they answer to most."""

    units: Units
    chosen: tuple[int, ...]
    """The units, in the order in which they are shown."""
    by: str
    """``activation`` or ``relevance``."""
    way: str
    """How the relevance was found; empty by activation."""
    found: tuple[tuple[TopPicture, ...], ...]
    """For each of the units its pictures, the strongest first."""
    images: Tensor
    """``(M, C, H, W)``, the pictures as the network is given them, each once."""
    classes: tuple[str, ...]
    shares: dict[int, float] = field(default_factory=dict)
    """Of each unit the mean part of the relevance, where that was looked at."""
    record: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    maps: Tensor | None = None
    """By relevance ``(P, C, H, W)``: where in the pixels the unit's relevance came from."""
    sees: ReceptiveField | None = None
    """What the shown units see from the middle, and how certain that is."""
    activations: Activations | None = None
    """What was read of all pictures and units on the way."""

    def patch(self, one: TopPicture) -> Tensor:
        """What the unit saw, cut out of the picture, ``(C, h, w)``."""
        y0, x0, y1, x1 = self.seen(one)
        return self.images[one.picture, :, y0:y1, x0:x1]

    def seen(self, one: TopPicture) -> Box:
        """The box that a patch is cut out by: what the unit sees, or where that is nearly all of
        the picture, what it mostly looks at.
        """
        return one.core if self.sees_all(one) else one.box

    def sees_all(self, one: TopPicture) -> bool:
        """Whether the field is nearly the whole picture."""
        height, width = self.images.shape[2:]
        y0, x0, y1, x1 = one.box
        return (y1 - y0) * (x1 - x0) >= NEARLY * height * width

    @cached_property
    def names(self) -> list[str]:
        """Of the classes, short and told apart."""
        return class_names(self.classes, 22)

    def said(self, one: TopPicture) -> list[str]:
        """Lines on a picture: what it is, what it is predicted as, and the number."""
        names = self.names
        predicted = names[one.predicted]
        what = predicted
        if one.label >= 0 and one.label != one.predicted:
            what = f"{names[one.label]}, predicted as {predicted}"
        told = [what, f"{number(one.value)} ({as_percent(one.confidence)})"]
        if not self.patch(one).numel():  # such as at the ceiling of a ReLU6
            told.append("no pixel moves it there")
        return told

    def wrong(self, one: TopPicture) -> bool:
        """Whether the picture is misclassified."""
        return one.label >= 0 and one.label != one.predicted

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **self.record, "layer": self.units.describe(), "by": self.by, "way": self.way or None,
            "receptive_field": None if self.sees is None else self.sees.describe(),
            "notes": list(self.notes),
            "units": [
                {
                    "unit": unit,
                    "share": self.shares.get(unit),
                    "pictures": [self._described(one) for one in pictures],
                }
                for unit, pictures in zip(self.chosen, self.found, strict=True)
            ],
        }  # fmt: skip

    def _described(self, one: TopPicture) -> dict[str, Any]:
        return {
            "index": one.index, "name": one.name, "value": one.value, "place": one.place,
            "box": list(one.box), "core": list(one.core),
            "label": None if one.label < 0 else self.classes[one.label],
            "predicted": self.classes[one.predicted], "confidence": one.confidence,
        }  # fmt: skip

    def _line(self) -> str:
        return f"{count(len(self.chosen), 'unit')} of {self.units.layer} by {self.by}" + (
            f" ({self.way})" if self.way else ""
        )

    def _view(self) -> Iterator[html.Html]:
        for unit, pictures in list(zip(self.chosen, self.found, strict=True))[:FEW]:
            yield html.paragraph(f"unit {unit}")
            yield html.cards(
                [html.picture(self.images[one.picture], "\n".join(self.said(one)))]
                for one in pictures[:_SHOWN]
            )
        yield html.notes(self.notes)


def top_pictures(
    what: Activations | tuple[Classifier | nn.Module, Images, str | None],
    units: Sequence[int] | int | None = None,
    n: int = 9,
    by: str = "activation",
    *,
    model: Classifier | nn.Module | None = None,
    call: int | None = None,
    reduction: str = "max",
    way: str | None = None,
    out: str | Path | None = None,
    batch_size: int | None = None,
    on_share: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> TopPictures:
    """The ``n`` pictures that each of some units answers to most, with the patches they saw.

    Args:
        what: what :func:`fluoroscope.neurons.read` gave, whose numbers rank by activation; or
            ``(model, images, layer)``, which are read here by their largest place.
        units: their numbers; by default the four that have the largest mean share in the decisions
            of up to 256 of the pictures.
        n: pictures of each, at most as many as there are.
        by: ``activation`` or ``relevance``.
        model: with activations, the network they were read from.
        call: which use of the layer, where it is read here.
        reduction: of a unit's places, where it is read here: ``max`` or ``mean``.
        way: how relevance is found, see :func:`.relevance.unit_relevance`.
        out: a directory to keep in what is read here, in a folder for each network and set of
            pictures, layer and reduction: a call that was killed goes on.
        batch_size: pictures at once.
        on_share: told the share that lies behind.
        cancelled: asked now and then; once true, the result is of the pictures read so far.

    Raises:
        InvalidParameterError: no such layer, unit, way or ``by``, or no network or pictures with
            activations.
    """
    if by not in BY:
        raise InvalidParameterError(f"by is {by!r}; expected one of {', '.join(BY)}")
    if n < 1:
        raise InvalidParameterError(f"n is {n}; expected 1 or more")
    steps = _Steps(on_share, 1 + (by == "relevance" or units is None))
    network, images, read_before = _given(what, model)
    layer, call = (
        (read_before.units.layer, read_before.units.call) if read_before else (what[2], call)  # type: ignore[index]
    )
    if layer is None:
        height, width = shown(network, images, [0]).shape[2:]
        layer = usual_layer(network, (height, width))
    given = [units] if isinstance(units, int) else units or []
    options: dict[str, Any] = {"call": call, "batch_size": batch_size, "cancelled": cancelled}
    place = None if out is None else Path(out) / _of_pictures(network, images)
    if units is not None:  # one that it does not have is refused before anything is read
        height, width = shown(network, images, [0]).shape[2:]
        known = (
            read_before.units if read_before else find_units(network, layer, call, (height, width))
        )
        as_units(known, given)
    kept: KeptRelevance | None = None
    if by == "relevance" or units is None:
        whole = by == "relevance"
        looked = images if whole else sample_of(images, _LOOKED)
        kept = kept_relevance(
            network, looked, layer, way=way, on_share=steps.part(),
            out=place and place / _called(layer, call, way, "relevance" if whole else "shares"),
            **options,
        )  # fmt: skip
    activations = read_before
    if activations is None:
        activations = read(
            network, images, layer, reduction=reduction, on_share=steps.part(),
            out=place and place / _called(layer, call, reduction), **options,
        )  # fmt: skip
    chosen = (
        kept.ranking()[:FEW].tolist()
        if units is None and kept is not None
        else as_units(activations.units, given)
    )
    return _Chosen(network, images, activations, kept if by == "relevance" else None, n).made(
        chosen, kept, by
    )


def _of_pictures(model: Classifier, images: ImageSet) -> str:
    """A directory for a network and pictures: others are read beside these, not in their place."""
    about = [model.name, images.identity()]
    return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]


def _called(layer: str, call: int | None, *how: str | None) -> str:
    """A directory's name, in which a layer's is no path."""
    parts = [layer, *([] if call is None else [f"call {call}"]), *filter(None, how)]
    return "-".join(re.sub(r"[^\w.]+", "-", part) for part in parts)


class _Steps:
    """One bar for what is done in several passes."""

    def __init__(self, on_share: Callable[[float], None] | None, many: int) -> None:
        self._told, self._many, self._begun = on_share, many, 0

    def part(self) -> Callable[[float], None] | None:
        told, start, many = self._told, self._begun, self._many
        self._begun += 1
        if told is None:
            return None
        return lambda share: told(min(1.0, (start + share) / many))


def _given(
    what: Any, model: Classifier | nn.Module | None
) -> tuple[Classifier, ImageSet, Activations | None]:
    if not isinstance(what, Activations):
        network = as_classifier(what[0])
        return network, as_set(network, what[1]), None
    if model is None or what.images is None:
        lacking = "model" if model is None else "images"
        raise InvalidParameterError(
            f"{lacking} is missing: the pictures are looked at again for the places and patches; "
            "expected the network as model=, and activations that hold their pictures "
            "(Activations.open(directory, model, images))"
        )
    return as_classifier(model), what.images, what


@dataclass
class _Chosen:
    """What top pictures are made of."""

    model: Classifier
    images: ImageSet
    activations: Activations
    relevance: KeptRelevance | None
    n: int

    def made(self, chosen: Sequence[int], kept: KeptRelevance | None, by: str) -> TopPictures:
        values = (self.relevance or self.activations).values
        many = min(len(values), len(self.activations.values))
        if not many:  # it was stopped before a part of the pictures was read
            none = torch.zeros(0, self.model.channels, 1, 1, dtype=torch.float32, device="cpu")
            units, classes = self.activations.units, self.activations.classes
            return TopPictures(units, tuple(chosen), by, "", ((),) * len(chosen), none, classes)
        best = top_rows_of(values[:many], chosen, min(self.n, many))
        rows = sorted({int(row) for each in best for row in each})
        where = {row: number for number, row in enumerate(rows)}
        model = self.model
        pictures = shown(model, self.images, rows)
        pairs = [(unit, int(row)) for unit, each in zip(chosen, best, strict=True) for row in each]
        places = self._places(pictures, where, pairs)
        boxes = fields(
            model, self.activations.units, [unit for unit, _ in pairs], places,
            pictures[[where[row] for _, row in pairs]],
        )  # fmt: skip
        seen = self.activations
        tops = [
            TopPicture(
                unit, int(seen.indices[row]), self.images.names([seen.indices[row]])[0],
                float(values[row, unit]), place, box, core, int(seen.labels[row]),
                int(seen.predicted[row]), float(seen.confidence[row]), where[row],
                number_,
            )
            for number_, ((unit, row), place, (box, core)) in enumerate(
                zip(pairs, places, boxes, strict=True)
            )
        ]  # fmt: skip
        each = [tuple(one for one in tops if one.unit == unit) for unit in chosen]
        notes = [*self.activations.notes, *(kept.notes if kept else ())]
        notes += _tied(values[:many], chosen, best)
        shares = kept.shares() if kept else np.zeros(0)
        return TopPictures(
            self.activations.units, tuple(chosen), by,
            kept.way if kept is not None and by == "relevance" else "", tuple(each), pictures,
            self.activations.classes, {unit: float(shares[unit]) for unit in chosen if kept},
            self._record(kept), distinct(notes), self._maps(pictures, where, pairs),
            self._field(chosen, pictures), self.activations,
        )  # fmt: skip

    def _reader(self, pictures: Tensor) -> LayerReader:
        units, way = self.activations.units, GRADIENT_WAY
        if self.relevance is not None:
            way = self.relevance.way
        first = pictures[:1].to(self.model.device, self.model.dtype)
        return LayerReader(self.model, first, units.layer, call=units.call, way=way)

    def _maps(
        self, pictures: Tensor, where: dict[int, int], pairs: Sequence[tuple[int, int]]
    ) -> Tensor | None:
        """Where in each picture the relevance of its unit came from."""
        if self.relevance is None:
            return None
        model, reader, found = self.model, self._reader(pictures), []
        size = suitable_batch(pictures)
        for start in range(0, len(pairs), size):
            some = pairs[start : start + size]
            rows = pictures[[where[row] for _, row in some]].to(model.device, model.dtype)
            which = torch.tensor([unit for unit, _ in some], device=model.device)
            found.append(reader.at_pixels(rows, None, which).float().cpu())
        return torch.cat(found)

    def _field(self, chosen: Sequence[int], pictures: Tensor) -> ReceptiveField:
        """From the middle, by the first of the pictures and by noise."""
        units = self.activations.units
        return receptive_field(
            self.model, units.layer, chosen, call=units.call, images=pictures[:_REAL]
        )

    def _record(self, kept: KeptRelevance | None) -> dict[str, Any]:
        record = self.activations.record
        return {
            "model": record.get("model"), "data": record.get("data"),
            "pictures": len(self.activations.values),
            "reduction": str(self.activations.reduction),
            "relevance_of": None if kept is None else len(kept.values),
            "adversarial": bool((self.activations.sources >= 0).any()),
        }  # fmt: skip

    def _places(
        self, pictures: Tensor, where: dict[int, int], pairs: Sequence[tuple[int, int]]
    ) -> list[int]:
        """Where each unit is strongest in its pictures: by what they were chosen by."""
        model, units, reader = self.model, self.activations.units, self._reader(pictures)
        found: dict[int, Tensor] = {}
        size = suitable_batch(pictures)
        for start in range(0, len(pictures), size):
            rows = pictures[start : start + size].to(model.device, model.dtype)
            at = reader.of_places(rows, relevance=self.relevance is not None)
            strongest = at[:, :, (units.grid.prefix if units.grid else 0) :].argmax(2)
            strongest += units.grid.prefix if units.grid else 0
            found |= dict(enumerate(strongest.cpu(), start))
        return [int(found[where[row]][unit]) for unit, row in pairs]


def _tied(values: Any, chosen: Sequence[int], best: Sequence[Any]) -> list[str]:
    """Where more pictures share the last number that is shown than are shown."""
    tied = []
    for unit, rows in zip(chosen, best, strict=True):
        last = values[rows[-1], unit]
        column = np.asarray(values[:, unit])
        if int((column == last).sum()) > int((column[rows] == last).sum()):
            tied.append((unit, int((column == last).sum()), float(last)))
    if not tied:
        return []
    unit, many, last = tied[0]
    more = f", and likewise {count(len(tied) - 1, 'more unit')}" if len(tied) > 1 else ""
    return [
        f"unit {unit}: {count(many, 'picture')} share the number {number(last)}, of which the "
        f"first in the data set are shown{more}: the order tells nothing (an activation with a "
        "ceiling, or a unit that is off); another reduction may tell them apart"
    ]


def top_rows_of(values: Any, units: Sequence[int], n: int) -> list[Any]:
    """The rows of the largest values of some units, the largest first."""
    columns = np.stack([np.asarray(values[:, unit]) for unit in units], 1)
    return list(top_rows(columns, n))
