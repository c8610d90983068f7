"""SparseFool: the fewest pixel values that reach the border which DeepFool finds, in the box.

Modas, Moosavi-Dezfooli, Frossard 2019. From the present point ``x``, DeepFool in L2 finds a move
``r`` across the border; with ``w`` the normal of the border there, ``x`` goes to the plane

    ``w * (y - (x + lam * r)) = 0``

by the smallest move in L1 within ``[0, 1]``: the values of the steepest slope first, each as far as
the box lets it or as is needed. That repeats from the new ``x``; the network is shown
``x_0 + (1 + overshoot) * (x - x_0)``. A ``lam`` above 1 aims past the border: more values move, but
fewer rounds are needed on a curved one. It only leads away from a class, as in the paper.

The defaults are those of the authors' code: ``lam`` 3, ``overshoot`` 0.02, no more than 20 rounds,
each a DeepFool of up to 50 steps over 10 classes. Where this differs:

* DeepFool is the one here, which overshoots at each step and stays in the box.
* The paper's linear solver takes one value at a time, in a loop; here it is solved at once, exactly
  onto the plane, where the authors' code goes a thousandth beyond.
* Where the border bends so far that its normal points back, the move still goes towards the rival.
* A ``x`` that is a success already without the overshoot ends the search.

A value is that of one channel; distances and ``eps`` are in L1, or L0, which counts positions.
DeepFool's dense points are successes as well, and are kept where no sparse one is found; with
``keep="first"`` the first of them ends the search, unless an ``eps`` rules it out.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.minimum_norm import planes
from fluoroscope.attacks.minimum_norm.deepfool import DeepFool, DeepFoolState
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import leads
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import L0, L2, Threat
from fluoroscope.engine.vectors import chosen

_NO_BOUND = L0(inf)


@dataclass(frozen=True)
class SparseFoolState:
    """Where ``n`` searches are."""

    clean: Tensor
    """``(n, C, H, W)``, the clean images."""
    search: DeepFoolState
    """DeepFool's search from the present sparse point, its ``original``."""
    showing: Tensor
    """``(n,)`` booleans: the network is shown the sparse point next, with the overshoot."""
    rounds: Tensor
    """``(n,)``, sparse moves made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class SparseFool(Method):
    """DeepFool's border, reached by as few pixel values as the plane at it needs.

    ``steps`` is how many sparse moves there are at most, ``lam`` how far they aim, in ways to the
    border; ``overshoot`` and ``candidates`` are DeepFool's.
    """

    threat: Threat = _NO_BOUND
    steps: int = 20
    lam: float = 3.0
    overshoot: float = 0.02
    candidates: int = 10

    paper: ClassVar[str] = "Modas, Moosavi-Dezfooli, Frossard 2019 (1811.02248)"
    norms: ClassVar[tuple[str, ...]] = ("l0", "l1")
    cost: ClassVar[str] = DeepFool.cost
    minimum_norm: ClassVar[bool] = True
    can_target: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "steps", "lam")
        self._deepfool  # noqa: B018 - an impossible parameter is said at once

    def start(self, samples: Samples) -> SparseFoolState:
        """At the image."""
        search = self._deepfool.start(samples)
        return SparseFoolState(
            clean=samples.images,
            search=search,
            showing=torch.zeros_like(search.done),
            rounds=torch.zeros_like(search.updates),
            done=search.done,
        )

    def ask(self, state: SparseFoolState) -> Query:
        """DeepFool's question, or the sparse point."""
        query = self._deepfool.ask(state.search)
        away = state.search.original - state.clean
        sparse = (state.clean + (1 + self.overshoot) * away).clamp(0, 1)
        return replace(
            query,
            images=chosen(state.showing, sparse, query.images),
            several=None
            if bool(state.showing.all())
            else leads(self.candidates - 1, state.search.towards),
            several_wanted=~state.showing,
        )

    def tell(self, state: SparseFoolState, answer: Answer) -> SparseFoolState:
        """On with DeepFool; from the border it has found, the sparse move."""
        search, showing = state.search, state.showing
        reached = is_reached(answer, search.classes, search.towards)
        ended = state.rounds >= self.steps
        if answer.jacobian is None:
            return replace(state, showing=~showing, done=reached | ended)
        inner = self._deepfool.tell(search, answer)
        over = ~showing & inner.done
        here = search.original
        there = self._sparse(here, search.reached - here, answer.jacobian[:, 0])
        moved = over & (there != here).flatten(1).any(1)
        begun = chosen(moved, there, here)
        fresh = showing | over
        return replace(
            state,
            search=replace(
                inner,
                original=begun,
                reached=chosen(fresh, begun, inner.reached),
                updates=torch.where(fresh, 0, inner.updates),
            ),
            showing=over,
            rounds=state.rounds + over,
            # Without a move there is no way on; at the sparse point itself there need not be one.
            done=torch.where(showing, reached | ended, over & ~moved),
        )

    def _sparse(self, here: Tensor, move: Tensor, slope: Tensor) -> Tensor:
        """The nearest points in L1 on the planes with this slope at ``here + lam * move``."""
        x, w = here.flatten(1), slope.flatten(1)
        needed = -self.lam * (w * move.flatten(1)).sum(1).abs()
        return (x + planes.to_plane(x, w, needed, "l1")).view_as(here).clamp(0, 1)

    @cached_property
    def _deepfool(self) -> DeepFool:
        return DeepFool(threat=L2(inf), overshoot=self.overshoot, candidates=self.candidates)
