"""Which pixels a unit can see from one of its places: measured, not taken from strides.

For several pictures the activation at that place is derived with respect to the pixels; whatever
has a derivative that is not zero is seen. A rectified path that is closed in one picture is open in
another, so the field is what any of them shows. Then everything outside its box is replaced: if the
activation stays as it was, nothing beyond the box was missed. A network whose places mix everything
(attention, squeeze and excitation) sees the whole picture, and so says the measurement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.predict import suitable_batch
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.reading.units import Units, find_units, noise
from fluoroscope.pictures import html
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import percent

Box = tuple[int, int, int, int]
"""``(y0, x0, y1, x1)`` in pixels, without the last row and column."""
# The part of the derivative that the narrower box holds, and the one of a picture that counts as
# all of it.
_HELD, _ALL = 0.95, 0.999
# Below this part of the activation's spread a change is rounding.
_ROUNDING = 1e-4
_OUTSIDE = 1  # the draw of what replaces the pixels outside


@dataclass(frozen=True, repr=False)
class ReceptiveField(html.Shown):
    """What units see of a picture from one place."""

    box: Box
    """All pixels that any of the pictures showed to matter."""
    core: Box
    """The smallest middle that holds 95 % of the derivative's size, rows and columns by themselves:
    what a unit mostly looks at (Luo et al. 2016, 1701.04128)."""
    weight: Tensor
    """``(H, W)``, the mean size of the derivative at each pixel; adds up to 1, or is 0."""
    place: int
    """Of the unit's places, tokens of none first."""
    units: Units
    of: tuple[int, ...]
    """The units that were asked about; empty for all of the layer."""
    pictures: int
    settled: bool
    """Whether the box that the first half of the pictures showed is that of all."""
    leak: float
    """How much the activation changed when everything outside the box was replaced, as a part of
    its spread over the pictures; NaN where nothing is outside, or the activation never changed."""

    @property
    def share(self) -> float:
        """The part of the picture that the box covers."""
        y0, x0, y1, x1 = self.box
        return (y1 - y0) * (x1 - x0) / self.weight.numel()

    @property
    def everything(self) -> bool:
        """Whether a unit sees the whole picture."""
        return self.share >= _ALL

    @property
    def certain(self) -> bool:
        """Whether nothing beyond the box matters to the activation, as far as was tried."""
        return self.everything or self.leak <= _ROUNDING

    def said(self) -> str:
        """A sentence on the field and how certain it is."""
        if not self.share:
            return f"no pixel was seen to matter in {self.pictures} pictures: the unit may be dead"
        y0, x0, y1, x1 = self.box
        if self.everything:
            what = "it sees the whole picture"
        else:
            what = (
                f"it sees {y1 - y0}×{x1 - x0} pixels, {percent(self.share, 0)} of the picture, and "
                + (
                    "nothing outside changes it"
                    if self.certain
                    else f"what lies outside changes it by {percent(self.leak)} of its spread, so "
                    "the box is too small"
                )
            )
        y0, x0, y1, x1 = self.core
        return f"{what}; mostly (95 % of the derivative) {y1 - y0}×{x1 - x0}"

    def describe(self) -> dict[str, object]:
        """As plain values."""
        leak = None if self.leak != self.leak else self.leak
        return {
            "layer": self.units.layer, "units": list(self.of), "place": self.place,
            "box": list(self.box), "core": list(self.core), "share": self.share,
            "everything": self.everything, "certain": self.certain, "settled": self.settled,
            "leak": leak, "pictures": self.pictures,
        }  # fmt: skip

    def _line(self) -> str:
        return f"{self.units.layer}, place {self.place}: {self.said()}"


def receptive_field(
    model: Classifier | nn.Module,
    layer: str,
    units: int | Sequence[int] | None = None,
    *,
    place: int | tuple[int, int] | None = None,
    call: int | None = None,
    images: Tensor | None = None,
    samples: int = 8,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> ReceptiveField:
    """Measure which pixels units see from one place.

    Args:
        model: the network.
        layer: its name.
        units: some of its units, whose fields are put together; by default all.
        place: row and column of a map, or the number of a place (tokens of no place first); by
            default the middle one.
        call: which use of the layer; by default the last.
        images: real pictures ``(N, C, H, W)`` to measure with, beside those of noise.
        samples: pictures of noise, at least 2.
        seed: of the noise.
        size: ``(height, width)`` where the network takes any and no images say it.

    Raises:
        InvalidParameterError: no such layer, call, unit or place.
    """
    model = as_classifier(model).plain
    real = None if images is None else check_images(images, model.channels)
    if real is not None:
        size = (int(real.shape[2]), int(real.shape[3]))
    found = find_units(model, layer, call, size)
    chosen = _chosen(found, units)
    at = _place(found, place)
    pictures = _noise(model, size, whole_number("samples", samples), seed)
    if real is not None:
        pictures = torch.cat([real.to(pictures), pictures])
    return measured(model, found, chosen, at, pictures, seed)


@torch.inference_mode(False)
def measured(
    model: Classifier, units: Units, of: Sequence[int], place: int, pictures: Tensor, seed: int = 0
) -> ReceptiveField:
    """The field of units at a place, by pictures ``(N, C, H, W)`` on the network's device."""
    weight = pictures.new_zeros(pictures.shape[2:], dtype=torch.float64)
    seen = torch.zeros_like(weight, dtype=torch.bool)
    values: list[float] = []

    def one(rows: Tensor, gradient: bool = True) -> tuple[Tensor, Tensor]:
        which = [list(of) or list(range(units.count))] * len(rows)
        return _asked(model, units, which, [place] * len(rows), rows, gradient)

    first, half = (0, 0, 0, 0), (len(pictures) + 1) // 2
    for rows in pictures.split(suitable_batch(pictures)):
        for value, slope in zip(*one(rows), strict=True):
            size = slope.abs().sum(0).double()
            seen |= size > 0
            if float(size.sum()) > 0:
                weight += size / size.sum()
            values.append(float(value))
            if len(values) == half:
                first = _box(seen)
    box = _box(seen)
    total = float(weight.sum())
    weight = weight / total if total else weight
    leak = _leak(one, pictures, box, values, seed)
    return ReceptiveField(
        box, _core(weight), weight.float().cpu(), place, units, tuple(of), len(pictures),
        first == box, leak,
    )  # fmt: skip


def fields(
    model: Classifier, units: Units, of: Sequence[int], places: Sequence[int], pictures: Tensor,
    samples: int,
) -> list[tuple[Box, Box]]:  # fmt: skip
    """The box and the core of each of some units at a place of its own, by a picture of its own
    ``(n, C, H, W)`` and pictures of noise.
    """
    if not len(pictures):
        return []
    extra = _noise(model, (int(pictures.shape[2]), int(pictures.shape[3])), samples, 0)
    each = 1 + samples
    rows = [(number, look) for number in range(len(pictures)) for look in range(each)]
    weights = torch.zeros(len(pictures), *pictures.shape[2:], dtype=torch.float64, device="cpu")
    seen = torch.zeros_like(weights, dtype=torch.bool)
    size = suitable_batch(pictures)
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        shown = torch.stack(
            [extra[look - 1] if look else pictures[number].to(extra) for number, look in some]
        )
        which = [(of[number],) for number, _ in some]
        at = [places[number] for number, _ in some]
        _, slope = _asked(model, units, which, at, shown)
        slopes = slope.abs().sum(1).double().cpu()
        for (number, _), found in zip(some, slopes, strict=True):
            seen[number] |= found > 0
            if float(found.sum()) > 0:
                weights[number] += found / found.sum()
    return [
        (_box(mask), _core(weight / weight.sum() if float(weight.sum()) else weight))
        for mask, weight in zip(seen, weights, strict=True)
    ]


@torch.inference_mode(False)
def _asked(
    model: Classifier, units: Units, of: Sequence[Sequence[int]], places: Sequence[int],
    rows: Tensor, gradient: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The activation at a place of each row ``(n,)``, of several units a mixture, and its
    derivative.
    """
    at = Place(units.layer, call=units.call)
    numbers = torch.tensor([list(one) for one in of], device=rows.device)
    where = torch.tensor(list(places), device=rows.device)
    own = torch.arange(len(rows), device=rows.device)
    mixture = (1.0 + numbers).cos()  # no two units cancel for good
    if numbers.shape[1] == 1:
        mixture = torch.ones_like(mixture)

    def activation(seen: Seen) -> Tensor:
        here = units.places(seen.outputs[at])[own[:, None], numbers, where[:, None]]
        return (here * mixture.to(here.dtype)).sum(1, keepdim=True)

    goal = Inside("an activation", (at,), activation)
    none = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
    answer = evaluate(model, rows, none, goal, gradient=gradient, look=False)
    assert answer.terms is not None
    return answer.terms[:, 0], rows if answer.gradient is None else answer.gradient


def _leak(
    one: Callable[..., tuple[Tensor, Tensor]], pictures: Tensor, box: Box, values: list[float],
    seed: int,
) -> float:  # fmt: skip
    """The largest change by another outside, as a part of the spread of the values."""
    height, width = pictures.shape[2:]
    y0, x0, y1, x1 = box
    spread = max(values) - min(values)
    if (y1 - y0) * (x1 - x0) in (0, height * width) or not spread:
        return float("nan")
    key = randomness.keys(seed, torch.arange(len(pictures), device=pictures.device))
    other = randomness.uniform(key, _OUTSIDE, tuple(pictures.shape[1:])).to(pictures)
    other[:, :, y0:y1, x0:x1] = pictures[:, :, y0:y1, x0:x1]
    most, done = 0.0, 0
    for rows in other.split(suitable_batch(other)):
        found, _ = one(rows, gradient=False)
        for number, value in enumerate(found.tolist()):
            most = max(most, abs(value - values[done + number]))
        done += len(rows)
    return most / spread


def _box(seen: Tensor) -> Box:
    if not bool(seen.any()):
        return 0, 0, 0, 0
    rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _core(weight: Tensor) -> Box:
    """The rows and columns between the quantiles that leave 2.5 % of the weight at each side."""
    if not float(weight.sum()):
        return 0, 0, 0, 0
    ends = []
    for axis in (1, 0):
        sums = weight.sum(axis).cumsum(0)
        tail = (1 - _HELD) / 2
        ends.append((int((sums <= tail).sum()), int((sums < 1 - tail - 1e-12).sum()) + 1))
    (y0, y1), (x0, x1) = ends
    return y0, x0, min(y1, weight.shape[0]), min(x1, weight.shape[1])


def _noise(model: Classifier, size: tuple[int, int] | None, many: int, seed: int) -> Tensor:
    """Pictures of uniform noise, no two of the same grey."""
    shape = tuple(noise(model, size).shape[1:])
    key = randomness.keys(seed, torch.arange(many, device=model.device))
    return randomness.uniform(key, 0, shape).to(model.device, model.dtype)


def _chosen(units: Units, given: int | Sequence[int] | None) -> list[int]:
    from fluoroscope.neurons.answers.relevance import as_units

    if given is None:
        return []
    return as_units(units, [given] if isinstance(given, int) else given)


def _place(units: Units, given: int | tuple[int, int] | None) -> int:
    many = 1
    for axis, side in enumerate(units.shape, 1):
        many *= 1 if axis == units.axis else side
    grid = units.grid
    if isinstance(given, int) and 0 <= given < many:
        return given
    if given is None:
        if grid is None:
            return many // 2
        given = (grid.height // 2, grid.width // 2)
    if grid is not None and isinstance(given, tuple) and len(given) == 2:
        row, column = given
        if 0 <= row < grid.height and 0 <= column < grid.width:
            return grid.prefix + row * grid.width + column
    lies = "" if grid is None else f", or (row, column) below ({grid.height}, {grid.width})"
    raise InvalidParameterError(
        f"place is {given}, and a unit of the layer {units.layer!r} has {many}; expected a number "
        f"from 0 to {many - 1}{lies}"
    )
