"""Which concept a unit is a detector of: network dissection (Bau et al. 2017, 1704.05796).

A unit is on where its map, enlarged to the picture (bilinearly, as the original does), is above the
threshold that a share of .005 of all its places in all pictures exceeds. With a concept it has the
IoU ``sum |on and concept| / sum |on or concept|``, over all pictures that have masks; where that is
above .04 it counts as a detector. Both numbers are the paper's; the authors' later code defaults to
a share of .01.

Beside the best IoU stands the best of the same unit when every picture is given the masks of the
one before: what large or frequent concepts reach without being looked for.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.first_look import first_look
from fluoroscope.engine.predict import check_batch_size, suitable_batch
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.answers.masks import Masks, open_masks
from fluoroscope.neurons.answers.relevance import as_units, shown
from fluoroscope.neurons.reading.units import Units, find_units
from fluoroscope.neurons.reading.usual import usual_layer
from fluoroscope.pictures import html
from fluoroscope.words import count, number, shortened

QUANTILE, LEAST_IOU = 0.005, 0.04
# Values that are kept at once for the thresholds, and of enlarged maps.
_KEPT, _AT_ONCE = 2**25, 2**24


@dataclass(frozen=True, repr=False)
class Dissection(html.Shown):
    """What units are detectors of."""

    units: Units
    chosen: tuple[int, ...]
    """The ``U`` units that were looked at."""
    concepts: tuple[str, ...]
    """The names of the ``C`` concepts."""
    iou: NDArray[np.float64]
    """``(U, C)``; NaN of concepts that no picture has."""
    control: NDArray[np.float64]
    """``(U,)``, the best IoU with the masks of another picture; NaN where none could be taken."""
    thresholds: NDArray[np.float32]
    """``(U,)``, above which a unit is on."""
    on: NDArray[np.float64]
    """``(U,)``, the share of the pictures' pixels at which it is on."""
    pictures: NDArray[np.int64]
    """``(C,)``, in how many pictures each concept is."""
    looked: int
    """Pictures that have masks."""
    quantile: float
    least: float
    notes: tuple[str, ...] = ()

    def best(self, row: int) -> tuple[str, float]:
        """The concept of the largest IoU of the unit in a row, and that."""
        if np.isnan(self.iou[row]).all():
            return "", float("nan")
        place = int(np.nanargmax(self.iou[row]))
        return self.concepts[place], float(self.iou[row, place])

    @property
    def detectors(self) -> dict[int, str]:
        """The units that count as detectors, each with its concept."""
        found = {}
        for row, unit in enumerate(self.chosen):
            name, iou = self.best(row)
            if iou > self.least:
                found[unit] = name
        return found

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "layer": self.units.describe(), "quantile": self.quantile, "least_iou": self.least,
            "scaled": "maps to masks, bilinearly", "pictures": self.looked,
            "concepts": len(self.concepts), "detectors": len(self.detectors),
            "unique_detectors": len(set(self.detectors.values())), "notes": list(self.notes),
            "units": [
                {
                    "unit": unit, "concept": self.best(row)[0] or None,
                    "iou": _plain(self.best(row)[1]), "with_other_masks": _plain(self.control[row]),
                    "detector": unit in self.detectors, "threshold": float(self.thresholds[row]),
                    "on": float(self.on[row]),
                }
                for row, unit in enumerate(self.chosen)
            ],
        }  # fmt: skip

    def rows(self) -> list[list[str]]:
        """A row for each unit: its best concept, IoU, that with other masks, and the verdict."""
        reached = np.array([self.best(row)[1] for row in range(len(self.chosen))])
        order = np.argsort(-np.nan_to_num(reached, nan=-1), kind="stable")
        found = []
        for row in order.tolist():
            name, iou = self.best(row)
            verdict = "detector" if self.chosen[row] in self.detectors else ""
            found.append([
                str(self.chosen[row]), shortened(name), number(iou, 2),
                number(float(self.control[row]), 2), verdict,
            ])  # fmt: skip
        return found

    def _line(self) -> str:
        detectors = self.detectors
        return (
            f"{len(detectors):,} of {count(len(self.chosen), 'unit')} of {self.units.layer} are "
            f"detectors, of {count(len(set(detectors.values())), 'concept')}"
        )

    def _view(self) -> Iterator[html.Html]:
        heads = ["unit", "concept", "IoU", "with other masks", ""]
        yield html.table(heads, self.rows(), right=(2, 3))
        yield html.notes(self.notes)


def dissect(
    model: Classifier | nn.Module,
    images: ImageSet,
    masks: str | Path,
    layer: str | None = None,
    units: Sequence[int] | None = None,
    *,
    call: int | None = None,
    quantile: float = QUANTILE,
    iou: float = LEAST_IOU,
    batch_size: int | None = None,
    on_share: Callable[[float], None] | None = None,
) -> Dissection:
    """Hold the maps of units against masks of concepts.

    The threshold is exact: a first pass keeps, of each unit, the largest values alone, and a second
    counts. Of more units than fit at once a group after the other is looked at, with two passes
    each.

    Args:
        model: the network.
        images: pictures; those without a mask are left out, and counted.
        masks: a folder of them, see :mod:`.masks`.
        layer: its name; by default :func:`fluoroscope.neurons.usual_layer`.
        units: some of its units; by default all.
        call: which use of the layer.
        quantile: the share of places at which a unit is on.
        iou: the IoU above which it counts as a detector.
        batch_size: pictures at once.
        on_share: told the share that lies behind.

    Raises:
        InvalidParameterError: no such layer, unit or share, or a layer without places.
        UnknownDataError: no masks, or none of any picture.
        PictureError: a mask is damaged, too large, or of other proportions than its picture.
    """
    model = as_classifier(model).plain
    looked, there, notes = with_masks(images, masks, quantile, iou)
    first = shown(model, looked, [0]).to(model.device, model.dtype)
    size = (int(first.shape[2]), int(first.shape[3]))
    first_look(model, first)
    found = find_units(model, layer or usual_layer(model, size), call, size)
    found.maps(torch.zeros(1, *found.shape, dtype=torch.float32, device="cpu"))  # or is refused
    assert found.grid is not None
    chosen = list(range(found.count)) if units is None else as_units(found, units)
    many = len(looked) * found.grid.height * found.grid.width
    above = floor(quantile * many)
    at_once = suitable_batch(first) if batch_size is None else check_batch_size(batch_size)
    group = max(1, _KEPT // (above + 1))
    groups = [chosen[at : at + group] for at in range(0, len(chosen), group)]
    parts = []
    for number_, some in enumerate(groups):
        look = _Look(model, found, looked, there, some, at_once)

        def told(share: float, begun: int = number_) -> None:
            if on_share is not None:
                on_share((begun + share) / len(groups))

        thresholds = look.thresholds(above, told)
        parts.append((thresholds, *look.counts(thresholds, told)))
    made = [np.concatenate([part[place] for part in parts]) for place in range(4)]
    thresholds, reached, control, on = made
    return Dissection(
        found, tuple(chosen), there.concepts, reached, control, thresholds.astype(np.float32), on,
        parts[0][4], len(looked), quantile, iou, (*images.notes, *there.notes, *notes),
    )  # fmt: skip


def with_masks(
    images: ImageSet, folder: str | Path, quantile: float = QUANTILE, iou: float = LEAST_IOU
) -> tuple[ImageSet, Masks, list[str]]:
    """The pictures that have any masks, these, and notes; what :func:`dissect` asks first.

    Raises:
        InvalidParameterError, UnknownDataError: see :func:`dissect`.
    """
    for name, value in (("quantile", quantile), ("iou", iou)):
        if not 0 < value < 1:
            raise InvalidParameterError(f"{name} is {value}; expected a share between 0 and 1")
    names, indices = images.names(), images.indices
    masks = open_masks(folder).told_apart(names)
    keys = map(masks.key, names, indices)
    positions = [place for place, key in enumerate(keys) if key is not None]
    if not positions:
        first = names[0] if names else ""
        raise InvalidParameterError(
            f"masks {masks.root} has none of any of {count(len(images), 'picture')} of "
            f"{images.name}; expected files called as these are, such as {first!r} with another "
            "ending, or by their number in the data set"
        )
    lost = len(images) - len(positions)
    notes = [f"{count(lost, 'picture')} without a mask: left out"] if lost else []
    return (images.select(positions) if lost else images), masks, notes


@dataclass
class _Look:
    """Some units of a layer, and the pictures with their masks."""

    model: Classifier
    units: Units
    images: ImageSet
    masks: Masks
    chosen: Sequence[int]
    batch_size: int

    def thresholds(self, above: int, told: Callable[[float], None]) -> NDArray[np.float32]:
        """Of each unit the value that just so many of all its places exceed, ties aside."""
        kept = torch.empty(len(self.chosen), 0, dtype=torch.float32, device="cpu")
        done = 0
        for maps, _ in self._maps():
            kept = torch.cat([kept, maps.transpose(0, 1).flatten(1)], 1)
            kept = kept.topk(min(above + 1, kept.shape[1]), 1).values
            done += len(maps)
            told(0.5 * done / len(self.images))
        return kept.amin(1).numpy()

    def counts(
        self, thresholds: NDArray[np.float32], told: Callable[[float], None]
    ) -> tuple[NDArray[Any], ...]:
        """IoU ``(U, C)``, the best with other masks ``(U,)``, how much each is on, and in how many
        pictures a concept is ``(C,)``.
        """
        shape = (len(self.chosen), len(self.masks.concepts))
        both, other = np.zeros(shape), np.zeros(shape)
        area, moved = np.zeros(shape[1]), np.zeros(shape[1])
        on, on_moved, pixels = np.zeros(shape[0]), np.zeros(shape[0]), 0
        present = np.zeros(shape[1], np.int64)
        bars = torch.from_numpy(thresholds)
        before: dict[int, Tensor] = {}
        done = 0
        for maps, positions in self._maps():
            for one, position in zip(maps, positions, strict=True):
                size, masks = self._masks_of(position)
                fit = {c: m for c, m in before.items() if tuple(m.shape) == size}
                pixels += size[0] * size[1]
                for start in range(0, len(one), max(1, _AT_ONCE // (size[0] * size[1]))):
                    rows = slice(start, start + max(1, _AT_ONCE // (size[0] * size[1])))
                    lit = self._enlarged(one[rows], size) > bars[rows, None, None]
                    lit_flat = lit.flatten(1).float()
                    _add(both[rows], lit_flat, masks)
                    _add(other[rows], lit_flat, fit)
                    lit_many = lit_flat.sum(1, dtype=torch.float64).numpy()
                    on[rows] += lit_many
                    on_moved[rows] += lit_many if fit else 0
                for concept, mask in masks.items():
                    area[concept] += float(mask.sum())
                    present[concept] += 1
                for concept, mask in fit.items():
                    moved[concept] += float(mask.sum())
                before = masks
                done += 1
            told(0.5 + 0.5 * done / len(self.images))
        iou = _iou(both, on, area)
        shifted = _iou(other, on_moved, moved)
        control = np.full(len(iou), np.nan)
        known = ~np.isnan(shifted).all(1)
        control[known] = np.nanmax(shifted[known], axis=1)
        return iou, control, on / max(1, pixels), present

    def _maps(self) -> Iterator[tuple[Tensor, list[int]]]:
        """Maps ``(n, U, h, w)`` of the units, and which pictures these are."""
        model, start = self.model, 0
        which = torch.tensor(self.chosen, device=model.device)
        for batch in self.images.batches(self.batch_size, fit=model.preprocessing):
            rows = batch.images.to(model.device, model.dtype)
            answer = evaluate(model, rows, layer=self.units.layer, call=self.units.call, look=False)
            assert answer.activation is not None
            maps = self.units.maps(answer.activation)[:, which]
            yield maps.float().cpu(), list(range(start, start + len(maps)))
            start += len(maps)

    def _enlarged(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Maps ``(U, h, w)`` over the picture as the network is given it."""
        seen = self.model.preprocessing.seen(*size)
        large = F.interpolate(maps[None], seen, mode="bilinear", align_corners=False)
        return self.model.preprocessing.unfit(large, *size)[0]

    def _masks_of(self, position: int) -> tuple[tuple[int, int], dict[int, Tensor]]:
        """The masks of a picture in the geometry in which the network is given it."""
        sample = self.images[position]
        size = (int(sample.image.shape[1]), int(sample.image.shape[2]))
        nearest = replace(self.model.preprocessing, interpolation="nearest")
        found = self.masks.of(sample.name, sample.index, size)
        fitted = nearest.resample(torch.zeros(1, *size, dtype=torch.float32, device="cpu"))
        masks = {
            concept: nearest.resample(torch.from_numpy(mask)[None].float())[0] > 0.5
            for concept, mask in found.items()
        }
        return (int(fitted.shape[1]), int(fitted.shape[2])), masks


def _add(both: NDArray[np.float64], lit: Tensor, masks: dict[int, Tensor]) -> None:
    """Count the pixels at which units ``(U, HW)`` are on and a concept is."""
    if masks:
        flat = torch.stack([mask.flatten() for mask in masks.values()]).float()
        both[:, list(masks)] += (lit @ flat.T).double().numpy()


def _iou(
    both: NDArray[np.float64], on: NDArray[np.float64], area: NDArray[np.float64]
) -> NDArray[np.float64]:
    """NaN of concepts that nowhere are."""
    union = on[:, None] + area - both
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(area > 0, both / union, np.nan)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
