"""The plain gradient, and gradient × input.

Simonyan, Vedaldi, Zisserman 2013 (1312.6034), section 3: ``df_c / dx``. Shrikumar, Greenside,
Shcherbina, Kundaje 2016 (1605.01713): ``x * df_c / dx``, here with x as a picture in ``[0, 1]``,
whatever normalisation the network has inside: black adds nothing.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attribution.method import (
    Found,
    Probing,
    SumOfProbes,
    Sums,
    added,
    with_values,
)
from fluoroscope.engine.evaluate import Answer


@dataclass(frozen=True, kw_only=True)
class Gradient(SumOfProbes):
    """One probe: the picture itself."""

    name: ClassVar[str] = "gradient"

    def probes(self, state: Sums) -> Tensor:
        """One."""
        return torch.ones_like(state.number)

    def images(self, state: Sums, owners: Tensor, numbers: Tensor) -> Tensor:
        """The pictures."""
        return state.samples.images

    def add(self, state: Sums, query: Probing, answer: Answer) -> Sums:
        """The gradient."""
        assert answer.gradient is not None
        assert answer.objective is not None
        whose = query.whose
        return replace(
            state,
            total=added(state.total, whose, answer.gradient),
            values=with_values(state.values, whose, 0, answer.objective),
        )

    def finish(self, state: Sums) -> Found:
        """The gradient, or what is made of it."""
        maps = self.made(state.total, state.samples.images)
        value = state.values[:, 0]
        return Found(maps, value, torch.full_like(value, torch.nan))

    def made(self, gradient: Tensor, images: Tensor) -> Tensor:
        """What the map is, of gradients and images ``(n, C, H, W)``."""
        return gradient


@dataclass(frozen=True, kw_only=True)
class GradientTimesInput(Gradient):
    """The gradient times the pixels."""

    name: ClassVar[str] = "gradient-x-input"

    def made(self, gradient: Tensor, images: Tensor) -> Tensor:
        """Their product."""
        return gradient * images
