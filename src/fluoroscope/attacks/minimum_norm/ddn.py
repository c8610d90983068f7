"""DDN, the decoupled direction and norm attack (Rony et al. 2019): the closest success in L2.

``d <- d + alpha * g / |g|``, then ``x + norm * d / |d|`` clamped to the box, where ``norm`` is
multiplied by ``1 - gamma`` if the present image is a success and by ``1 + gamma`` if not, and
``alpha`` falls from 1 to 0.01 along a cosine. ``g`` lowers the true class's log-probability, or
raises the wanted one's.

The paper rounds images to 8 bits after every step; that is left out, so distances can be smaller.
As in the authors' code no length exceeds that to the farthest corner of the box.

What the rule can and cannot do: it comes to rest where the perturbation is parallel to the
gradient. The cross-entropy's gradient is a mixture of all rivals, weighted by their probabilities:
with two classes, or where one rival has nearly all the probability, that is the shortest way to the
border (1.01 times the smallest distance on linear networks). Where logits lie close together it is
not (up to 1.6 on ten classes with tiny weights), and more steps do not help; ``loss="margin"``
follows the strongest rival alone, within 1.1 there, yet on trained digits 4 % farther. And in K
steps the length cannot shrink below ``init_norm * (1 - gamma)^K``.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY, MARGIN
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import L2, Threat
from fluoroscope.engine.vectors import column, units
from fluoroscope.errors import InvalidParameterError

_NO_BOUND = L2(math.inf)
_LAST_STEP_SIZE = 0.01
_LOSSES = {"ce": LOG_PROBABILITY, "margin": MARGIN}


@dataclass(frozen=True)
class DDNState:
    """Where ``n`` searches are."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    norm: Tensor
    """``(n,)``, Euclidean length of the perturbation before it was clamped to the box."""
    longest: Tensor
    """``(n,)``, the distance to the farthest corner of the box."""
    updates: Tensor
    """``(n,)``, steps made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class DDN(Method):
    """Decoupled direction and norm: no trade-off to tune, one search.

    ``init_norm`` is the length it starts from, ``gamma`` how much the length changes in a step,
    ``loss`` what gives the direction: the cross-entropy of the paper or the margin.
    """

    threat: Threat = _NO_BOUND
    steps: int = 100
    gamma: float = 0.05
    init_norm: float = 1.0
    loss: Literal["ce", "margin"] = "ce"

    paper: ClassVar[str] = "Rony et al. 2019 (1811.09600)"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    minimum_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "steps")
        if not 0 < self.gamma < 1:
            raise InvalidParameterError(f"gamma is {self.gamma}; expected between 0 and 1")
        self._expect_positive("init_norm")
        if self.loss not in _LOSSES:
            raise InvalidParameterError(f"loss is {self.loss!r}; expected 'ce' or 'margin'")

    def start(self, samples: Samples) -> DDNState:
        """At the images."""
        return DDNState(
            samples=samples,
            images=samples.images,
            norm=torch.full_like(samples.images[:, 0, 0, 0], self.init_norm),
            longest=_NO_BOUND.distance(torch.maximum(samples.images, 1 - samples.images)),
            updates=torch.zeros_like(samples.classes),
            done=torch.zeros_like(samples.classes, dtype=torch.bool),
        )

    def ask(self, state: DDNState) -> Query:
        """The present images; after the last step nobody needs their gradient."""
        wanted = state.updates < self.steps
        objective = _LOSSES[self.loss].towards(state.samples.towards)
        return Query(state.images, wanted, objective, state.samples.classes)

    def tell(self, state: DDNState, answer: Answer) -> DDNState:
        """Turn by the gradient, then set the length by whether the image was a success."""
        done = state.updates >= self.steps
        if answer.gradient is None:
            return replace(state, done=done)
        share = state.updates / self.steps
        size = _LAST_STEP_SIZE + (1 - _LAST_STEP_SIZE) * (1 + torch.cos(math.pi * share)) / 2
        ascent = units(_or_random(answer.gradient, state.samples.keys, state.updates))
        direction = units(state.images - state.samples.images + column(size) * ascent)
        reached = is_reached(answer, state.samples.classes, state.samples.towards)
        norm = state.norm * torch.where(reached, 1 - self.gamma, 1 + self.gamma)
        norm = norm.minimum(state.longest)
        images = (state.samples.images + column(norm) * direction).clamp(0, 1)
        return replace(state, images=images, norm=norm, updates=state.updates + 1, done=done)


def _or_random(gradient: Tensor, keys: Tensor, draw: Tensor) -> Tensor:
    flat = ~gradient.flatten(1).any(1)
    if not bool(flat.any()):
        return gradient
    noise = randomness.normal(keys, draw, tuple(gradient.shape[1:])).to(gradient.dtype)
    return torch.where(column(flat), noise, gradient)
