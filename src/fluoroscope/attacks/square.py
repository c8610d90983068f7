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

Where this differs from the authors' code: a square lies anywhere in the image, the last row and
column included, as in the paper; an Linf square that would change nothing takes the opposite signs
(they draw again); the size, place and transposition of a square belong to the sample (theirs to
the batch); a search goes on after a success if the engine lets it.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fluoroscope.attacks.attack import Method
from fluoroscope.engine import chance
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY, MARGIN, Objective
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True)
class SquareState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``"""
    best: Tensor
    """``(n, C, H, W)``, the image with the lowest loss so far."""
    value: Tensor
    """``(n,)``, minus its loss."""
    candidate: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    queries: Tensor
    """``(n,)``, evaluations made."""
    classes: Tensor
    """``(n,)``"""
    towards: Tensor
    """``(n,)``, 1 where the class is wanted, -1 where it is to be left."""
    keys: Tensor
    """``(n,)``, what the squares are drawn from."""
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
    family: ClassVar[str] = "score"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        if self.threat.name not in self.norms:
            raise InvalidParameterError(
                f"Square has no squares for the norm {self.threat.name}; expected linf or l2"
            )
        if math.isinf(float(self.threat.eps)):
            raise InvalidParameterError("eps is infinite; Square expects a bound such as 8/255")
        if self.queries < 1:
            raise InvalidParameterError(f"queries is {self.queries}; expected 1 or more")
        if not 0 < self.p_init <= 1:
            raise InvalidParameterError(f"p_init is {self.p_init}; expected above 0, at most 1")

    def start(self, samples: Samples) -> SquareState:
        """With stripes or tiles over the whole image."""
        shape = tuple(samples.images.shape[1:])
        begin = _stripes if self.threat.name == "linf" else _tiles
        pattern = begin(samples.keys, shape).to(samples.images.dtype)
        candidate = samples.images + float(self.threat.eps) * pattern
        count = torch.zeros_like(samples.classes)
        return SquareState(
            original=samples.images,
            best=samples.images,
            value=torch.full_like(samples.images[:, 0, 0, 0], -math.inf),
            candidate=self.threat.project(candidate, samples.images),
            queries=count,
            classes=samples.classes,
            towards=samples.towards,
            keys=samples.keys,
            done=torch.zeros_like(count, dtype=torch.bool),
        )

    def ask(self, state: SquareState) -> Query:
        """The candidates."""
        return Query(state.candidate, False, _minus_loss(state.towards), state.classes)

    def tell(self, state: SquareState, answer: Answer) -> SquareState:
        """Keep the better of best and candidate, and draw the next square."""
        assert answer.objective is not None
        value = answer.objective.to(state.value.dtype)
        better = value > state.value
        best = torch.where(_column(better), state.candidate, state.best)
        moved = replace(
            state,
            best=best,
            value=torch.where(better, value, state.value),
            queries=state.queries + 1,
            done=state.queries + 1 >= self.queries,
        )
        propose = self._linf if self.threat.name == "linf" else self._l2
        candidate = self.threat.project(propose(moved), state.original)
        return replace(moved, candidate=candidate)

    def _linf(self, state: SquareState) -> Tensor:
        _, channels, height, width = state.best.shape
        size = self._sizes(state, (height, width), smallest=1)[1]
        draws = chance.uniform(state.keys, state.queries, (2 + channels,))
        square = _square(draws[:, :2], size, (height, width))[0]
        eps = float(self.threat.eps)
        signs = (draws[:, 2:, None, None] < 0.5).to(state.best.dtype) * 2 - 1
        drawn = _set(square, state.original + eps * signs, state.best)
        idle = (drawn == state.best).flatten(1).all(1)
        opposite = _set(square, state.original - eps * signs, state.best)
        return torch.where(_column(idle), opposite, drawn)

    def _l2(self, state: SquareState) -> Tensor:
        _, channels, height, width = state.best.shape
        level, size = self._sizes(state, (height, width), smallest=3)
        draws = chance.uniform(state.keys, state.queries, (5 + channels,))
        square, rows, columns = _square(draws[:, :2], size, (height, width))
        emptied = _square(draws[:, 2:4], size, (height, width))[0]
        turned = (draws[:, 4] < 0.5).long()
        signs = (draws[:, 5:, None, None] < 0.5).to(state.best.dtype) * 2 - 1

        tables = _pyramids(self._side_lengths((height, width), 3)).to(state.best)
        shape = tables[level[:, None, None], turned[:, None, None], rows, columns][:, None] * square
        away = state.best - state.original
        unused = (float(self.threat.eps) ** 2 - _squares(away).sum(1, keepdim=True)).clamp(min=0)
        held = _squares(away * (square | emptied)) + unused / channels
        new = signs * shape + _unit(away * square)
        away = torch.where(square, _unit(new) * held.sqrt(), away * ~emptied)
        return (state.original + away).clamp(0, 1)

    def _sizes(
        self, state: SquareState, sides: tuple[int, int], smallest: int
    ) -> tuple[Tensor, Tensor]:
        """How often the share was halved for each sample, and the side of its next square."""
        at = (state.queries - 1).clamp(min=0) * 10_000 // self.queries
        level = (at[:, None] > torch.tensor(_HALVINGS, device=at.device)).sum(1)
        lengths = torch.tensor(self._side_lengths(sides, smallest), device=at.device)
        return level, lengths[level]

    def _side_lengths(self, sides: tuple[int, int], smallest: int) -> tuple[int, ...]:
        """One for each number of halvings; odd ones if the smallest is a pyramid's 3."""
        found = []
        for level in range(len(_HALVINGS) + 1):
            side = max(round(math.sqrt(self.p_init / 2**level * math.prod(sides))), smallest)
            found.append(min(side + (smallest == 3 and side % 2 == 0), *sides))
        return tuple(found)


def _minus_loss(towards: Tensor) -> Objective:
    return Objective(
        "log-probability or minus margin",
        lambda z, c: torch.where(towards > 0, LOG_PROBABILITY(z, c), -MARGIN(z, c)),
    )


def _stripes(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    channels, _, width = shape
    return (chance.uniform(keys, 0, (channels, 1, width)) < 0.5).float() * 2 - 1


def _tiles(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Pyramids side by side, as one perturbation of length 1."""
    channels, height, width = shape
    side = max(1, min(height, width) // 5)
    grid = (height // side, width // side)
    draws = chance.uniform(keys, 0, (channels + 1, *grid))
    draws = draws.repeat_interleave(side, -2).repeat_interleave(side, -1)
    upright, turned = (table.repeat(grid).to(draws.device) for table in _pyramids((side,))[0])
    tiles = torch.where(draws[:, :1] < 0.5, turned, upright)
    tiles = tiles * ((draws[:, 1:] < 0.5).float() * 2 - 1)
    top, left = (height - tiles.shape[-2]) // 2, (width - tiles.shape[-1]) // 2
    right, bottom = width - left - tiles.shape[-1], height - top - tiles.shape[-2]
    tiles = F.pad(tiles, (left, right, top, bottom))
    return tiles / _squares(tiles).sum(1, keepdim=True).sqrt()


def _square(draws: Tensor, size: Tensor, sides: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Where a square of its size lies in each image, ``(n, 1, H, W)``, and the places in it.

    The places are the row ``(n, H, 1)`` and column ``(n, 1, W)`` of each pixel, from the square's
    corner, clamped to the square.
    """
    inside, places = [], []
    for draw, length in zip(draws.unbind(1), sides, strict=True):
        first = (draw * (length - size + 1)).long()
        place = torch.arange(length, device=draw.device) - first[:, None]
        inside.append((place >= 0) & (place < size[:, None]))
        places.append(place.clamp(min=0).minimum(size[:, None] - 1))
    mask = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return mask, places[0][:, :, None], places[1][:, None, :]


def _set(square: Tensor, values: Tensor, best: Tensor) -> Tensor:
    return torch.where(square, values.clamp(0, 1), best)


@lru_cache(maxsize=16)
def _pyramids(sides: tuple[int, ...]) -> Tensor:
    """``(sides, 2, S, S)``: pyramids of length 1, as they are and transposed, padded with zeros."""
    tables = torch.zeros(len(sides), 2, max(sides), max(sides))
    for table, side in zip(tables, sides, strict=True):
        upper = side // 2
        halves = torch.cat([_half(upper, side), -_half(side - upper, side)])
        table[0, :side, :side] = halves / halves.norm()
        table[1] = table[0].T
    return tables


def _half(height: int, width: int) -> Tensor:
    """The sum of ``1/m^2`` from a pixel's ring, counted from the centre, to the outermost one."""
    rings = max(height, width) // 2 + 1
    down = (torch.arange(height) - height // 2).abs()[:, None]
    across = (torch.arange(width) - width // 2).abs()
    heights = (1 / torch.arange(1, rings + 1).square()).flip(0).cumsum(0).flip(0)
    half = heights[torch.maximum(down, across).clamp(max=rings - 1)]
    return half / half.norm() if half.numel() else half


def _squares(vectors: Tensor) -> Tensor:
    return vectors.square().sum((-2, -1), keepdim=True)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / _squares(vectors).sqrt().clamp(min=1e-12)


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
