"""How the parameters of portraits move along a gradient; each portrait is at a step of its own."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.adam import SMALL, adam
from fluoroscope.engine.numbers import above_zero
from fluoroscope.engine.threats import L2
from fluoroscope.engine.vectors import levelled, units
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.schedules import Constant, Schedule


@dataclass(frozen=True)
class Memory:
    """What an optimiser remembers of ``n`` portraits: tensors of ``n`` rows, here none."""


@dataclass(frozen=True)
class Moments(Memory):
    """Running means, in the shape of the parameters."""

    first: Tensor
    """Of the gradient."""
    second: Tensor
    """Of its square."""


@dataclass(frozen=True)
class NesterovMoments(Moments):
    """Running means whose weights change with the steps."""

    product: Tensor
    """``(n,)``, of all weights so far."""


@dataclass(frozen=True)
class Velocity(Memory):
    """A sum of gradients that fades."""

    velocity: Tensor
    """In the shape of the parameters."""


@dataclass(frozen=True)
class Origin(Memory):
    """Where portraits began."""

    start: Tensor
    """Their first parameters."""


@dataclass(frozen=True)
class Optimiser(ABC):
    """Raises; its settings are fields.

    Args:
        learning_rate: of the longest steps.
        schedule: what share of it each step has.

    Raises:
        InvalidParameterError: a rate that is not above 0, or another setting that is none.
    """

    name: ClassVar[str]
    on_pixels: ClassVar[bool] = False
    """Whether it moves nothing but pixels, whose bounds it keeps."""
    learning_rate: float = 0.05
    schedule: Schedule = field(default_factory=Constant)

    def __post_init__(self) -> None:
        above_zero("learning_rate", self.learning_rate)

    @abstractmethod
    def start(self, parameters: Tensor) -> Memory:
        """What is remembered before the first step."""

    @abstractmethod
    def step(
        self, parameters: Tensor, gradient: Tensor, memory: Memory, number: Tensor, steps: int
    ) -> tuple[Tensor, Memory]:
        """Parameters ``(n, *)`` and memory after a step; ``number`` ``(n,)`` counts from 0."""

    def rate(self, parameters: Tensor, number: Tensor, steps: int) -> float | Tensor:
        """The learning rate of these steps, in a shape that goes with the parameters."""
        if isinstance(self.schedule, Constant):
            return self.learning_rate
        shares = [self.schedule.share(each, steps) for each in number.tolist()]
        if len(set(shares)) == 1:
            return self.learning_rate * shares[0]
        found = torch.tensor(shares, dtype=torch.float64, device="cpu")
        return self.learning_rate * _beside(parameters, found)


@dataclass(frozen=True)
class Adam(Optimiser):
    """Kingma and Ba 2015; ``betas`` are the shares of the two means that stay at each step.

    DeepInversion and VITAL have betas of .5 and .9, the first with a rate of .2, the other of 1.
    """

    name: ClassVar[str] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_betas(self.betas)

    def start(self, parameters: Tensor) -> Moments:
        """Nothing."""
        return Moments(torch.zeros_like(parameters), torch.zeros_like(parameters))

    def step(
        self, parameters: Tensor, gradient: Tensor, memory: Memory, number: Tensor, steps: int
    ) -> tuple[Tensor, Moments]:
        """A step of Adam."""
        assert isinstance(memory, Moments)
        numbers = set(number.tolist())
        behind = numbers.pop() + 1 if len(numbers) == 1 else _beside(parameters, number + 1)
        along, first, second = adam(gradient, memory.first, memory.second, behind, self.betas)
        moved = along.mul_(self.rate(parameters, number, steps)).add_(parameters)
        return moved, Moments(first, second)


@dataclass(frozen=True)
class NAdam(Optimiser):
    """Adam that looks ahead as Nesterov does (Dozat 2016): MACO's, with a rate of 1.

    The weight of the mean grows from half of the first beta with ``.96 ** (step * decay)``.
    """

    name: ClassVar[str] = "nadam"
    learning_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    momentum_decay: float = 0.004

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_betas(self.betas)
        if not 0 <= self.momentum_decay < math.inf:
            raise InvalidParameterError(
                f"momentum_decay is {self.momentum_decay}; expected a number from 0 up"
            )

    def start(self, parameters: Tensor) -> NesterovMoments:
        """Nothing."""
        zero = torch.zeros_like(parameters)
        return NesterovMoments(zero, zero.clone(), torch.ones_like(zero.flatten(1)[:, 0]))

    def step(
        self, parameters: Tensor, gradient: Tensor, memory: Memory, number: Tensor, steps: int
    ) -> tuple[Tensor, NesterovMoments]:
        """A step of NAdam."""
        assert isinstance(memory, NesterovMoments)
        behind, (slow, square_slow) = number.to(parameters.dtype) + 1, self.betas
        now, ahead = (
            slow * (1 - 0.5 * 0.96 ** (each * self.momentum_decay)) for each in (behind, behind + 1)
        )
        product = memory.product * now
        first = memory.first.lerp(gradient, 1 - slow)
        second = memory.second.lerp(gradient.square(), 1 - square_slow)
        size = (second / _beside(parameters, 1 - square_slow**behind)).sqrt() + SMALL
        along = gradient * _beside(parameters, (1 - now) / (1 - product))
        along = along + first * _beside(parameters, ahead / (1 - product * ahead))
        moved = parameters + self.rate(parameters, number, steps) * (along / size)
        return moved, NesterovMoments(first, second, product)


@dataclass(frozen=True)
class Momentum(Optimiser):
    """Plain steps along the gradient, to which ``momentum`` times the last step is added.

    Mahendran and Vedaldi (2015, 1412.0035) have a momentum of .9, direct ascent synthesis none.
    """

    name: ClassVar[str] = "momentum"
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise InvalidParameterError(f"momentum is {self.momentum}; expected 0 up to below 1")

    def start(self, parameters: Tensor) -> Velocity:
        """At rest."""
        return Velocity(torch.zeros_like(parameters))

    def step(
        self, parameters: Tensor, gradient: Tensor, memory: Memory, number: Tensor, steps: int
    ) -> tuple[Tensor, Velocity]:
        """A step along the velocity."""
        assert isinstance(memory, Velocity)
        velocity = self.momentum * memory.velocity + gradient
        return parameters + self.rate(parameters, number, steps) * velocity, Velocity(velocity)


@dataclass(frozen=True)
class L2Ascent(Optimiser):
    """Steps of one length, within a ball around the start and pixels within 0 and 1.

    How robust classifiers are asked for pictures (Santurkar et al. 2019, 1906.09453): a length of
    1 and a ball of 40 for 60 steps. The learning rate is the length.

    Args:
        eps: the radius of the ball.
        numbers: of how many numbers the pictures are that both lengths are meant for; of pictures
            of others both are longer or shorter by the root of how many more these have. ``None``
            takes them as they are.
    """

    name: ClassVar[str] = "l2-ascent"
    on_pixels: ClassVar[bool] = True
    learning_rate: float = 1.0
    eps: float = 40.0
    numbers: int | None = 3 * 224 * 224

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero("eps", self.eps)
        if self.numbers is not None:
            above_zero("numbers", self.numbers)

    def start(self, parameters: Tensor) -> Origin:
        """The centre of the ball."""
        return Origin(parameters.clone())

    def step(
        self, parameters: Tensor, gradient: Tensor, memory: Memory, number: Tensor, steps: int
    ) -> tuple[Tensor, Origin]:
        """A step of the rate's length, and back into the ball."""
        assert isinstance(memory, Origin)
        many = parameters[0].numel()
        longer = 1.0 if self.numbers is None else math.sqrt(many / self.numbers)
        moved = parameters + self.rate(parameters, number, steps) * longer * units(gradient)
        return L2(self.eps * longer).project(moved, memory.start), memory


@dataclass(frozen=True)
class Levelled(Optimiser):
    """Steps along the gradient over the mean of its absolute values, so that one rate does for all.

    The step of PPGN (Nguyen et al. 2017, 1612.00005).
    """

    name: ClassVar[str] = "levelled"
    learning_rate: float = 1.0

    def start(self, parameters: Tensor) -> Memory:
        """Nothing."""
        return Memory()

    def step(
        self, parameters: Tensor, gradient: Tensor, memory: Memory, number: Tensor, steps: int
    ) -> tuple[Tensor, Memory]:
        """A step whose mean absolute value is the rate."""
        return parameters + self.rate(parameters, number, steps) * levelled(gradient), memory


def _beside(parameters: Tensor, numbers: Tensor) -> Tensor:
    """Numbers ``(n,)`` in a shape and type that go with the parameters."""
    return numbers.to(parameters).view(-1, *[1] * (parameters.dim() - 1))


def _check_betas(betas: tuple[float, float]) -> None:
    if len(betas) != 2 or not all(0 <= each < 1 for each in betas):
        raise InvalidParameterError(f"betas is {betas}; expected two numbers from 0 to below 1")
