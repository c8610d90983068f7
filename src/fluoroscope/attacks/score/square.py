"""The Square attack (Andriushchenko, Croce, Flammarion, Hein 2020): random search, no gradient.

A candidate differs from the best image so far in one square, and takes its place if its loss is
lower. The loss is the margin of the true class; for a wanted class, its cross-entropy. The square
covers a share ``p`` of the image, halved at queries 10, 50, 200, 500, 1000, 2000, 4000, 6000 and
8000 of 10,000, rescaled to the budget.

* Linf: the square is set to ``x ± eps``, one sign for each channel; it starts from vertical
  stripes one pixel wide.
* L2: the square gets a pyramid of opposite halves, ``sum of 1/m^2`` from ring to centre, and the
  norm that it, a second square (emptied) and the unused rest of ``eps`` held; it starts from a
  tiling of such pyramids, five to a side.
* L1 (Croce and Hein 2021, 2103.01208): as in L2 with lengths in L1, and then the projection onto
  ball and box at once, which makes it sparse.

Where this differs from the authors' code: a square lies anywhere in the image, the last row and
column included, as in the paper; an Linf square that would change nothing takes the opposite signs
(they draw again); the size, place and transposition of a square belong to the sample (theirs to
the batch); a search goes on after a success if the engine lets it. In L1 a square's new values are
4 times as long as they may be before they are projected, and the first tiles 16 times: a pyramid of
just the length that is free has most of it where the box cuts it off. (With 400 queries
at ``l1:12`` it fooled 20 of 88 digits of ``digits-robust`` without, 25 with long first tiles alone,
68 with both.) What the square held has a say only as far as it is more than a thousandth of
``eps``: the least that the projection leaves is rounding.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fluoroscope.attacks.attack import Access, Method
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY, MARGIN, Objective
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat
from fluoroscope.engine.vectors import column
from fluoroscope.errors import InvalidParameterError

# In L1 a square is given so many times the length it may have, and the first tiles so many times.
_FILL = 4.0
_FIRST_FILL = 16.0
_LEAST = 1e-3
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True)
class SquareState:
    """Where ``n`` searches are."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    best: Tensor
    """``(n, C, H, W)``, the image with the lowest loss so far."""
    value: Tensor
    """``(n,)``, minus its loss."""
    candidate: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    queries: Tensor
    """``(n,)``, evaluations made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class Square(Method):
    """The Square attack: ``queries`` evaluations; the first square covers a share of ``p_init``."""

    threat: Threat
    queries: int = 5000
    p_init: float = 0.8

    paper: ClassVar[str] = "Andriushchenko, Croce, Flammarion, Hein 2020 (1912.00049)"
    cost: ClassVar[str] = "1 forward"
    access: ClassVar[Access] = "score"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "queries")
        if not 0 < self.p_init <= 1:
            raise InvalidParameterError(f"p_init is {self.p_init}; expected above 0, at most 1")

    def start(self, samples: Samples) -> SquareState:
        """With stripes or tiles over the whole image."""
        shape = tuple(samples.images.shape[1:])
        linf = self.threat.name == "linf"
        pattern = (
            _stripes(samples.keys, shape) if linf else _tiles(samples.keys, shape, self._order)
        )
        pattern = pattern.to(samples.images.dtype)
        candidate = samples.images + float(self.threat.eps) * pattern
        count = torch.zeros_like(samples.classes)
        return SquareState(
            samples=samples,
            best=samples.images,
            value=torch.full_like(samples.images[:, 0, 0, 0], -math.inf),
            candidate=self.threat.project(candidate, samples.images),
            queries=count,
            done=torch.zeros_like(count, dtype=torch.bool),
        )

    def ask(self, state: SquareState) -> Query:
        """The candidates."""
        return Query(
            state.candidate, False, _minus_loss(state.samples.towards), state.samples.classes
        )

    def tell(self, state: SquareState, answer: Answer) -> SquareState:
        """Keep the better of best and candidate, and draw the next square."""
        assert answer.objective is not None
        value, best = answer.objective.to(state.value.dtype), state.best
        better, queries = value > state.value, state.queries + 1
        if bool(better.any()):
            best = torch.where(column(better), state.candidate, best)
            value = torch.where(better, value, state.value)
        else:
            value = state.value
        moved = replace(
            state, best=best, value=value, queries=queries, done=queries >= self.queries
        )
        propose = self._linf if self.threat.name == "linf" else self._pyramid
        return replace(moved, candidate=propose(moved))

    def _linf(self, state: SquareState) -> Tensor:
        _, channels, height, width = state.best.shape
        side = self._sides(state, (height, width))[1]
        draws = randomness.uniform(state.samples.keys, state.queries, (2 + channels,))
        square = _Square.at(draws[:, :2], side, (height, width), state.samples.free)
        change = float(self.threat.eps) * _signs(draws[:, 2:, None], state.best.dtype)
        clean, old = square.read(state.samples.images), square.read(state.best)
        new = (clean + change).clamp(0, 1)
        idle = (new == old).flatten(1).all(1)[:, None, None]
        return square.write(state.best, torch.where(idle, (clean - change).clamp(0, 1), new))

    @property
    def _order(self) -> int:
        return 1 if self.threat.name == "l1" else 2

    def _pyramid(self, state: SquareState) -> Tensor:
        _, channels, height, width = state.best.shape
        level, side = self._sides(state, (height, width))
        draws = randomness.uniform(state.samples.keys, state.queries, (5 + channels,))
        square = _Square.at(draws[:, :2], side, (height, width), state.samples.free)
        emptied = _Square.at(draws[:, 2:4], side, (height, width), state.samples.free)

        away = state.best - state.samples.images
        order = self._order
        length = torch.linalg.vector_norm(away.flatten(1), ord=order, dim=1)[:, None, None]
        unused = (float(self.threat.eps) ** order - length**order).clamp(min=0)
        old = square.read(away)
        # The second square is read without the first: what lies in both counts once.
        beside = emptied.read(square.write(away, torch.zeros_like(old)))
        held = square.powers(old, order) + emptied.powers(beside, order) + unused / channels

        tables = _pyramids(self._side_lengths((height, width)), order).to(old)
        turned = (draws[:, 4] < 0.5).long()
        pyramid = tables[level[:, None], turned[:, None], square.rows, square.columns][:, None]
        new = _signs(draws[:, 5:, None], old.dtype) * pyramid
        least = 1e-12 if order == 2 else _LEAST * float(self.threat.eps)
        new = new + old / (square.powers(old, order) ** (1 / order)).clamp(min=least)
        new = new * (held / square.powers(new, order).clamp(min=1e-24)) ** (1 / order)

        candidate = emptied.write(state.best, emptied.read(state.samples.images))
        clean = square.read(state.samples.images)
        if order == 2:  # what the box cuts off only makes it shorter
            return square.write(candidate, (clean + new).clamp(0, 1))
        full = square.write(candidate, clean + _FILL * new)
        return self.threat.project(full, state.samples.images)

    def _sides(self, state: SquareState, image: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """How often the share was halved for each sample, and the side of its next square."""
        at = (state.queries - 1).clamp(min=0) * 10_000 // self.queries
        level = torch.bucketize(at, _whole_numbers(_HALVINGS, at.device))
        return level, _whole_numbers(self._side_lengths(image), at.device)[level]

    def _side_lengths(self, image: tuple[int, int]) -> tuple[int, ...]:
        """One for each number of halvings; a pyramid's are odd and at least 3."""
        pyramid = self.threat.name != "linf"
        found = []
        for level in range(len(_HALVINGS) + 1):
            side = round(math.sqrt(self.p_init / 2**level * math.prod(image)))
            side = max(side, 3 if pyramid else 1)
            found.append(min(side + (pyramid and side % 2 == 0), *image))
        return tuple(found)


def _minus_loss(towards: Tensor) -> Objective:
    def function(logits: Tensor, classes: Tensor) -> Tensor:
        wanted = towards > 0
        away = -MARGIN(logits, classes)
        if not bool(wanted.any()):
            return away
        return torch.where(wanted, LOG_PROBABILITY(logits, classes), away)

    return Objective("log-probability or minus margin", function)


@lru_cache(maxsize=16)
def _whole_numbers(values: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)


def _stripes(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    channels, _, width = shape
    return _signs(randomness.uniform(keys, 0, (channels, 1, width)), torch.float32)


def _tiles(keys: Tensor, shape: tuple[int, ...], order: int) -> Tensor:
    """Pyramids side by side, as one perturbation of length 1, in L1 of more (to be projected)."""
    channels, height, width = shape
    side = max(1, min(height, width) // 5)
    grid = (height // side, width // side)
    draws = randomness.uniform(keys, 0, (channels + 1, *grid))
    draws = draws.repeat_interleave(side, -2).repeat_interleave(side, -1)
    upright, turned = (
        table.repeat(grid).to(draws.device) for table in _pyramids((side,), order)[0]
    )
    tiles = torch.where(draws[:, :1] < 0.5, turned, upright)
    tiles = tiles * _signs(draws[:, 1:], tiles.dtype)
    top, left = (height - tiles.shape[-2]) // 2, (width - tiles.shape[-1]) // 2
    right, bottom = width - left - tiles.shape[-1], height - top - tiles.shape[-2]
    tiles = F.pad(tiles, (left, right, top, bottom))
    tiles = tiles / column(torch.linalg.vector_norm(tiles.flatten(1), ord=order, dim=1))
    return tiles if order == 2 else _FIRST_FILL * tiles


@dataclass(frozen=True)
class _Square:
    """Where a square lies in each of ``n`` images, as ``S * S`` places for the largest side S.

    Where a square is smaller its last row and column are named again, so nothing outside is
    touched and whoever writes the same value twice does no harm.
    """

    places: Tensor
    """``(n, 1, S * S)``, in the flattened image."""
    lines: Tensor
    """``(n, S)``, the rows, and the columns, from the square's corner."""
    sides: Tensor
    """``(n, 1)``"""

    @classmethod
    def at(
        cls, draws: Tensor, side: Tensor, image: tuple[int, int], free: Tensor | None
    ) -> "_Square":
        """Anywhere in the image with equal probability, by two numbers in ``[0, 1)`` for each.

        Where only a part of an image is ``free`` ``(n, 1 or C, H, W)`` a square reaches into the
        rectangle around it.
        """
        low, high = _reach(side, image, free)
        top, left = (low + (draws * (high - low + 1)).long()).split(1, dim=1)
        sides = side[:, None]
        lines = torch.arange(int(side.max()), device=side.device).minimum(sides - 1)
        places = ((top + lines) * image[1])[:, :, None] + (left + lines)[:, None]
        return cls(places.flatten(1)[:, None], lines, sides)

    @property
    def rows(self) -> Tensor:
        """``(n, S * S)``, from the square's corner."""
        return self.lines.repeat_interleave(self.lines.shape[1], 1)

    @property
    def columns(self) -> Tensor:
        """``(n, S * S)``, from the square's corner."""
        return self.lines.repeat(1, self.lines.shape[1])

    @property
    def once(self) -> Tensor:
        """``(n, 1, S * S)``, no for what is named again, else yes."""
        new = torch.arange(self.lines.shape[1], device=self.lines.device) < self.sides
        return (new[:, :, None] & new[:, None]).flatten(1)[:, None]

    def read(self, images: Tensor) -> Tensor:
        """What images ``(n, C, H, W)`` hold there, ``(n, C, S * S)``."""
        return images.flatten(2).gather(2, self.places.expand(-1, images.shape[1], -1))

    def write(self, images: Tensor, values: Tensor) -> Tensor:
        """The images with values ``(n, C, S * S)`` there."""
        places = self.places.expand(-1, images.shape[1], -1)
        return images.flatten(2).scatter(2, places, values).view(images.shape)

    def powers(self, values: Tensor, order: int) -> Tensor:
        """The sum of powers of absolute values ``(n, C, S * S)``, ``(n, C, 1)``."""
        return ((values * self.once).abs() ** order).sum(2, keepdim=True)


def _reach(side: Tensor, image: tuple[int, int], free: Tensor | None) -> tuple[Tensor, Tensor]:
    """The first and the last row and column in which a square may begin, each ``(n, 2)``."""
    last = _whole_numbers(image, side.device) - side[:, None]
    if free is None:
        return torch.zeros_like(last), last
    used = [free.any(1).any(across - 1).long() for across in (3, 2)]
    first = torch.stack([each.argmax(1) for each in used], 1)
    end = torch.stack(
        [length - each.flip(1).argmax(1) for length, each in zip(image, used, strict=True)], 1
    )
    return (first - side[:, None] + 1).clamp(min=0), torch.minimum(end - 1, last)


@lru_cache(maxsize=16)
def _pyramids(sides: tuple[int, ...], order: int) -> Tensor:
    """``(sides, 2, S, S)``: pyramids of length 1, as they are and transposed, padded with zeros.

    The length is that of L1 or L2.
    """
    tables = torch.zeros(len(sides), 2, max(sides), max(sides), dtype=torch.float32, device="cpu")
    for table, side in zip(tables, sides, strict=True):
        upper = side // 2
        halves = torch.cat([_half(upper, side), -_half(side - upper, side)])
        table[0, :side, :side] = halves / halves.norm(order)
        table[1] = table[0].T
    return tables


def _half(height: int, width: int) -> Tensor:
    """The sum of ``1/m^2`` from a pixel's ring, counted from the centre, to the outermost one."""
    rings = max(height, width) // 2 + 1
    down = (torch.arange(height, device="cpu") - height // 2).abs()[:, None]
    across = (torch.arange(width, device="cpu") - width // 2).abs()
    heights = (
        (1 / torch.arange(1, rings + 1, dtype=torch.float32, device="cpu").square())
        .flip(0)
        .cumsum(0)
        .flip(0)
    )
    half = heights[torch.maximum(down, across).clamp(max=rings - 1)]
    return half / half.norm() if half.numel() else half


def _signs(draws: Tensor, dtype: torch.dtype) -> Tensor:
    return (draws < 0.5).to(dtype) * 2 - 1
