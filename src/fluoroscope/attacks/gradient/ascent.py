"""Gradient ascent on the input: ``x <- project(x + step_size * direction(gradient))``.

With one step along the sign it is the fast gradient sign method (Goodfellow, Shlens, Szegedy 2015),
with many the basic iterative method (Kurakin, Goodfellow, Bengio 2017); along the raw gradient it
is what Falcon and Canziani (2020) let a digit do.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY, Objective
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat, Unbounded
from fluoroscope.engine.vectors import units

Direction = Literal["sign", "normalized", "raw"]
DIRECTIONS: tuple[Direction, ...] = ("sign", "normalized", "raw")


@dataclass(frozen=True)
class AscentState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``, what distances are measured from."""
    images: Tensor
    """``(n, C, H, W)``"""
    updates: Tensor
    """``(n,)``, steps made."""
    classes: Tensor
    """``(n,)``, what the objective speaks of."""
    towards: Tensor
    """``(n,)``, 1 to raise the objective, -1 to lower it."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True)
class GradientAscent:
    """Raise or lower an objective by moving the pixels along its gradient.

    ``step_size`` is the largest change of a pixel value in a step (``sign``), the Euclidean length
    of a step (``normalized``), or the factor of the gradient (``raw``).
    """

    steps: int
    step_size: float
    direction: Direction = "sign"
    objective: Objective = LOG_PROBABILITY
    threat: Threat = field(default_factory=Unbounded)

    def start(self, samples: Samples) -> AscentState:
        """Begin at the images."""
        count = torch.zeros_like(samples.classes)
        done = torch.zeros_like(count, dtype=torch.bool)
        return AscentState(
            samples.images, samples.images, count, samples.classes, samples.towards, done
        )

    def ask(self, state: AscentState) -> Query:
        """The present images; after the last step nobody needs their gradient."""
        wanted = state.updates < self.steps
        return Query(state.images, wanted, self.objective.towards(state.towards), state.classes)

    def tell(self, state: AscentState, answer: Answer) -> AscentState:
        """One step up; done once the network has seen the image after the last step."""
        done = state.updates >= self.steps
        if answer.gradient is None:
            return replace(state, done=done)
        along = self._along(answer.gradient)
        moved = torch.add(state.images, along, alpha=self.step_size)
        moved = self.threat.project(moved, state.original)
        return replace(state, images=moved, updates=state.updates + 1, done=done)

    def _along(self, gradient: Tensor) -> Tensor:
        if self.direction == "sign":
            return gradient.sign()
        if self.direction == "raw":
            return gradient
        return units(gradient)
