"""Carlini and Wagner's L2 attack (2017): the closest success, by gradient descent with Adam.

Minimise ``|x' - x|^2 + c * max(-margin, -confidence)`` where ``margin`` is the lead of the wanted
class (or of the best other class over the true one), with ``x'`` written through ``tanh(w)`` so
that it stays in the box. For each sample ``c`` is searched: tenfold until a search succeeds, then
by halving the interval. A search ends early when its loss has not fallen by 1 in 10,000 over a
tenth of its steps.

Where this differs: the paper's ``x' = (tanh(w) + 1) / 2`` has no slope at pixels of exactly 0 or
1, so that they hardly ever move. Here ``x' = 1/2 + STRETCH/2 * tanh(w)``, and ``w`` is clamped to
where ``x'`` meets the box: the edges have a slope, and the first point is the image itself. Each
sample counts its own steps; the authors' code ends a search early for the whole batch. And ``c``
is the smallest whose *resulting* image succeeds, as the paper says: a success counts for ``c`` if
it falls in the last tenth of the steps. The authors' code counts any on the way, where Adam's first
steps, all of length ``lr``, can overshoot a near border with a ``c`` far too small, after which
``c`` only falls (up to 1.9 times the smallest distance on linear networks, against 1.04).

On a linear network the wanted class is reached within 1.05 times the smallest distance, as far as
that is longer than Adam's first step. Without a wanted class the descent follows whichever class is
strongest at the moment, which need not be the nearest: there it was up to 1.09.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.adam import adam
from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.minimum_norm.trade_off import Progress, TradeOff
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import MARGIN
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import L2, Threat
from fluoroscope.engine.vectors import column

STRETCH = 1.5
_NO_BOUND = L2(math.inf)


@dataclass(frozen=True)
class Descent:
    """Adam on the variable behind ``n`` images."""

    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    w: Tensor
    """``(n, C, H, W)``, the variable behind them."""
    mean: Tensor
    """``(n, C, H, W)``, Adam's running mean of the gradient at ``w``."""
    square: Tensor
    """``(n, C, H, W)``, and of its square."""
    step: Tensor
    """``(n,)``, steps made."""

    @staticmethod
    def begin(images: Tensor) -> "Descent":
        """At these images."""
        w = _behind(images)
        count = torch.zeros(len(w), dtype=torch.long, device=w.device)
        return Descent(images, w, torch.zeros_like(w), torch.zeros_like(w), count)

    def moved(self, gradient: Tensor, lr: float) -> "Descent":
        """One step down the gradient at the images."""
        gradient = gradient * (STRETCH / 2 * (1 - _tanh(self.images).square()))
        step = self.step + 1
        along, mean, square = adam(gradient, self.mean, self.square, column(step))
        w = (self.w - lr * along).clamp(-_EDGE, _EDGE)
        return Descent(_images(w), w, mean, square, step)

    def anew(self, over: Tensor, images: Tensor) -> "Descent":
        """Begun again at these images for those that are ``over``, ``(n,)``."""
        fresh = column(over)
        return Descent(
            torch.where(fresh, images, self.images),
            torch.where(fresh, _behind(images), self.w),
            torch.where(fresh, 0, self.mean),
            torch.where(fresh, 0, self.square),
            self.step * ~over,
        )


@dataclass(frozen=True)
class PenaltyState:
    """Where ``n`` searches are, whatever the penalty."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    descent: Descent
    """Of the images to be evaluated next."""
    progress: Progress
    """With the present ``c``."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class PenaltyMethod(Method):
    """What Carlini and Wagner's three attacks share: ``penalty + c * max(-margin, -confidence)``.

    ``steps`` evaluations with each ``c``, of which ``c`` is the first; ``lr`` is Adam's;
    ``confidence`` the lead in logits from which an image counts as a success.
    """

    threat: Threat
    steps: int = 1000
    c: float = 0.01
    lr: float = 0.01
    confidence: float = 0.0
    early_abort: bool = True

    paper: ClassVar[str] = "Carlini, Wagner 2017 (1608.04644)"
    minimum_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "steps")
        self._expect(0, "confidence")
        self._expect_positive("c", "lr")

    def ask(self, state: PenaltyState) -> Query:
        """The present images."""
        return Query(
            state.descent.images, True, MARGIN.towards(state.samples.towards), state.samples.classes
        )

    def _down(
        self, state: PenaltyState, answer: Answer, c: Tensor, penalty: Tensor, slope: Tensor
    ) -> tuple[Descent, Tensor, Tensor]:
        """One step down, the loss before it, and who had reached what is wanted there.

        ``penalty`` ``(n,)`` is on the distance, ``slope`` ``(n, C, H, W)`` its derivative. The
        margin counts up to the confidence.
        """
        assert answer.gradient is not None
        assert answer.objective is not None
        margin = answer.objective.to(c.dtype)
        loss = penalty - c * margin.clamp(max=self.confidence)
        weight = column(c * (margin <= self.confidence))
        descent = state.descent.moved(slope - weight * answer.gradient, self.lr)
        return (
            descent,
            loss,
            is_reached(answer, state.samples.classes, state.samples.towards, self.confidence),
        )


@dataclass(frozen=True)
class CarliniWagnerState(PenaltyState):
    """Where ``n`` searches are."""

    found: Tensor
    """``(n,)`` booleans: ``c`` has given a success since the loss was last looked at."""
    trade: TradeOff
    """The weight of the margin."""


@dataclass(frozen=True, kw_only=True)
class CarliniWagner(PenaltyMethod):
    """Carlini and Wagner's L2 attack: ``searches`` values of ``c``, ``steps`` evaluations each.

    ``confidence`` is the lead in logits from which an image counts as a success.
    """

    threat: Threat = _NO_BOUND
    searches: int = 9

    norms: ClassVar[tuple[str, ...]] = ("l2",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "searches")

    def start(self, samples: Samples) -> CarliniWagnerState:
        """At the images, with the first ``c``."""
        nothing = torch.zeros_like(samples.classes, dtype=torch.bool)
        return CarliniWagnerState(
            samples=samples,
            descent=Descent.begin(samples.images),
            progress=Progress.begin(samples.images),
            found=nothing,
            trade=TradeOff.begin(samples.images, self.c),
            done=nothing,
        )

    def tell(self, state: CarliniWagnerState, answer: Answer) -> CarliniWagnerState:
        """One step of Adam; at the end of a search the next ``c``, from the image again."""
        away = state.descent.images - state.samples.images
        penalty = away.square().flatten(1).sum(1)
        descent, loss, reached = self._down(state, answer, state.trade.c, penalty, 2 * away)
        tenth = max(1, self.steps // 10)
        found = reached | (state.found & (state.progress.step % tenth != 0))
        progress, over = state.progress.after(loss, self.steps, self.early_abort)
        moved = replace(state, descent=descent, progress=progress, found=found)
        if not bool(over.any()):
            return moved
        trade = state.trade.following(over, found)
        return replace(
            moved,
            descent=descent.anew(over, state.samples.images),
            progress=progress.anew(over),
            found=found & ~over,
            trade=trade,
            done=trade.search >= self.searches,
        )


_EDGE = math.atanh(1 / STRETCH)


def _images(w: Tensor) -> Tensor:
    return (0.5 + STRETCH / 2 * w.tanh()).clamp(0, 1)


def _behind(images: Tensor) -> Tensor:
    return _tanh(images).atanh().clamp(-_EDGE, _EDGE)


def _tanh(images: Tensor) -> Tensor:
    return (2 * images - 1) / STRETCH
