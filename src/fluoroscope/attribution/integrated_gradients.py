"""Integrated gradients, and their mean over baselines: expected gradients.

Sundararajan, Taly, Yan 2017 (1703.01365), equation 1: ``(x - b) * ∫ df_c(b + a (x - b)) / dx da``
over ``a`` from 0 to 1; its sum is ``f_c(x) - f_c(b)``. By Gauss and Legendre, whose weights add up
to 1 whatever the number of points, so a linear network's map is exact with a single one.

Erion, Janizek, Sturmfels, Lundberg, Lee 2021 (1906.10670): the mean of that over a set of
baselines, as an expectation over pairs of a baseline and a place on the way to it.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attribution.baselines import Given, as_baseline
from fluoroscope.attribution.method import (
    Found,
    Probing,
    Promise,
    SumOfProbes,
    Sums,
    promise_error,
    spread,
    weighed,
)
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.numbers import above_zero, whole_number
from fluoroscope.engine.stream import Samples
from fluoroscope.engine.vectors import column, wide
from fluoroscope.models.classifier import Classifier
from fluoroscope.words import count

# Points of the first round: enough for a small smooth network.
_FIRST = 16
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Ways(Sums):
    """What is known of the ways from baselines to pictures; ``total`` is of gradients times
    weights, of several baselines also times ``x - b``."""

    base: Tensor | None
    """``(n, C, H, W)``, the baseline, where there is one for each picture."""


@dataclass(frozen=True, kw_only=True)
class AlongWays(SumOfProbes):
    """Gradients along straight ways to a picture, from ``width`` baselines at ``length`` places.

    The first round begins with the picture and its baselines, which need no pass back.
    """

    baseline: Given = "black"

    promise: ClassVar[Promise] = "completeness"

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", as_baseline(self.baseline))

    @property
    @abstractmethod
    def width(self) -> int:
        """How many baselines a picture is compared with."""

    @abstractmethod
    def length(self, state: Ways) -> Tensor:
        """``(n,)``, how many places there are on the way from each of them, in this round."""

    @abstractmethod
    def which(self, samples: Samples, numbers: Tensor) -> Tensor:
        """``(m,)``, the baselines of those numbers, as :meth:`.Baseline.of` knows them."""

    @abstractmethod
    def places(
        self, state: Ways, owners: Tensor, numbers: Tensor, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``(m,)`` places from 0 to 1 and their weights, of baselines' numbers and steps."""

    def network(self, model: Classifier, images: Tensor, seed: int) -> Classifier:
        """The network itself; the baseline has to fit the images."""
        as_baseline(self.baseline).check(images)
        return model

    def start(self, samples: Samples) -> Ways:
        """Nothing added up, and the baseline if there is but one."""
        sums = super().start(samples)
        base = as_baseline(self.baseline).of(samples) if self.width == 1 else None
        known = {field.name: getattr(sums, field.name) for field in fields(sums)}
        return Ways(**known | {"values": torch.zeros_like(sums.values)}, base=base)

    def _apart(self, state: Ways) -> Tensor:
        """``(n,)``, how many probes of this round are the ends of the ways."""
        return torch.where(state.round == 0, 1 + self.width, 0)

    def probes(self, state: Ways) -> Tensor:
        """The picture and its baselines once, and the places on all ways."""
        return self._apart(state) + self.width * self.length(state)

    def ends(self, state: Ways) -> Tensor:
        """First the ends of the ways."""
        apart = self._apart(state)
        return torch.where(state.number < apart, apart, self.probes(state))

    def wants_gradient(self, state: Ways, owners: Tensor, numbers: Tensor) -> Tensor:
        """All but the ends of the ways."""
        return numbers >= self._apart(state)[owners]

    def _on_the_way(
        self, state: Ways, owners: Tensor, numbers: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``(m,)``: the place of each probe, its weight, and the number of its baseline."""
        number = numbers - self._apart(state)[owners]
        length = self.length(state)[owners]
        which = torch.where(number >= 0, number // length, numbers - 1)
        place, weight = self.places(state, owners, which.clamp(min=0), number.clamp(min=0) % length)
        place = torch.where(number >= 0, place, (numbers == 0).to(place))
        return place, torch.where(number >= 0, weight, 0.0), which.clamp(min=0)

    def _bases(self, state: Ways, owners: Tensor, which: Tensor) -> Tensor:
        if state.base is not None:
            return spread(state.base, owners)
        samples = replace(
            state.samples,
            images=spread(state.samples.images, owners),
            indices=spread(state.samples.indices, owners),
            keys=spread(state.samples.keys, owners),
        )
        return as_baseline(self.baseline).of(samples, self.which(samples, which))

    def images(self, state: Ways, owners: Tensor, numbers: Tensor) -> Tensor:
        """Pictures on the way."""
        place, _, which = self._on_the_way(state, owners, numbers)
        images = state.samples.images
        place = place.to(images.dtype)
        count, each = len(images), len(owners) // len(images)
        if state.base is not None and _evenly(owners, count):
            # Nothing is copied for each place before the way there is.
            ways = place.view(count, each, 1, 1, 1)
            return state.base[:, None].lerp(images[:, None], ways).flatten(0, 1)
        return self._bases(state, owners, which).lerp(spread(images, owners), column(place))

    def add(self, state: Ways, query: Probing, answer: Answer) -> Ways:
        """The gradients on the way, and the numbers at its ends."""
        assert answer.objective is not None
        whose, numbers = query.whose, query.numbers
        apart = numbers < self._apart(state)[whose]
        if bool(apart.any()):
            end, number = whose[apart], numbers[apart]
            found = answer.objective[apart].to(state.values.dtype)
            shares = torch.where(number == 0, found, found / self.width)
            place = (end, (number > 0).long())
            state = replace(state, values=state.values.index_put(place, shares, accumulate=True))
        if bool(apart.all()):
            return state
        assert answer.gradient is not None
        _, weight, which = self._on_the_way(state, whose, numbers)
        parts = answer.gradient
        if state.base is None:
            parts = parts * (spread(state.samples.images, whose) - self._bases(state, whose, which))
        # Those at the ends weigh nothing.
        return replace(state, total=weighed(state.total, whose, parts, weight))

    def finish(self, state: Ways) -> Found:
        """What all ways add up to."""
        images = state.samples.images
        maps = state.total
        if state.base is not None:
            maps = maps * (images - state.base)
        difference = state.values[:, 0] - state.values[:, 1]
        return Found(maps, state.values[:, 0], promise_error(maps, difference))


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(AlongWays):
    """The integral from each baseline to the picture.

    Args:
        baseline: where the way begins; see :mod:`fluoroscope.attribution.baselines`. From every
            picture of a set, and the mean of these.
        points: gradients on each way; by default as many as ``tolerance`` takes, from 16 doubled.
        tolerance: the completeness error that is good enough.
        max_points: where the doubling ends; a note tells where the tolerance was not reached.
    """

    points: int | None = None
    tolerance: float = 0.01
    max_points: int = 256

    name: ClassVar[str] = "integrated-gradients"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.points is not None:
            object.__setattr__(self, "points", whole_number("points", self.points))
        object.__setattr__(self, "max_points", whole_number("max_points", self.max_points))
        object.__setattr__(self, "tolerance", above_zero("tolerance", self.tolerance))

    @property
    def _rounds(self) -> list[int]:
        """The points of each round."""
        if self.points is not None:
            return [self.points]
        rounds = [min(_FIRST, self.max_points)]
        while 2 * rounds[-1] <= self.max_points:
            rounds.append(2 * rounds[-1])
        return rounds

    @property
    def width(self) -> int:
        """All pictures of a set."""
        return as_baseline(self.baseline).count

    def remarks(self, error: Tensor) -> list[str]:
        """Where the tolerance was not reached."""
        most = self._rounds[-1]
        more = "points" if self.points is not None else "max_points"
        return incomplete(error, self.tolerance, f"with {count(most, 'point')}", f"raise {more}")

    def length(self, state: Ways) -> Tensor:
        """Twice as many in each round."""
        return self._rounds[0] * 2**state.round

    def which(self, samples: Samples, numbers: Tensor) -> Tensor:
        """All in their order."""
        return numbers

    def places(
        self, state: Ways, owners: Tensor, numbers: Tensor, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Those of Gauss and Legendre, the same on every way."""
        first, last = self._rounds[0], int(state.round.max())
        tables = [_gauss_legendre(first * 2**round) for round in range(last + 1)]
        before = first * (2 ** state.round[owners] - 1)
        place, weight = torch.cat(tables, 1).to(state.values)[:, before + steps]
        return place, weight / self.width

    def behind(self, state: Ways) -> Tensor:
        """Rounds that lie behind; the next one may be the last."""
        share = (state.round + state.number / self.probes(state)) / len(self._rounds)
        return torch.where(state.done, 1.0, share)

    def again(self, state: Ways) -> Tensor:
        """Whose error is above the tolerance, until there are no more points."""
        found = self.finish(state)
        return (found.error > self.tolerance) & (state.round + 1 < len(self._rounds))


@dataclass(frozen=True, kw_only=True)
class ExpectedGradients(AlongWays):
    """The mean over pairs of a baseline and a place on the way from it.

    Args:
        baseline: a set of pictures ``(M, C, H, W)``, or ``noise``, another for each pair.
        samples: pairs for each picture. Of a larger set so many pictures are drawn, evenly spread
            over it, with one place on the way from each; a smaller set is used whole, with as many
            places on the way from each.
        tolerance: the completeness error from which a note says so.
    """

    baseline: Given = "noise"
    samples: int = 200
    tolerance: float = 0.05

    name: ClassVar[str] = "expected-gradients"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "samples", whole_number("samples", self.samples))
        object.__setattr__(self, "tolerance", above_zero("tolerance", self.tolerance))

    @property
    def width(self) -> int:
        """As many as there are, and as are to be drawn."""
        baseline = as_baseline(self.baseline)
        return self.samples if baseline.kind == "noise" else min(baseline.count, self.samples)

    @property
    def _length(self) -> int:
        return -(-self.samples // self.width)

    def remarks(self, error: Tensor) -> list[str]:
        """Where too few pairs were drawn."""
        drawn = count(self.width * self._length, "sample")
        return incomplete(error, self.tolerance, f"with {drawn}", "raise samples")

    def length(self, state: Ways) -> Tensor:
        """The same on each way."""
        return torch.full_like(state.number, self._length)

    def which(self, samples: Samples, numbers: Tensor) -> Tensor:
        """All, or evenly spread ones from a random first."""
        have = as_baseline(self.baseline).count
        if have <= self.width:
            return numbers
        shift = randomness.uniform(samples.keys, 0, (1,)).squeeze(1).to(wide(samples.images))
        return ((numbers + shift) * have / self.width).long().clamp(max=have - 1)

    def places(
        self, state: Ways, owners: Tensor, numbers: Tensor, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of several on a way those of Gauss and Legendre; single ones are spread over the ways.

        By multiples of the golden ratio from a random first: evenly, in whatever order.
        """
        if self._length > 1:
            table = _gauss_legendre(self._length).to(state.values)
            place, weight = table[:, steps]
            return place, weight / self.width
        keys = spread(state.samples.keys, owners)
        shift = randomness.uniform(keys, 1, (1,)).squeeze(1).to(state.values)
        place = (shift + numbers * _GOLDEN) % 1
        return place, torch.full_like(place, 1 / self.width)


def _evenly(owners: Tensor, count: int) -> bool:
    """Whether each of ``count`` owns as many of ``(m,)``, one owner's after the other's."""
    if len(owners) % count:
        return False
    return bool(
        (owners.view(count, -1) == torch.arange(count, device=owners.device)[:, None]).all()
    )


def incomplete(error: Tensor, tolerance: float, spent: str, remedy: str) -> list[str]:
    """What is to be said of maps whose errors ``(N,)`` are above the tolerance."""
    over = error > tolerance
    if not bool(over.any()):
        return []
    which = f"{int(over.sum())} of {count(len(error), 'map')}"
    return [
        f"{spent} {which} add up to f(x) - f(baseline) only within {error.max():.2g} of it, where "
        f"{tolerance:g} was asked for: {remedy}, or take a baseline nearer to the picture"
    ]


@lru_cache(maxsize=32)
def _gauss_legendre(points: int) -> Tensor:
    """``(2, points)`` float64: places between 0 and 1, and weights that add up to 1.

    The roots of Legendre's polynomial by Newton's method, which for thousands of points takes far
    less time than NumPy's eigenvalues.
    """
    number = torch.arange(1, points + 1, dtype=torch.double, device="cpu")
    roots = torch.cos(math.pi * (number - 0.25) / (points + 0.5))
    for _ in range(4):
        below, at = torch.ones_like(roots), roots
        for degree in range(2, points + 1):
            below, at = at, ((2 * degree - 1) * roots * at - (degree - 1) * below) / degree
        slope = points * (below - roots * at) / (1 - roots**2)
        roots = roots - at / slope
    weights = 1 / ((1 - roots**2) * slope**2)
    return torch.stack([(1 - roots) / 2, weights / weights.sum()])
