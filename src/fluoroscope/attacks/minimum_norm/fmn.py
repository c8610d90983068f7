"""FMN, the fast minimum-norm attack: steps within a ball whose size follows the border.

Pintor, Roli, Brendel, Biggio 2021, for L2, Linf, L1 and L0. With ``f`` the lead over the strongest
rival, ``g`` the gradient that lowers it, and ``d`` the perturbation,

    ``d <- project(clamp(d + alpha * g / ||g||_2), eps)``,

where ``eps`` is first set to ``||d||_p + |f| / ||g||_q``, the distance to the border of the
linearised network (``q`` is the dual of ``p``), until a success is seen; from then on it is
multiplied by ``1 + gamma``, or at a success by ``1 - gamma``, and there no more than the closest
success. In L0 it counts pixels, starts from 1 and changes by at least 1. ``alpha`` falls from
``step_size`` to a hundredth of it and ``gamma`` to 0.001, both along a cosine.

The defaults are those of the authors' code and of Foolbox: ``step_size`` 1 and ``gamma`` 0.05. The
paper tries several step sizes for each network and keeps the best. Where this differs:

* The image is clamped to the box first and then drawn into the ball, as everywhere here, and in L1
  into both at once (Croce and Hein 2021). The paper clamps last, which takes away from the length
  that was asked for: on digits, where most pixel values are at an end, 17 of 28 searches in L2 then
  never came across the border.
* In L0 a pixel is a position with all of its channels, as everywhere here; the paper counts
  values. With one channel they are the same.
* ``along="steepest"`` is ours. A step goes along the norm's own steepest direction, in Linf the
  gradient's sign, and is ``step_size`` times as long as the ball is wide, so that no scale is left
  to be tuned. In Linf the paper's steps move few pixels by much where the gradient is sparse: on
  adversarially trained digits 39 of 57 searches of 30 steps had no success, and with 0.5 times the
  ball all had, at a median of 0.305 (FAB-T with 9 targets at three times the passes: 0.352).
* A first guess of ``eps`` that is exactly on the border is no success: it is at least what
  rounding can turn.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import MARGIN
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import L2, Threat, onto_l1_balls
from fluoroscope.engine.vectors import column, units
from fluoroscope.errors import InvalidParameterError

_NO_BOUND = L2(math.inf)
_DUAL_ORDER = {"l2": 2.0, "linf": 1.0, "l1": math.inf}
_LAST_SHARE = 0.01
_LAST_GAMMA = 0.001


@dataclass(frozen=True)
class FMNState:
    """Where ``n`` searches are."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    radius: Tensor
    """``(n,)``, the size of the ball."""
    nearest: Tensor
    """``(n,)``, distance of the closest success; before the first, of the farthest corner."""
    found: Tensor
    """``(n,)`` booleans: there was a success."""
    updates: Tensor
    """``(n,)``, steps made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class FMN(Method):
    """The fast minimum-norm attack: steepest steps within a ball that shrinks at each success.

    ``step_size`` is the Euclidean length of the first step, ``gamma`` by how much the ball first
    grows or shrinks. With ``along="steepest"`` (Linf, L2) steps are the steepest of the norm and
    ``step_size`` is how long they are at first, in sizes of the ball; 0.5 does well.
    """

    threat: Threat = _NO_BOUND
    steps: int = 100
    step_size: float = 1.0
    gamma: float = 0.05
    along: Literal["gradient", "steepest"] = "gradient"

    paper: ClassVar[str] = "Pintor et al. 2021 (2102.12827)"
    norms: ClassVar[tuple[str, ...]] = ("l2", "linf", "l1", "l0")
    minimum_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "steps")
        self._expect_positive("step_size")
        if not _LAST_GAMMA <= self.gamma < 1:
            raise InvalidParameterError(
                f"gamma is {self.gamma}; expected at least {_LAST_GAMMA}, to which it falls, and "
                "below 1"
            )
        allowed = ("gradient", "steepest") if self.threat.name in ("linf", "l2") else ("gradient",)
        if self.along not in allowed:
            raise InvalidParameterError(
                f"along is {self.along!r}; expected {' or '.join(allowed)} in the norm "
                f"{self.threat.name}"
            )

    def start(self, samples: Samples) -> FMNState:
        """At the images."""
        corner = self.threat.distance(torch.maximum(samples.images, 1 - samples.images))
        none = torch.zeros_like(samples.classes)
        no = torch.zeros_like(none, dtype=torch.bool)
        return FMNState(
            samples=samples,
            images=samples.images,
            radius=torch.ones_like(corner) if self.threat.name == "l0" else corner,
            nearest=corner,
            found=no,
            updates=none,
            done=no,
        )

    def ask(self, state: FMNState) -> Query:
        """The present images; after the last step nobody needs their gradient."""
        wanted = state.updates < self.steps
        return Query(
            state.images, wanted, MARGIN.towards(state.samples.towards), state.samples.classes
        )

    def tell(self, state: FMNState, answer: Answer) -> FMNState:
        """Set the ball by whether the image was a success, step, and return to the ball."""
        done = state.updates >= self.steps
        if answer.gradient is None:
            return replace(state, done=done)
        cosine = (1 + torch.cos(math.pi * state.updates / self.steps)) / 2
        gamma = _LAST_GAMMA + (self.gamma - _LAST_GAMMA) * cosine
        size = self.step_size * (_LAST_SHARE + (1 - _LAST_SHARE) * cosine)
        reached = is_reached(answer, state.samples.classes, state.samples.towards)
        distance = self.threat.distance(state.images - state.samples.images)
        nearest = torch.where(reached, distance.minimum(state.nearest), state.nearest)
        state = replace(state, nearest=nearest, found=state.found | reached)
        radius = self._radius(state, answer, reached, distance, gamma.to(distance))
        moved = state.images + self._step(answer.gradient, size.to(distance), radius)
        images = self._onto(moved, state.samples.images, radius)
        return replace(state, images=images, radius=radius, updates=state.updates + 1, done=done)

    def _step(self, gradient: Tensor, size: Tensor, radius: Tensor) -> Tensor:
        """The step for a first one of ``size`` ``(n,)`` in balls of ``radius`` ``(n,)``."""
        if self.along == "gradient":
            return column(size) * units(gradient)
        steepest = gradient.sign() if self.threat.name == "linf" else units(gradient)
        return column(size * radius) * steepest

    def _radius(
        self, state: FMNState, answer: Answer, reached: Tensor, distance: Tensor, gamma: Tensor
    ) -> Tensor:
        """The size ``(n,)`` of the ball for the next step."""
        smaller, larger = state.radius * (1 - gamma), state.radius * (1 + gamma)
        corner = self.threat.distance(torch.maximum(state.samples.images, 1 - state.samples.images))
        if self.threat.name == "l0":
            smaller = torch.minimum(state.radius - 1, smaller.floor()).clamp(min=1)
            larger = torch.maximum(state.radius + 1, larger.floor())
        else:
            assert answer.objective is not None
            assert answer.gradient is not None
            slope = answer.gradient.flatten(1)
            steepness = torch.linalg.vector_norm(slope, ord=_DUAL_ORDER[self.threat.name], dim=1)
            scale = answer.logits.abs().amax(1) + slope.abs().sum(1)
            gap = (
                answer.objective.abs().to(slope).maximum(16 * torch.finfo(slope.dtype).eps * scale)
            )
            larger = torch.where(state.found, larger, distance + gap / steepness)
        # Without a slope the border is infinitely far; no corner is.
        larger = larger.nan_to_num(nan=math.inf)
        return torch.where(reached, smaller.minimum(state.nearest), larger).minimum(corner)

    def _onto(self, images: Tensor, original: Tensor, radius: Tensor) -> Tensor:
        """Into the ball of each image's own ``radius`` ``(n,)``, and into the box."""
        if self.threat.name == "l1":
            return onto_l1_balls(images, original, radius)
        away, wide = images.clamp(0, 1) - original, column(radius)
        match self.threat.name:
            case "linf":
                away = away.clamp(-wide, wide)
            case "l2":
                length = column(self.threat.distance(away))
                away = torch.where(length > wide, away * (wide / length), away)
            case _:
                size = away.square().sum(1).flatten(1)
                order = size.argsort(dim=1, descending=True, stable=True)
                rank = torch.arange(size.shape[1], device=size.device)
                kept = torch.zeros_like(order, dtype=torch.bool)
                kept.scatter_(1, order, rank < radius[:, None])
                away = torch.where(kept.view_as(away[:, :1]), away, 0)
        return original + away
