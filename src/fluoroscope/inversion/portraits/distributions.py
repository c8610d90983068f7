"""Random numbers of a view: how they are spread, and how that fades while a portrait is made."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True)
class Fade:
    """A number that goes evenly from ``first`` to ``last``, and stays there.

    Args:
        first: before the first step.
        last: from ``until`` on.
        until: share of the steps, above 0 and at most 1.

    Raises:
        InvalidParameterError: ``until`` is no such share.
    """

    first: float
    last: float
    until: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.until <= 1:
            raise InvalidParameterError(
                f"until is {self.until}; expected a share of the steps, above 0 and at most 1"
            )


Number = float | Fade


@dataclass(frozen=True)
class Distribution(ABC):
    """Numbers that a view draws; its settings are fields."""

    normal: ClassVar[bool] = False
    """Whether it is made of standard normal numbers, or of those evenly spread in ``[0, 1)``."""

    @abstractmethod
    def of(self, base: Tensor, share: Tensor) -> Tensor:
        """Numbers ``(m, *)`` made of the base's; ``share`` ``(m,)`` of the steps lies behind."""

    def draw(self, keys: Tensor, draw: int, share: Tensor, count: int = 1) -> Tensor:
        """``(m, count)`` float32 numbers, hashed from the keys ``(m,)`` of the views."""
        source = randomness.normal if self.normal else randomness.uniform
        return self.of(source(keys, draw, (count,)), share)


@dataclass(frozen=True)
class Uniform(Distribution):
    """Evenly between ``low`` and ``high``."""

    low: Number
    high: Number

    def of(self, base: Tensor, share: Tensor) -> Tensor:
        """Stretched and moved."""
        low, high = at(self.low, share, base), at(self.high, share, base)
        return base * (high - low) + low


@dataclass(frozen=True)
class Normal(Distribution):
    """Around ``mean`` with a standard deviation, cut off at ``low`` and ``high``."""

    normal: ClassVar[bool] = True
    mean: Number
    deviation: Number
    low: float | None = None
    high: float | None = None

    def of(self, base: Tensor, share: Tensor) -> Tensor:
        """Stretched, moved and cut off."""
        found = base * at(self.deviation, share, base) + at(self.mean, share, base)
        if self.low is None and self.high is None:
            return found
        return found.clamp(self.low, self.high)


@dataclass(frozen=True)
class OneOf(Distribution):
    """Each of some values as often as the others; one that is named twice, twice as often.

    Raises:
        InvalidParameterError: there are none.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise InvalidParameterError("values is empty; expected one or more numbers")

    def of(self, base: Tensor, share: Tensor) -> Tensor:
        """Looked up."""
        table = torch.tensor(self.values, dtype=base.dtype, device=base.device)
        return table[(base * len(self.values)).long().clamp(max=len(self.values) - 1)]


def draw_all(
    asked: Mapping[int, tuple[Distribution, int]], keys: Tensor, share: Tensor
) -> dict[int, Tensor]:
    """Many draws at once: of each, by its number, what ``draw`` gives for a distribution and count.

    Each hash of a few keys costs about as much as one of all of them.
    """
    found: dict[int, Tensor] = {}
    for normal in (False, True):
        same = {draw: each for draw, each in asked.items() if each[0].normal == normal}
        if not same:
            continue
        most = max(count for _, count in same.values())
        draws = torch.tensor(list(same), device=keys.device).repeat_interleave(len(keys))
        source = randomness.normal if normal else randomness.uniform
        bases = source(keys.repeat(len(same)), draws, (most,)).view(len(same), len(keys), most)
        for (draw, (each, count)), base in zip(same.items(), bases.unbind(0), strict=True):
            found[draw] = each.of(base[:, :count], share)
    return found


def at(number: Number, share: Tensor, like: Tensor) -> Tensor | float:
    """A number as it is now: one for all, or ``(m, 1, …)`` that goes with ``like`` ``(m, *)``."""
    if not isinstance(number, Fade):
        return number
    behind = (share.to(like.dtype) / number.until).clamp(max=1)
    return (number.first + (number.last - number.first) * behind).view(-1, *[1] * (like.dim() - 1))
