"""Searches that look for the border's normal: many decisions about pictures close to one point.

The probes of one estimate do not depend on each other. So where few searches are under way each
asks about as many of its probes at once as there is room for; their noise is numbered by the
queries and their votes are added up one by one, so that nothing else changes.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from fluoroscope.attacks.decision.start import DECISION, DecisionMethod, Search
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Query, is_reached
from fluoroscope.engine.vectors import crowd

PROBE = 2
"""The phase of the probes; a method's other ones are counted from 3."""


@dataclass(frozen=True)
class ProbingSearch(Search):
    """Where ``n`` searches are; a method adds what is its own."""

    planned: Tensor
    """``(n,)``, probes of this round."""
    probes: Tensor
    """``(n,)``, those made."""


P = TypeVar("P", bound=ProbingSearch)


@dataclass(frozen=True)
class Probes:
    """What was asked around the points, and said."""

    owners: Tensor
    """``(m,)``, whose they are."""
    images: Tensor
    """``(m, C, H, W)``"""
    votes: Tensor
    """``(m,)``, 1 for a success and -1 otherwise."""


@dataclass(frozen=True, kw_only=True)
class ProbingMethod(DecisionMethod):
    """A search by decisions whose rounds begin with probes, which are as good finds as any."""

    apart: ClassVar[bool] = False

    def ask_within(self, state: ProbingSearch, room: int) -> Query:
        """Up to ``room`` probes of those who probe, and the next image of the others."""
        left = torch.minimum(state.planned - state.probes, self.queries - state.queries)
        count = torch.where(state.phase == PROBE, left.clamp(1, room), 1)
        owners, before = crowd(count)
        images = state.images[owners]
        rows = (state.phase == PROBE)[owners].nonzero().squeeze(1)
        if len(rows):
            own = owners[rows]
            probes = self._probes(state, own, state.queries[own] + before[rows])
            images = images.index_copy(0, rows, probes)
        samples = state.samples
        return Query(
            images,
            False,
            DECISION.towards(samples.towards[owners]),
            samples.classes[owners],
            owners=owners if len(owners) > len(count) else None,
        )

    def _probes(self, state: ProbingSearch, owners: Tensor, numbers: Tensor) -> Tensor:
        """Images around the points of these searches ``(m,)``, their noise of these numbers."""
        raise NotImplementedError

    def _heard_all(self, state: P, query: Query, answer: Answer) -> tuple[P, Tensor, Probes]:
        """So many evaluations more; who else was predicted as wanted ``(n,)``; and the probes."""
        owners = query.whose
        count = owners.bincount(minlength=len(state.done))
        queries = state.queries + count
        samples, probing = state.samples, state.phase == PROBE
        reached = is_reached(answer, samples.classes[owners], samples.towards[owners])
        rows = probing[owners].nonzero().squeeze(1)
        images = query.images[rows]
        found = Probes(owners[rows], images, reached[rows].to(images) * 2 - 1)
        state = replace(
            state,
            queries=queries,
            done=queries >= self.queries,
            probes=state.probes + count * probing,
        )
        return state, reached[count.cumsum(0) - count], found
