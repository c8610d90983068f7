"""The boundary attack (Brendel, Rauber, Bethge 2018): a random walk along the border, inwards.

From the present success a candidate goes ``delta * distance`` in a random direction orthogonal to
the way to the original, back onto the sphere around it, and then a share ``epsilon`` of the
distance towards it; it takes its place if it is a success too. Every ``CHECK``-th candidate makes
the orthogonal part alone: where more than half of those succeed the border is flat and both sizes
grow by a factor of 1.5; below 0.2 both shrink by it. ``epsilon`` alone does the same by the whole
candidates, above 0.25 and below 0.1.

Where this differs: the authors wait for 100 and 30 outcomes of checked steps, one step in ten, and
so change a size at most once in 300 evaluations, for a walk of many thousands; here sizes are
looked at after ``CHECKS`` checks and after ``STEPS`` candidates, which counts at small budgets. A
check that succeeds is a success at the same distance, and the walk goes on from there. The walk
begins at the border, found by halving, and ends with its budget only.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.decision.start import DecisionMethod, Search
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Samples
from fluoroscope.engine.threats import L2, Threat
from fluoroscope.engine.vectors import column, lengths, units

CHECK, CHECKS, STEPS = 5, 5, 10
_NO_BOUND = L2(math.inf)
_WALK, _CHECK = 2, 3
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class BoundaryState(Search):
    """Where ``n`` searches are."""

    delta: Tensor
    """``(n,)``, the orthogonal step, as a share of the distance."""
    epsilon: Tensor
    """``(n,)``, the step inwards, as a share of the distance."""
    checks: Tensor
    """``(n,)``, since the sizes were last looked at."""
    flat: Tensor
    """``(n,)``, those that succeeded."""
    steps: Tensor
    """``(n,)``, whole candidates since ``epsilon`` was last looked at."""
    inward: Tensor
    """``(n,)``, those that succeeded."""


@dataclass(frozen=True, kw_only=True)
class Boundary(DecisionMethod):
    """The boundary attack; ``delta`` and ``epsilon`` are the sizes it begins with."""

    threat: Threat = _NO_BOUND
    queries: int = 25_000
    delta: float = 0.01
    epsilon: float = 0.01

    paper: ClassVar[str] = "Brendel, Rauber, Bethge 2018 (1712.04248)"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1e-6, "delta")
        self._expect(1e-6, "epsilon", high=1)

    def start(self, samples: Samples) -> BoundaryState:
        """Drawing pictures to begin from."""
        search = self._search(samples)
        count, zero = search.queries, torch.zeros_like(search.low)
        return BoundaryState(
            **vars(search),
            delta=zero + self.delta,
            epsilon=zero + self.epsilon,
            checks=count,
            flat=count,
            steps=count,
            inward=count,
        )

    def tell(self, state: BoundaryState, answer: Answer) -> BoundaryState:
        """Approach the border; or go where a candidate succeeded."""
        state, reached = self._heard(state, answer)
        checked, walked = state.phase == _CHECK, state.phase == _WALK
        state, arrived = self._approach(state, reached, _TOLERANCE)
        gone = (checked | walked) & reached
        state = replace(
            state, point=torch.where(column(gone), state.images, state.point),
            checks=state.checks + checked,
            flat=state.flat + (checked & reached),
            steps=state.steps + walked,
            inward=state.inward + (walked & reached),
        )  # fmt: skip
        state = _adapted(state)
        walking = checked | walked | arrived
        phase = torch.where(state.queries % CHECK == 0, _CHECK, _WALK)
        state = replace(state, phase=torch.where(walking, phase, state.phase))
        state = self._on_the_way(state)
        rows = walking.nonzero().squeeze(1)
        if not len(rows):
            return state
        images = state.images.index_copy(0, rows, _candidates(state, rows))
        return replace(state, images=images)


def _adapted(state: BoundaryState) -> BoundaryState:
    looked, counted = state.checks >= CHECKS, state.steps >= STEPS
    both = torch.where(looked, _factor(state.flat / CHECKS, 0.2, 0.5), 1)
    inwards = torch.where(counted, _factor(state.inward / STEPS, 0.1, 0.25), 1)
    return replace(
        state,
        delta=(state.delta * both).to(state.delta),
        epsilon=(state.epsilon * both * inwards).clamp(max=1).to(state.delta),
        checks=torch.where(looked, 0, state.checks),
        flat=torch.where(looked, 0, state.flat),
        steps=torch.where(counted, 0, state.steps),
        inward=torch.where(counted, 0, state.inward),
    )


def _factor(rate: Tensor, low: float, high: float) -> Tensor:
    return 1.5 ** ((rate > high).to(rate) - (rate < low).to(rate))


def _candidates(state: BoundaryState, rows: Tensor) -> Tensor:
    original, away = state.samples.images[rows], state.point[rows] - state.samples.images[rows]
    distance, outward = column(lengths(away)), units(away)
    delta, epsilon = column(state.delta[rows]), column(state.epsilon[rows])
    noise = randomness.normal(
        state.samples.keys[rows], state.queries[rows], tuple(away.shape[1:])
    ).to(away)
    along = (noise * outward).flatten(1).sum(1)
    aside = delta * distance * units(noise - column(along) * outward)
    sphere = (original + (away + aside) / (1 + delta.square()).sqrt()).clamp(0, 1)
    # The box has moved it off the sphere.
    length = column(lengths(sphere - original))
    inward = ((epsilon * distance + length - distance) / length.clamp(min=1e-30)).clamp(0, 1)
    inward = torch.where(column(state.phase[rows] == _CHECK), 0, inward)
    return (sphere + inward * (original - sphere)).clamp(0, 1)
