"""Pixels as they are, held in ``[0, 1]`` by a sigmoid or by cutting off what is outside."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.parameterisations.parameterisation import Parameterisation
from fluoroscope.inversion.portraits.parameterisations.squash import logits


@dataclass(frozen=True)
class Pixels(Parameterisation):
    """The pixels themselves.

    Args:
        squash: pass them through a sigmoid, so that every number is a picture; else they are cut
            off at 0 and 1, where their gradient ends.
        spread: standard deviation of the noise to start from, around the mean of real pictures.
    """

    name: ClassVar[str] = "pixels"
    squash: bool = False
    spread: float = 0.05

    @property
    def cut_off(self) -> bool:
        """Unless they go through a sigmoid."""
        return not self.squash

    def start(self, canvas: Canvas, keys: Tensor) -> Tensor:
        """Noise around the mean of real pictures."""
        noise = randomness.normal(keys, 0, canvas.shape).to(canvas.dtype)
        mean = canvas.prior.mean.to(noise)[:, None, None]
        return self.start_from(canvas, (mean + self.spread * noise).clamp(0, 1))

    def start_from(self, canvas: Canvas, pictures: Tensor) -> Tensor:
        """The pictures."""
        return logits(pictures) if self.squash else pictures

    def picture(self, canvas: Canvas, parameters: Tensor) -> Tensor:
        """The pictures."""
        return parameters.sigmoid() if self.squash else parameters.clamp(0, 1)
