"""Which pixels a unit can see from one of its places: measured, not taken from strides.

For several pictures the activation at that place is derived with respect to the pixels; whatever
has a derivative that is not zero is seen. A rectified path that is closed in one picture is open in
another, and a maximum lets through one path in each, so the field is what any of them shows, and
there are more of them until the box stays the same. Then everything outside it is replaced: if the
activation stays as it was, nothing beyond the box was missed; else the box grows, and more pictures
are looked at. A network whose places mix everything
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
NEARLY = 0.9
"""The part of a picture from which on a patch is as good as all of it."""
# Below this part of the activation's spread a change is rounding.
_ROUNDING = 1e-4
# Draws of the hash: the pictures, coarse ones, and what replaces the pixels outside.
_PICTURES, _WIDE, _OUTSIDE = 0, 1, 2
# Pixels of a coarse picture that are the same, along each side.
_COARSE = 4
# Pictures that have to show anything before a box counts as settled, and noise at the most: behind
# a maximum each picture shows but one of the ways. Then the same for the patch of one picture, in
# steps of some.
_LIVE, _MOST = 32, 128
_LIVE_EACH, _MOST_EACH, _EACH = 16, 32, 4
# Pictures whose change by the outside is followed to the pixels that make it.
_TRACED = 16
_GROWN = 4  # times in a row that a box may grow by that


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
    """Whether enough pictures showed anything, the later half of them nothing that the first had
    not, and nothing outside changed the activation."""
    leak: float
    """How much the activation changed when everything outside the box was replaced, as a part of
    its spread over the pictures; NaN where nothing is outside, or the activation never changed. By
    then the box has grown as far as what lies beyond one of its sides alone changes it."""

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
        return self.everything or (self.settled and self.leak <= _ROUNDING)

    def said(self) -> str:
        """A sentence on the field and how certain it is."""
        if not self.share:
            return f"no pixel was seen to matter in {self.pictures} pictures: the unit may be dead"
        y0, x0, y1, x1 = self.box
        if self.everything:
            what = "it sees the whole picture"
        else:
            part = percent(self.share, 0) if self.share >= 0.005 else "under 1 %"
            size = f"{y1 - y0}×{x1 - x0} pixels, {part} of the picture, and "
            if self.certain:
                what = f"it sees {size}nothing outside changes it"
            elif self.leak > _ROUNDING:
                what = (
                    f"it sees {size}what lies outside changes it by {percent(self.leak)} of its "
                    "spread, so the box is too small"
                )
            else:
                what = f"it sees {size}maybe more: it answered to few of the pictures"
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
        samples: pictures of noise to begin with; up to 128 are drawn until the box is settled.
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
    draw = _Noise(model, size, whole_number("samples", samples), seed)
    return _measured(model, found, chosen, at, draw, real)


@dataclass
class _Sight:
    """What pictures showed so far of what is seen from one place."""

    weight: Tensor
    seen: Tensor
    boxes: list[Box]
    """After each picture that showed anything."""

    @classmethod
    def none(cls, size: Sequence[int]) -> "_Sight":
        weight = torch.zeros(*size, dtype=torch.float64, device="cpu")
        return cls(weight, torch.zeros_like(weight, dtype=torch.bool), [])

    @property
    def box(self) -> Box:
        return _box(self.seen)

    def add(self, slope: Tensor) -> None:
        """Of a picture the size of the derivative at each pixel ``(H, W)``."""
        total = float(slope.sum())
        if not total > 0:
            return
        self.seen |= slope > 0
        self.weight += slope / total
        self.boxes.append(self.box)

    def grow(self, box: Box) -> None:
        y0, x0, y1, x1 = box
        self.seen[y0, x0] = self.seen[y1 - 1, x1 - 1] = True

    def whole(self, part: float = _ALL) -> bool:
        """Whether it is that part of the picture, and can hardly grow."""
        y0, x0, y1, x1 = self.box
        return (y1 - y0) * (x1 - x0) >= part * self.seen.numel()

    def settled(self, least: int) -> bool:
        """Whether enough pictures showed anything, and the later half of them nothing new."""
        many = len(self.boxes)
        return many >= least and self.boxes[(many - 1) // 2] == self.box

    def shared(self) -> Tensor:
        total = float(self.weight.sum())
        return self.weight / total if total else self.weight


@torch.inference_mode(False)
def _measured(
    model: Classifier, units: Units, of: Sequence[int], place: int, draw: "_Noise",
    real: Tensor | None,
) -> ReceptiveField:  # fmt: skip
    """The field of units at a place, by real pictures and as much noise as it takes."""
    which = list(of) or list(range(units.count))

    def look(rows: Tensor, gradient: bool = True) -> tuple[Tensor, Tensor]:
        return _asked(
            model, units, [which] * len(rows), [place] * len(rows), rows, gradient
        )  # fmt: skip

    def value(rows: Tensor) -> Tensor:
        return torch.cat([look(some, False)[0] for some in rows.split(suitable_batch(rows))])

    pictures = draw(0, draw.first)
    if real is not None:
        pictures = torch.cat([real.to(pictures), pictures])
    sight, new, drawn = _Sight.none(pictures.shape[2:]), pictures, draw.first
    values, leak, most = pictures.new_zeros(0), float("nan"), max(_MOST, draw.first)
    while True:
        for rows in new.split(suitable_batch(new)):
            found, slopes = look(rows)
            values = torch.cat([values, found])
            for slope in slopes.abs().sum(1).double().cpu():
                sight.add(slope)
        if sight.whole() or (drawn >= most and not sight.boxes):
            break
        if drawn >= most or sight.settled(_LIVE):
            before = sight.box
            for again in range(_GROWN):
                other = draw.other(len(pictures), drawn + again)
                leak, grown = _leak(value, pictures, other, sight.box, values)
                if grown == sight.box or sight.whole():
                    break
                sight.grow(grown)
            if drawn >= most or sight.whole() or (sight.box == before and leak <= _ROUNDING):
                break
        new = draw(drawn, min(drawn, most - drawn))
        pictures, drawn = torch.cat([pictures, new]), drawn + len(new)
    weight = sight.shared()
    settled = sight.whole() or (sight.settled(_LIVE) and leak <= _ROUNDING)
    return ReceptiveField(
        sight.box, _core(weight), weight.float(), place, units, tuple(of), len(pictures),
        settled, leak,
    )  # fmt: skip


def fields(
    model: Classifier, units: Units, of: Sequence[int], places: Sequence[int], pictures: Tensor,
) -> list[tuple[Box, Box]]:  # fmt: skip
    """The box and the core of each of some units at a place of its own, by a picture of its own
    ``(n, C, H, W)`` and as much noise as it takes; a box of nearly the whole picture is enough.
    """
    if not len(pictures):
        return []
    draw = _Noise(model, (int(pictures.shape[2]), int(pictures.shape[3])), _EACH, 0)
    sights = [_Sight.none(pictures.shape[2:]) for _ in pictures]

    def look(rows: Sequence[tuple[int, Tensor]]) -> None:
        size = suitable_batch(pictures)
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            shown = torch.stack([picture for _, picture in some]).to(model.device, model.dtype)
            which = [(of[number],) for number, _ in some]
            _, slopes = _asked(model, units, which, [places[number] for number, _ in some], shown)
            for (number, _), slope in zip(some, slopes.abs().sum(1).double().cpu(), strict=True):
                sights[number].add(slope)

    look(list(enumerate(pictures)))
    for first in range(0, _MOST_EACH, _EACH):
        open_ = [
            number
            for number, sight in enumerate(sights)
            if not (sight.whole(NEARLY) or sight.settled(_LIVE_EACH))
        ]
        look([(number, picture) for number in open_ for picture in draw(first, _EACH)])
    return [(sight.box, _core(sight.shared())) for sight in sights]


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
    value: Callable[[Tensor], Tensor], pictures: Tensor, other: Tensor, box: Box, values: Tensor
) -> tuple[float, Box]:
    """The largest change by another outside, as a part of the spread of the values, and the box as
    far as what lies beyond one side alone changes them.
    """
    height, width = pictures.shape[2:]
    y0, x0, y1, x1 = box
    spread = float(values.max() - values.min())
    if not spread:
        return float("nan"), box
    outside = torch.ones(height, width, dtype=torch.bool, device=pictures.device)
    outside[y0:y1, x0:x1] = False
    change = (value(torch.where(outside, other, pictures)) - values).abs()
    leaks = (change > _ROUNDING * spread).nonzero()[:_TRACED, 0]
    pictures, other, values = pictures[leaks], other[leaks], values[leaks]

    def beyond(axis: int, low: bool, many: int) -> bool:
        """Whether another in the outermost rows or columns changes any of the values."""
        mask = torch.zeros_like(outside)
        side = (height, width)[axis]
        mask.narrow(axis, 0 if low else side - many, many).fill_(True)
        found = value(torch.where(mask, other, pictures))
        return bool(((found - values).abs() > _ROUNDING * spread).any())

    room = []
    for axis, low, free in ((0, True, y0), (1, True, x0), (0, False, height - y1),
                            (1, False, width - x1)):  # fmt: skip
        if len(leaks) and free and beyond(axis, low, free):
            still, changed = 0, free
            while changed - still > 1:
                middle = (still + changed) // 2
                still, changed = (still, middle) if beyond(axis, low, middle) else (middle, changed)
            free = changed - 1
        room.append(free)
    top, left, bottom, right = room
    return float(change.max()) / spread, (top, left, height - bottom, width - right)


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


@dataclass
class _Noise:
    """Pictures of noise, of any number: uniform, and after the first every other one coarse."""

    model: Classifier
    size: tuple[int, int] | None
    first: int
    seed: int

    def __call__(self, start: int, many: int) -> Tensor:
        channels, height, width = noise(self.model, self.size).shape[1:]
        key = randomness.keys(self.seed, self._numbers(start, many))
        fine = randomness.uniform(key, _PICTURES, (channels, height, width))
        rows, columns = -(-height // _COARSE), -(-width // _COARSE)
        wide = randomness.uniform(key, _WIDE, (channels, rows, columns))
        wide = wide.repeat_interleave(_COARSE, 2).repeat_interleave(_COARSE, 3)
        number = self._numbers(start, many)
        coarse = (number >= self.first) & (number % 2 == 1)
        made = torch.where(coarse[:, None, None, None], wide[:, :, :height, :width], fine)
        return made.to(self.model.device, self.model.dtype)

    def other(self, many: int, again: int) -> Tensor:
        """What replaces the pixels outside, another at each call."""
        key = randomness.keys(self.seed, self._numbers(0, many))
        shape = tuple(noise(self.model, self.size).shape[1:])
        made = randomness.uniform(key, _OUTSIDE + again, shape)
        return made.to(self.model.device, self.model.dtype)

    def _numbers(self, start: int, many: int) -> Tensor:
        return torch.arange(start, start + many, device=self.model.device)


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
