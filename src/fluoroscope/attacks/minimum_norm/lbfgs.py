"""The attack that began it (Szegedy et al. 2013): a small change, by L-BFGS in the box.

Minimise ``|x' - x|_2^2 + c * cross-entropy(x')`` towards the wanted class over images in the box,
from the image itself. For each sample ``c`` is searched: the smallest whose minimiser succeeds.

The paper puts ``c`` at the distance and calls for "the minimum c" by a line search, without more
numbers; here it is at the cross-entropy, as in Carlini and Wagner's L2 attack, whose search it
shares: from 0.01, tenfold until a success, then halving, 9 times. And the paper only leads to a
wanted class. Away from a class the loss here is ``-log(1 - p)`` with ``p`` its probability: the
cross-entropy of "any other". (Raising its own cross-entropy instead would make the minimiser jump
from far before the border to far behind it, as that has no bound.) The cross-entropy still has a
slope behind the border, so where several classes are nearly equal there it goes farther than an
attack on the margin does.

The minimiser is batched, each sample with its own history: the two-loop recursion (Nocedal and
Wright 2006, algorithm 7.4) over the pixels that are not held at an end of the box (Bertsekas 1982),
and a line search back along the clamped path by parabolas until the loss has fallen by 1 in 10,000
of what its slope promises. It begins with half the gradient, which is Newton's step for the
distance alone. A descent ends where a step lowers the loss by less than 1 in 100,000, or after
``steps`` evaluations.

Memory for each sample: ``2 * memory + 5`` images.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.minimum_norm.trade_off import TradeOff
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import Objective
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import L2, Threat
from fluoroscope.engine.vectors import column, wide

_NO_BOUND = L2(math.inf)
_ENOUGH = 1e-4
_CONVERGED = 1e-5
# Below this share of the direction the line search gives up.
_SHORTEST = 1e-6


@dataclass(frozen=True)
class LBFGSState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``"""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    point: Tensor
    """``(n, C, H, W)``, the best so far with the present ``c``."""
    value: Tensor
    """``(n,)``, the loss there, in float64; infinite before the first evaluation."""
    gradient: Tensor
    """``(n, C, H, W)``, its gradient."""
    reached: Tensor
    """``(n,)`` booleans: what is wanted is so there."""
    direction: Tensor
    """``(n, C, H, W)``, along which the line search goes back."""
    size: Tensor
    """``(n,)``, the share of it that comes next."""
    moves: Tensor
    """``(n, memory, C, H, W)``, the last steps, the newest first; zeros where there were fewer."""
    turns: Tensor
    """``(n, memory, C, H, W)``, what the gradient changed by in each."""
    step: Tensor
    """``(n,)``, evaluations made with the present ``c``."""
    trade: TradeOff
    """The weight of the cross-entropy."""
    classes: Tensor
    """``(n,)``"""
    towards: Tensor
    """``(n,)``, 1 where the class is wanted, -1 where it is to be left."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class LBFGS(Method):
    """Box-constrained L-BFGS: ``searches`` values of ``c``, at most ``steps`` evaluations each.

    ``c`` is the first one, ``memory`` how many steps the recursion remembers.
    """

    threat: Threat = _NO_BOUND
    searches: int = 9
    steps: int = 100
    c: float = 0.01
    memory: int = 10

    paper: ClassVar[str] = "Szegedy et al. 2013 (1312.6199)"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    minimum_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "searches", "memory")
        self._expect(2, "steps")
        self._expect_positive("c")

    def start(self, samples: Samples) -> LBFGSState:
        """At the images, with the first ``c``."""
        images, count = samples.images, torch.zeros_like(samples.classes)
        nothing = torch.zeros_like(count, dtype=torch.bool)
        history = images.new_zeros(len(images), self.memory, *images.shape[1:])
        return LBFGSState(
            original=images,
            images=images,
            point=images,
            value=torch.full_like(count, math.inf, dtype=wide(images)),
            gradient=torch.zeros_like(images),
            reached=nothing,
            direction=torch.zeros_like(images),
            size=torch.ones_like(images[:, 0, 0, 0]),
            moves=history,
            turns=history,
            step=count,
            trade=TradeOff.begin(images, self.c),
            classes=samples.classes,
            towards=samples.towards,
            done=nothing,
        )

    def ask(self, state: LBFGSState) -> Query:
        """The next point of the line search."""
        return Query(state.images, True, _likelihood(state.towards), state.classes)

    def tell(self, state: LBFGSState, answer: Answer) -> LBFGSState:
        """Accept the point and turn, or go back; at the end the next ``c`` from the image."""
        assert answer.gradient is not None
        assert answer.objective is not None
        away, moved = state.images - state.original, state.images - state.point
        distance = away.flatten(1).to(state.value.dtype).square().sum(1)
        value = distance - state.trade.c * answer.objective
        gradient = 2 * away - column(state.trade.c) * answer.gradient
        promised = _dot(state.gradient, moved).to(value.dtype)
        fallen = state.value - value
        accepted = fallen >= -_ENOUGH * promised
        reached = is_reached(answer, state.classes, state.towards)
        state = replace(
            self._accept(state, accepted, gradient, value, reached), step=state.step + 1
        )
        share = (-promised / (-2 * (fallen + promised))).nan_to_num(0.5).clamp(0.1, 0.5)
        size = torch.where(accepted, 1, state.size * share.to(state.size.dtype))
        over = (accepted & (fallen <= _CONVERGED * value)) | (size < _SHORTEST)
        over |= state.step >= self.steps
        images = (state.point + column(size) * state.direction).clamp(0, 1)
        return self._next_c(replace(state, images=images, size=size), over)

    def _accept(
        self, state: LBFGSState, accepted: Tensor, gradient: Tensor, value: Tensor, reached: Tensor
    ) -> LBFGSState:
        if not bool(accepted.any()):
            return state
        taken = column(accepted)
        move, turn = state.images - state.point, gradient - state.gradient
        bends = accepted & (state.step > 0) & (_dot(move, turn) > 0)
        gradient = torch.where(taken, gradient, state.gradient)
        point = torch.where(taken, state.images, state.point)
        moves, turns = _push(state.moves, move, bends), _push(state.turns, turn, bends)
        held = ((point <= 0) & (gradient > 0)) | ((point >= 1) & (gradient < 0))
        direction = descent_direction(gradient, moves, turns, ~held)
        return replace(
            state,
            point=point,
            value=torch.where(accepted, value, state.value),
            gradient=gradient,
            reached=torch.where(accepted, reached, state.reached),
            direction=torch.where(taken, direction, state.direction),
            moves=moves,
            turns=turns,
        )

    def _next_c(self, state: LBFGSState, over: Tensor) -> LBFGSState:
        if not bool(over.any()):
            return state
        fresh = column(over)
        trade = state.trade.following(over, state.reached)
        return replace(
            state,
            images=torch.where(fresh, state.original, state.images),
            point=torch.where(fresh, state.original, state.point),
            value=torch.where(over, math.inf, state.value),
            size=torch.where(over, 1, state.size),
            moves=torch.where(fresh[:, None], 0, state.moves),
            turns=torch.where(fresh[:, None], 0, state.turns),
            step=state.step * ~over,
            trade=trade,
            done=trade.search >= self.searches,
        )


def descent_direction(gradient: Tensor, moves: Tensor, turns: Tensor, free: Tensor) -> Tensor:
    """The L-BFGS direction ``(N, C, H, W)`` over the pixel values that are ``free``.

    ``moves`` and ``turns`` ``(N, memory, C, H, W)`` are past steps and changes of the gradient, the
    newest first, with zeros where there are none. Those that do not bend upwards over the free
    values are left out.
    """
    mask = free.flatten(1).to(gradient.dtype)
    s, y = moves.flatten(2) * mask[:, None], turns.flatten(2) * mask[:, None]
    slope = gradient.flatten(1) * mask
    bend, curve = (s * y).sum(2), (y * y).sum(2)
    good = bend > 1e-10 * curve
    weight = torch.where(good, 1 / bend, 0)
    newest = good & (good.cumsum(1) == 1)
    scale = torch.where(newest, bend / curve, 0).sum(1, keepdim=True)
    scale = torch.where(good.any(1, keepdim=True), scale, 0.5)
    direction, parts = -slope, []
    for k in range(s.shape[1]):
        part = weight[:, k] * (s[:, k] * direction).sum(1)
        direction = direction - part[:, None] * y[:, k]
        parts.append(part)
    direction = scale * direction
    for k in reversed(range(s.shape[1])):
        part = parts[k] - weight[:, k] * (y[:, k] * direction).sum(1)
        direction = direction + part[:, None] * s[:, k]
    falls = (direction * slope).sum(1, keepdim=True) < 0
    return torch.where(falls, direction, -0.5 * slope).view_as(gradient)


def _likelihood(towards: Tensor) -> Objective:
    """The log-probability of the class where it is wanted, else that of all others together."""

    def value(logits: Tensor, classes: Tensor) -> Tensor:
        rivals = logits.scatter(1, classes[:, None], -torch.inf).logsumexp(1)
        odds = logits.gather(1, classes[:, None]).squeeze(1) - rivals
        return F.logsigmoid(towards.to(logits) * odds)

    return Objective("log-likelihood", value)


def _push(history: Tensor, newest: Tensor, rows: Tensor) -> Tensor:
    pushed = torch.cat([newest[:, None], history[:, :-1]], 1)
    return torch.where(column(rows)[:, None], pushed, history)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).flatten(1).sum(1)
