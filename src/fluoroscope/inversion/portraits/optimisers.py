"""How the parameters of portraits move along a gradient; each portrait is at a step of its own."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.adam import adam


@dataclass(frozen=True)
class Memory:
    """What an optimiser remembers of ``n`` portraits; both in the shape of their parameters."""

    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class Optimiser(ABC):
    """Raises; its settings are fields."""

    name: ClassVar[str]

    def start(self, parameters: Tensor) -> Memory:
        """Nothing remembered yet."""
        return Memory(torch.zeros_like(parameters), torch.zeros_like(parameters))

    @abstractmethod
    def step(
        self, parameters: Tensor, gradient: Tensor, memory: Memory, number: Tensor, steps: int
    ) -> tuple[Tensor, Memory]:
        """Parameters ``(n, *)`` and memory after a step; ``number`` ``(n,)`` counts from 0."""


@dataclass(frozen=True)
class Adam(Optimiser):
    """Kingma and Ba 2015."""

    name: ClassVar[str] = "adam"
    learning_rate: float = 0.05

    def step(
        self, parameters: Tensor, gradient: Tensor, memory: Memory, number: Tensor, steps: int
    ) -> tuple[Tensor, Memory]:
        """A step of Adam."""
        counted = (number + 1).view(-1, *[1] * (gradient.dim() - 1))
        along, first, second = adam(gradient, memory.first, memory.second, counted)
        return parameters + self.learning_rate * along, Memory(first, second)
