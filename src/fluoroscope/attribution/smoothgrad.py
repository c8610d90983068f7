"""Gradients at noisy copies of a picture: their mean, their mean square, and their variance.

Smilkov, Thorat, Kim, Viégas, Wattenberg 2017 (1706.03825): the mean over Gaussian noise whose
deviation is a share of the picture's own range, 10 to 20 % of it, over 50 copies. Its square:
Hooker, Erhan, Kindermans, Kim 2019 (1806.10758). VarGrad, the variance: Adebayo, Gilmer,
Goodfellow, Kim 2018 (1810.03307). As there, what lies outside ``[0, 1]`` is shown as it is.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attribution.method import Found, Probing, SumOfProbes, Sums, added, spread
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.numbers import above_zero, whole_number
from fluoroscope.engine.stream import Samples
from fluoroscope.engine.vectors import wide
from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True, kw_only=True)
class SmoothGrad(SumOfProbes):
    """The mean gradient over noisy copies.

    Args:
        samples: copies.
        noise: the standard deviation, as a share of the range from the picture's darkest value to
            its brightest.
    """

    samples: int = 50
    noise: float = 0.15

    name: ClassVar[str] = "smoothgrad"

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", whole_number("samples", self.samples))
        object.__setattr__(self, "noise", above_zero("noise", self.noise))

    def probes(self, state: Sums) -> Tensor:
        """The copies."""
        return torch.full_like(state.number, self.samples)

    def images(self, state: Sums, owners: Tensor, numbers: Tensor) -> Tensor:
        """Pictures and noise; which noise depends on the picture and the number alone."""
        images = spread(state.samples.images, owners)
        low, high = (
            spread(bound, owners)
            for bound in torch.aminmax(state.samples.images.flatten(1), dim=1, keepdim=True)
        )
        keys = spread(state.samples.keys, owners)
        noise = randomness.normal(keys, numbers, tuple(images.shape[1:])).to(images.dtype)
        return images + noise * (self.noise * (high - low)).view(-1, 1, 1, 1)

    def add(self, state: Sums, query: Probing, answer: Answer) -> Sums:
        """The gradient, or what is made of it."""
        assert answer.gradient is not None
        parts = self.part(answer.gradient)
        return replace(state, total=added(state.total, query.whose, parts))

    def part(self, gradient: Tensor) -> Tensor:
        """What one gradient ``(m, C, H, W)`` adds."""
        return gradient

    def finish(self, state: Sums) -> Found:
        """The mean."""
        unknown = state.values[:, 0]
        return Found(self.made(state.total / self.samples), unknown, unknown)

    def made(self, mean: Tensor) -> Tensor:
        """What the map is, of the mean of the parts."""
        return mean


@dataclass(frozen=True, kw_only=True)
class SmoothGradSquared(SmoothGrad):
    """The mean square of the gradients: how much a pixel matters, whichever way."""

    name: ClassVar[str] = "smoothgrad-squared"

    def zero(self, samples: Samples) -> Tensor:
        """A sum in float64."""
        return torch.zeros_like(samples.images, dtype=wide(samples.images))

    def part(self, gradient: Tensor) -> Tensor:
        """Its square, in float64: that of a small one is nothing in float32."""
        return gradient.to(wide(gradient)) ** 2


@dataclass(frozen=True, kw_only=True)
class VarGrad(SmoothGrad):
    """The variance of the gradients: where the network is curved.

    Raises:
        InvalidParameterError: fewer than two samples.
    """

    name: ClassVar[str] = "vargrad"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 2:
            raise InvalidParameterError(
                "samples is 1; expected 2 or more, between which there can be a variance"
            )

    def zero(self, samples: Samples) -> Tensor:
        """Two sums in float64, of gradients and of their squares: their difference is small."""
        none = torch.zeros_like(samples.images, dtype=wide(samples.images))
        return torch.stack([none, none], 1)

    def part(self, gradient: Tensor) -> Tensor:
        """The gradient and its square."""
        double = gradient.to(wide(gradient))
        return torch.stack([double, double**2], 1)

    def made(self, mean: Tensor) -> Tensor:
        """The mean square less the square of the mean."""
        return (mean[:, 1] - mean[:, 0] ** 2).clamp(min=0)
