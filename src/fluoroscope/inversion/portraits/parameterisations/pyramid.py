"""A picture as the sum of pictures of all sizes, enlarged.

With every size from 1 to the picture's own it is that of direct ascent synthesis (Fort and Whitaker
2025, 2502.07753): ``picture = (tanh(x + sum of enlarged P) + 1) / 2``.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.parameterisations.parameterisation import Parameterisation
from fluoroscope.inversion.portraits.parameterisations.squash import logits


@dataclass(frozen=True)
class Pyramid(Parameterisation):
    """Pictures of several sizes, one after the other in ``(n, numbers)``.

    Args:
        sides: their longer sides; by default 1, 2, 4 and so on, and the picture's own, which is
            there in any case.
        spread: standard deviation of the numbers to start from, on each size.

    Raises:
        InvalidParameterError: a side below 1.
    """

    name: ClassVar[str] = "pyramid"
    sides: tuple[int, ...] | None = None
    spread: float = 0.02

    def __post_init__(self) -> None:
        if self.sides is not None and (not self.sides or min(self.sides) < 1):
            raise InvalidParameterError(f"sides is {self.sides}; expected one or more, 1 or larger")

    def start(self, canvas: Canvas, keys: Tensor) -> Tensor:
        """Noise on each size, around the mean of real pictures."""
        mean = logits(canvas.prior.mean.to(canvas.device, canvas.dtype)) / 2
        count = sum(height * width for height, width in self.sizes(canvas)) * canvas.channels
        numbers = self.spread * randomness.normal(keys, 0, (count,)).to(canvas.dtype)
        own = mean.repeat_interleave(canvas.height * canvas.width)
        return torch.cat([numbers[:, : -len(own)], numbers[:, -len(own) :] + own], 1)

    def start_from(self, canvas: Canvas, pictures: Tensor) -> Tensor:
        """Nothing on any size but the picture's own."""
        own = (logits(pictures) / 2).flatten(1)
        smaller = sum(height * width for height, width in self.sizes(canvas)[:-1])
        return torch.cat([own.new_zeros(len(own), smaller * canvas.channels), own], 1)

    def picture(self, canvas: Canvas, parameters: Tensor) -> Tensor:
        """All of them, enlarged and added up."""
        sizes = self.sizes(canvas)
        parts = parameters.split([canvas.channels * h * w for h, w in sizes], 1)
        whole = torch.zeros_like(parts[-1]).view(-1, *canvas.shape)
        for (height, width), part in zip(sizes, parts, strict=True):
            level = part.view(-1, canvas.channels, height, width)
            whole = whole + enlarged(level, (canvas.height, canvas.width))
        return (2 * whole).sigmoid()

    def sizes(self, canvas: Canvas) -> list[tuple[int, int]]:
        """``(height, width)`` of each level, from the smallest to the picture's own."""
        side = max(canvas.height, canvas.width)
        sides = self.sides or tuple(2**k for k in range(side.bit_length()))
        return levels(canvas.height, canvas.width, sides)


def levels(height: int, width: int, sides: tuple[int, ...]) -> list[tuple[int, int]]:
    """``(height, width)`` of levels with these longer sides; the last is the picture's own."""
    side = max(height, width)
    return [
        (max(1, round(height * one / side)), max(1, round(width * one / side)))
        for one in sorted({*(one for one in sides if one < side), side})
    ]


def enlarged(level: Tensor, size: tuple[int, int]) -> Tensor:
    """A level at the picture's size; bicubic, but of one single pixel, which fills it."""
    if tuple(level.shape[-2:]) == size:
        return level
    if tuple(level.shape[-2:]) == (1, 1):
        return level.expand(*level.shape[:2], *size)
    return torch.nn.functional.interpolate(level, size, mode="bicubic", align_corners=False)
