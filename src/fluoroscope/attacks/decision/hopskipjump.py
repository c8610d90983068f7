"""HopSkipJump (Chen, Jordan, Wainwright 2020): the border's normal, estimated from decisions.

At a point of the border the direction in which the decision turns is the mean of
``(phi(x + delta * u) - mean phi) * u`` over ``B_t = B_0 * sqrt(t)`` random unit vectors ``u``,
where ``phi`` is 1 for a success and -1 otherwise. A step of ``|x - x0| / sqrt(t)`` along it (in
Linf, along its sign) is halved until it ends in a success; from there the way to the original is
halved back to the border, until the last piece is a share ``theta`` of it.
``theta = gamma / d^1.5`` and ``delta = gamma * |x - x0| / d`` for ``d`` pixel values, in Linf
``theta = gamma / d^2``; the first ``delta`` is 0.1.

Where this differs: neither falls below what float32 can tell apart (``theta`` below 2^-20 of the
way, ``delta`` below 2^-20 for a pixel); ``B_t`` of the last round is cut so that its step and its
way back still fit into ``queries``, or there is no such round; a step that has been halved 20 times
is given up, and the normal estimated anew at the same point.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.decision.probing import PROBE, Probes, ProbingMethod, ProbingSearch
from fluoroscope.attacks.decision.start import APPROACH
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import L2, Threat
from fluoroscope.engine.vectors import column, units

_NO_BOUND = L2(math.inf)
_STEP = PROBE + 1
_FIRST_DELTA = 0.1
_FINEST = 2.0**-20
_HALVINGS = 20
_FEWEST = 10
"""Probes below which a last round is not worth its step."""


@dataclass(frozen=True)
class HopSkipJumpState(ProbingSearch):
    """Where ``n`` searches are."""

    rounds: Tensor
    """``(n,)``, normals estimated or begun."""
    delta: Tensor
    """``(n,)``, length of the probes."""
    votes: Tensor
    """``(n,)``, sum of ``phi``."""
    moves: Tensor
    """``(n, C, H, W)``, sum of ``u``."""
    signed: Tensor
    """``(n, C, H, W)``, sum of ``phi * u``; then the direction of the step."""
    size: Tensor
    """``(n,)``, of the step."""
    halvings: Tensor
    """``(n,)``, of the step so far."""


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(ProbingMethod):
    """HopSkipJump: ``initial_probes`` decisions for the first normal, ``max_probes`` at the most.

    ``gamma`` scales how far probes reach and how close to the border they are made.
    """

    threat: Threat = _NO_BOUND
    initial_probes: int = 100
    max_probes: int = 10_000
    gamma: float = 1.0

    paper: ClassVar[str] = "Chen, Jordan, Wainwright 2020 (1904.02144)"
    norms: ClassVar[tuple[str, ...]] = ("l2", "linf")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "initial_probes")
        self._expect(self.initial_probes, "max_probes")
        self._expect(1e-6, "gamma")

    def start(self, samples: Samples) -> HopSkipJumpState:
        """Drawing pictures to begin from."""
        search = self._search(samples)
        zero, count = torch.zeros_like(search.low), search.queries
        return HopSkipJumpState(
            **vars(search),
            rounds=count,
            planned=count,
            probes=count,
            delta=zero,
            votes=zero,
            moves=torch.zeros_like(search.samples.images),
            signed=torch.zeros_like(search.samples.images),
            size=zero,
            halvings=count,
        )

    def tell_all(self, state: HopSkipJumpState, query: Query, answer: Answer) -> HopSkipJumpState:
        """Approach the border; or add up probes; or halve the step."""
        probing, stepping = state.phase == PROBE, state.phase == _STEP
        state, reached, probes = self._heard_all(state, query, answer)
        state, arrived = self._approach(state, reached, self._theta(state))
        state = self._probed(state, probes, probing)
        state = self._stepped(state, reached, stepping)
        state = self._round(state, arrived | (stepping & (state.halvings > _HALVINGS)))
        return self._next(self._on_the_way(state))

    def _theta(self, state: HopSkipJumpState) -> float:
        size = state.samples.images[0].numel()
        power = 2.0 if self.threat.name == "linf" else 1.5
        return max(self.gamma / math.pow(size, power), _FINEST)

    def _round(self, state: HopSkipJumpState, begins: Tensor) -> HopSkipJumpState:
        """Probes from nothing at the point, as many as pay."""
        if not bool(begins.any()):
            return state
        size = state.samples.images[0].numel()
        distance = self.threat.distance(state.point - state.samples.images)
        delta = torch.where(state.rounds == 0, _FIRST_DELTA, self.gamma * distance / size)
        rounds = state.rounds + begins
        planned = (self.initial_probes * rounds.to(delta).sqrt()).long()
        back = math.ceil(-math.log2(self._theta(state))) + 2
        left = self.queries - state.queries - back
        planned = planned.clamp(max=self.max_probes).minimum(left)
        fresh = column(begins)
        return replace(
            state,
            phase=torch.where(begins, PROBE, state.phase),
            rounds=rounds,
            delta=torch.where(begins, delta.clamp(min=_FINEST * math.sqrt(size)), state.delta),
            planned=torch.where(begins, planned, state.planned),
            probes=torch.where(begins, 0, state.probes),
            votes=torch.where(begins, 0, state.votes),
            moves=torch.where(fresh, 0, state.moves),
            signed=torch.where(fresh, 0, state.signed),
            done=state.done | (begins & (planned < _FEWEST)),
        )

    def _probed(self, state: HopSkipJumpState, probes: Probes, probing: Tensor) -> HopSkipJumpState:
        own, vote = probes.owners, probes.votes
        if not len(own):
            return state
        # As in the authors' code: what the box left of the probe.
        move = (probes.images - state.point[own]) / column(state.delta[own])
        state = replace(
            state,
            votes=state.votes.index_add(0, own, vote),
            moves=state.moves.index_add(0, own, move),
            signed=state.signed.index_add(0, own, column(vote) * move),
        )
        over = probing & (state.probes >= state.planned)
        if not bool(over.any()):
            return state
        mean = state.votes / state.probes.clamp(min=1)
        normal = torch.where(
            column(mean.abs() == 1), state.signed, state.signed - column(mean) * state.moves
        )
        normal = normal.sign() if self.threat.name == "linf" else units(normal)
        distance = self.threat.distance(state.point - state.samples.images)
        return replace(
            state,
            phase=torch.where(over, _STEP, state.phase),
            signed=torch.where(column(over), normal, state.signed),
            size=torch.where(over, distance / state.rounds.to(distance).sqrt(), state.size),
            halvings=torch.where(over, 0, state.halvings),
        )

    def _stepped(
        self, state: HopSkipJumpState, reached: Tensor, stepping: Tensor
    ) -> HopSkipJumpState:
        if not bool(stepping.any()):
            return state
        landed, missed = stepping & reached, stepping & ~reached
        return replace(
            state,
            phase=torch.where(landed, APPROACH, state.phase),
            point=torch.where(column(landed), state.images, state.point),
            low=torch.where(landed, 0, state.low),
            high=torch.where(landed, 1, state.high),
            size=torch.where(missed, state.size / 2, state.size),
            halvings=state.halvings + missed,
        )

    def _probes(self, state: ProbingSearch, owners: Tensor, numbers: Tensor) -> Tensor:
        assert isinstance(state, HopSkipJumpState)
        point, keys, shape = state.point[owners], state.samples.keys[owners], state.images.shape[1:]
        if self.threat.name == "linf":
            noise = 2 * randomness.uniform(keys, numbers, tuple(shape)) - 1
        else:
            noise = randomness.normal(keys, numbers, tuple(shape))
        probe = column(state.delta[owners]) * units(noise).to(point)
        return (point + probe).clamp(0, 1)

    def _next(self, state: HopSkipJumpState) -> HopSkipJumpState:
        rows = (state.phase == _STEP).nonzero().squeeze(1)
        if not len(rows):
            return state
        step = column(state.size[rows]) * state.signed[rows]
        ahead = (state.point[rows] + step).clamp(0, 1)
        return replace(state, images=state.images.index_copy(0, rows, ahead))
