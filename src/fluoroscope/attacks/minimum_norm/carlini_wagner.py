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

from fluoroscope.attacks.attack import Method
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import MARGIN, Objective
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import L2, Threat
from fluoroscope.errors import InvalidParameterError

STRETCH = 1.5
_NO_BOUND = L2(math.inf)
_DECAY = (0.9, 0.999)
_SMALL = 1e-8


@dataclass(frozen=True)
class CarliniWagnerState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``"""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    w: Tensor
    """``(n, C, H, W)``, the variable behind them."""
    mean: Tensor
    """``(n, C, H, W)``, Adam's running mean of the gradient at ``w``."""
    square: Tensor
    """``(n, C, H, W)``, and of its square."""
    step: Tensor
    """``(n,)``, evaluations made with the present ``c``."""
    loss: Tensor
    """``(n,)``, when it was last looked at for early abort."""
    found: Tensor
    """``(n,)`` booleans: ``c`` has given a success since the loss was last looked at."""
    c: Tensor
    """``(n,)``, weight of the margin."""
    lower: Tensor
    """``(n,)``, largest ``c`` that failed."""
    upper: Tensor
    """``(n,)``, smallest ``c`` that succeeded."""
    search: Tensor
    """``(n,)``, values of ``c`` done with."""
    classes: Tensor
    """``(n,)``"""
    towards: Tensor
    """``(n,)``, 1 where the class is wanted, -1 where it is to be left."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class CarliniWagner(Method):
    """Carlini and Wagner's L2 attack: ``searches`` values of ``c``, ``steps`` evaluations each.

    ``confidence`` is the lead in logits from which an image counts as a success.
    """

    threat: Threat = _NO_BOUND
    searches: int = 9
    steps: int = 1000
    c: float = 0.01
    lr: float = 0.01
    confidence: float = 0.0
    early_abort: bool = True

    paper: ClassVar[str] = "Carlini, Wagner 2017 (1608.04644)"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    minimum_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "searches", "steps")
        self._expect(0, "confidence")
        for name in ("c", "lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidParameterError(
                    f"{name} is {getattr(self, name)}; expected more than 0"
                )

    def start(self, samples: Samples) -> CarliniWagnerState:
        """At the images, with the first ``c``."""
        w = _behind(samples.images)
        zero = torch.zeros_like(samples.images[:, 0, 0, 0])
        count = torch.zeros_like(samples.classes)
        nothing = torch.zeros_like(count, dtype=torch.bool)
        return CarliniWagnerState(
            original=samples.images,
            images=samples.images,
            w=w,
            mean=torch.zeros_like(w),
            square=torch.zeros_like(w),
            step=count,
            loss=zero + math.inf,
            found=nothing,
            c=zero + self.c,
            lower=zero,
            upper=zero + math.inf,
            search=count,
            classes=samples.classes,
            towards=samples.towards,
            done=nothing,
        )

    def ask(self, state: CarliniWagnerState) -> Query:
        """The present images; the margin counts up to the confidence."""
        margin = MARGIN.towards(state.towards)
        capped = Objective(
            "capped margin", lambda logits, k: margin(logits, k).clamp(max=self.confidence)
        )
        return Query(state.images, True, capped, state.classes)

    def tell(self, state: CarliniWagnerState, answer: Answer) -> CarliniWagnerState:
        """One step of Adam; at the end of a search the next ``c``, from the image again."""
        assert answer.gradient is not None
        assert answer.objective is not None
        away = state.images - state.original
        loss = away.square().flatten(1).sum(1) - state.c * answer.objective.to(state.c.dtype)
        slope = STRETCH / 2 * (1 - _tanh(state.images).square())
        gradient = (2 * away - _column(state.c) * answer.gradient) * slope
        reached = is_reached(answer, state.classes, state.towards, self.confidence)
        tenth = max(1, self.steps // 10)
        found = reached | (state.found & (state.step % tenth != 0))
        moved = replace(self._adam(state, gradient), found=found)
        look = moved.step % tenth == 0
        stuck = look & (loss > 0.9999 * state.loss) & self.early_abort
        moved = replace(moved, loss=torch.where(look, loss, state.loss))
        return self._next_c(moved, stuck | (moved.step >= self.steps))

    def _adam(self, state: CarliniWagnerState, gradient: Tensor) -> CarliniWagnerState:
        step = state.step + 1
        mean = state.mean.lerp(gradient, 1 - _DECAY[0])
        square = state.square.lerp(gradient.square(), 1 - _DECAY[1])
        bias = [_column(1 - decay ** step.to(gradient.dtype)) for decay in _DECAY]
        change = self.lr * (mean / bias[0]) / ((square / bias[1]).sqrt() + _SMALL)
        w = (state.w - change).clamp(-_EDGE, _EDGE)
        return replace(state, images=_images(w), w=w, mean=mean, square=square, step=step)

    def _next_c(self, state: CarliniWagnerState, over: Tensor) -> CarliniWagnerState:
        if not bool(over.any()):
            return state
        upper = torch.where(over & state.found, state.c, state.upper)
        lower = torch.where(over & ~state.found, state.c, state.lower)
        following = torch.where(upper < math.inf, (lower + upper) / 2, 10 * state.c)
        search = state.search + over
        fresh = _column(over)
        return replace(
            state,
            images=torch.where(fresh, state.original, state.images),
            w=torch.where(fresh, _behind(state.original), state.w),
            mean=torch.where(fresh, 0, state.mean),
            square=torch.where(fresh, 0, state.square),
            step=torch.where(over, 0, state.step),
            loss=torch.where(over, math.inf, state.loss),
            found=state.found & ~over,
            c=torch.where(over, following, state.c),
            lower=lower,
            upper=upper,
            search=search,
            done=search >= self.searches,
        )


_EDGE = math.atanh(1 / STRETCH)


def _images(w: Tensor) -> Tensor:
    return (0.5 + STRETCH / 2 * w.tanh()).clamp(0, 1)


def _behind(images: Tensor) -> Tensor:
    return _tanh(images).atanh().clamp(-_EDGE, _EDGE)


def _tanh(images: Tensor) -> Tensor:
    return (2 * images - 1) / STRETCH


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
