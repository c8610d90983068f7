"""GeoDA (Rahmati, Moosavi-Dezfooli, Frossard, Dai 2020): the border as a plane, met head on.

At a point of the border its normal ``w`` is the mean of ``sign * noise`` over Gaussian noise of
deviation ``sigma`` in the ``subspace * subspace`` lowest frequencies of each channel (a discrete
cosine transform), where ``sign`` is 1 for a success. The next point of the border is looked for
from the *original* along the direction that gains most along ``w`` for its length: ``w`` in L2,
its sign in Linf, and in L1 the pixel values with the largest ``|w|``, each as far as the box goes,
one after the other. The rounds get shares of the decisions that grow as ``lambda^(-2 t / 3)``.

Where this differs: in all norms the direction is followed inside the box (a value that has come to
its edge stays there), so its points are the closest there are on a plane. The way begins at the
present distance, is doubled until it ends in a success, and halved back to the border; the authors
take steps of one length. Halving ends where the rest is a tenth of ``sigma`` times the noise's
length, so that the noise can see both sides. The number of rounds is the largest for which the
first one has ``FIRST`` decisions. As in the authors' code the normal is summed over the rounds, but
all decisions count alike.

It is made for few decisions: on twenty digits its mean L2 distance is 1.14 after 500 and 0.99 after
1,000, where HopSkipJump has 1.94 and 1.28; at some 3,000 HopSkipJump has caught up, as the subspace
and the sum over rounds at different places then hold GeoDA back.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.decision.probing import PROBE, Probes, ProbingMethod, ProbingSearch
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import L2, Threat
from fluoroscope.engine.vectors import column, cosines, lengths, units
from fluoroscope.errors import InvalidParameterError

FIRST = 50
_NO_BOUND = L2(math.inf)
_REACH, _TRACE = PROBE + 1, PROBE + 2
_DOUBLINGS = 8
_SEARCHED = 16
"""Decisions that a way back to the border takes, about."""


@dataclass(frozen=True)
class GeoDAState(ProbingSearch):
    """Where ``n`` searches are."""

    normal: Tensor
    """``(n, C, H, W)``, sum of the signed noise of all rounds."""
    rounds: Tensor
    """``(n,)``, still to come, this one included."""


@dataclass(frozen=True, kw_only=True)
class GeoDA(ProbingMethod):
    """GeoDA: ``share`` is the paper's lambda, ``subspace`` by default a third of the side."""

    threat: Threat = _NO_BOUND
    sigma: float = 0.0002
    share: float = 0.6
    subspace: int | None = None

    paper: ClassVar[str] = "Rahmati, Moosavi-Dezfooli, Frossard, Dai 2020 (2003.06468)"
    norms: ClassVar[tuple[str, ...]] = ("l2", "linf", "l1")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1e-6, "sigma")
        if not 0 < self.share < 1:
            raise InvalidParameterError(f"share is {self.share}; expected between 0 and 1")
        if self.subspace is not None:
            self._expect(1, "subspace")

    def start(self, samples: Samples) -> GeoDAState:
        """Drawing pictures to begin from."""
        side = max(samples.images.shape[2:])
        if self.subspace is not None and self.subspace > side:
            raise InvalidParameterError(
                f"subspace is {self.subspace}; expected at most {side}, the pictures' longer side"
            )
        search = self._search(samples)
        count = search.queries
        return GeoDAState(
            **vars(search),
            planned=count,
            probes=count,
            normal=torch.zeros_like(search.samples.images),
            rounds=count,
        )

    def tell_all(self, state: GeoDAState, query: Query, answer: Answer) -> GeoDAState:
        """Approach the border; or add up probes; or follow the normal, there or back."""
        probing, following = state.phase == PROBE, state.phase >= _REACH
        state, reached, probes = self._heard_all(state, query, answer)
        rest = self._rest(state)
        way = lengths(state.point - state.samples.images).clamp(min=1e-30) / state.high
        state, arrived = self._approach(state, reached, rest / way)
        first = torch.where(arrived, self._rounds(state), state.rounds)
        state = self._probed(replace(state, rounds=first), probes, probing)
        state, returned = self._followed(state, reached, following, rest)
        state = self._round(state, arrived | returned)
        return self._next(self._on_the_way(state))

    def _rest(self, state: GeoDAState) -> float:
        """The Euclidean length that halving leaves: a tenth of the noise's."""
        channels, height, width = state.samples.images.shape[1:]
        down, across = self._frequencies(height, width)
        return 0.1 * self.sigma * math.sqrt(channels * down * across)

    def _frequencies(self, height: int, width: int) -> tuple[int, int]:
        if self.subspace is not None:
            return min(self.subspace, height), min(self.subspace, width)
        return math.ceil(height / 3), math.ceil(width / 3)

    def _rounds(self, state: GeoDAState) -> Tensor:
        """The most rounds for which the first has ``FIRST`` decisions; at least one."""
        growth = self.share ** (-2 / 3)
        number = torch.arange(1, 64, device=state.queries.device)
        needed = FIRST * (growth**number - 1) / (growth - 1) + _SEARCHED * number
        left = self.queries - state.queries
        return torch.bucketize(left.to(needed), needed, right=True).clamp(min=1)

    def _round(self, state: GeoDAState, begins: Tensor) -> GeoDAState:
        """Probes from nothing at the point: the share of what is left that is this round's."""
        if not bool(begins.any()):
            return state
        growth = self.share ** (-2 / 3)
        rounds = state.rounds.clamp(min=1)
        left = self.queries - state.queries - _SEARCHED * rounds
        planned = (left * (growth - 1) / (growth**rounds - 1)).long()
        return replace(
            state,
            phase=torch.where(begins, PROBE, state.phase),
            planned=torch.where(begins, planned, state.planned),
            probes=torch.where(begins, 0, state.probes),
            done=state.done | (begins & ((state.rounds < 1) | (planned < 1))),
        )

    def _probed(self, state: GeoDAState, probes: Probes, probing: Tensor) -> GeoDAState:
        own = probes.owners
        if not len(own):
            return state
        over = probing & (state.probes >= state.planned)
        noise = (probes.images - state.point[own]) / self.sigma
        distance = self.threat.distance(state.point - state.samples.images)
        return replace(
            state,
            normal=state.normal.index_add(0, own, column(probes.votes) * noise),
            rounds=state.rounds - over.long(),
            phase=torch.where(over, _REACH, state.phase),
            low=torch.where(over, 0, state.low),
            high=torch.where(over, distance, state.high),
        )

    def _followed(
        self, state: GeoDAState, reached: Tensor, following: Tensor, rest: float
    ) -> tuple[GeoDAState, Tensor]:
        """Double until a success, then halve; who is back at the border, or has given up."""
        if not bool(following.any()):
            return state, following
        if self.threat.name == "linf":
            rest /= math.sqrt(state.samples.images[0].numel())
        reaching = following & (state.phase == _REACH)
        asked = torch.where(reaching, state.high, (state.low + state.high) / 2)
        hit, missed = following & reached, following & ~reached
        distance = self.threat.distance(state.point - state.samples.images)
        low = torch.where(missed, asked, state.low)
        high = torch.where(hit, asked, torch.where(reaching, 2 * asked, state.high))
        state = replace(
            state,
            point=torch.where(column(hit), state.images, state.point),
            low=low,
            high=high,
            phase=torch.where(reaching & hit, _TRACE, state.phase),
        )
        lost = reaching & missed & (high > 2**_DOUBLINGS * distance)
        back = following & (state.phase == _TRACE) & (high - low <= rest)
        return state, back | lost

    def _probes(self, state: ProbingSearch, owners: Tensor, numbers: Tensor) -> Tensor:
        point, keys = state.point[owners], state.samples.keys[owners]
        down, across = self._frequencies(*point.shape[2:])
        drawn = randomness.normal(keys, numbers, (point.shape[1], down, across)).to(point)
        noise = cosines(point.shape[2], down).T.to(point) @ drawn
        noise = noise @ cosines(point.shape[3], across).to(point)
        return (point + self.sigma * noise).clamp(0, 1)

    def _next(self, state: GeoDAState) -> GeoDAState:
        rows = (state.phase >= _REACH).nonzero().squeeze(1)
        if not len(rows):
            return state
        low, high = state.low[rows], state.high[rows]
        length = torch.where(state.phase[rows] == _REACH, high, (low + high) / 2)
        ahead = _along(state.normal[rows], state.samples.images[rows], length, self.threat.name)
        return replace(state, images=state.images.index_copy(0, rows, ahead))


def _along(normal: Tensor, original: Tensor, length: Tensor, norm: str) -> Tensor:
    """So far from the original, where a plane of that normal is met soonest inside the box."""
    if norm == "l1":
        room = torch.where(normal > 0, 1 - original, original).flatten(1)
        order = normal.abs().flatten(1).argsort(1, descending=True)
        room = room.gather(1, order)
        before = room.cumsum(1) - room
        move = (length[:, None] - before).clamp(min=0).minimum(room)
        away = torch.zeros_like(room).scatter(1, order, move).view_as(original) * normal.sign()
    else:
        away = column(length) * (normal.sign() if norm == "linf" else units(normal))
    return (original + away).clamp(0, 1)
