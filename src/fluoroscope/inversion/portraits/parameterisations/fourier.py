"""Frequencies: what a picture is made of at random is then as smooth as real ones are.

Olah, Mordvintsev and Schubert 2017; Lucid: pixels are ``sigmoid(C irfft2(z / f ** decay) / 4)``
of decorrelated channels, in which every frequency is as easy to change as it is strong in pictures.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.parameterisations import colour as colours
from fluoroscope.inversion.portraits.parameterisations import spectrum
from fluoroscope.inversion.portraits.parameterisations.parameterisation import Parameterisation
from fluoroscope.inversion.portraits.parameterisations.squash import HAIR, logits

_QUARTER = 0.25  # of Lucid, "a magic constant to make it look nice"
_HALF = 0.5**0.5  # what makes two frequencies that stand for one as strong as any other


@dataclass(frozen=True)
class Fourier(Parameterisation):
    """Real and imaginary parts of an orthonormal ``rfft2``, ``(n, 2, C, H, W // 2 + 1)``.

    Args:
        decay: how a frequency ``f`` counts, as ``f ** -decay``; by default as in real pictures.
        colour: whose matrix makes pixels of the channels.
        offset: the pixel to begin from, in ``(0, 1)``; by default the mean of real pictures.
        gain: how much the channels count; by default so much that a deviation of 1 is that of
            real pixels, which is about 1 for natural ones.
        spread: standard deviation of the numbers to start from.

    Raises:
        InvalidParameterError: a number that is none of these.
    """

    name: ClassVar[str] = "fourier"
    decay: float | None = None
    colour: colours.Colour = "prior"
    offset: float | None = None
    gain: float | None = None
    spread: float = 0.01

    def __post_init__(self) -> None:
        for name in ("decay", "spread", "gain"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise InvalidParameterError(f"{name} is {value}; expected a number from 0 up")
        if self.offset is not None and not 0 < self.offset < 1:
            raise InvalidParameterError(
                f"offset is {self.offset}; expected a pixel, between 0 and 1"
            )

    def start(self, canvas: Canvas, keys: Tensor) -> Tensor:
        """Small numbers: nearly even, and on each frequency of a strength of its own."""
        shape = (2, canvas.channels, canvas.height, canvas.width // 2 + 1)
        return self.spread * randomness.normal(keys, 0, shape).to(canvas.dtype)

    def start_from(self, canvas: Canvas, pictures: Tensor) -> Tensor:
        """The spectrum of the pictures; pixels of 0 and 1 are first moved inside by a hair."""
        offset, gain = self._scale(canvas)
        wanted = (logits(pictures.double()) - offset) / gain
        channels = colours.decorrelated(wanted, colours.matrix(canvas, self.colour))
        half = torch.fft.rfft2(channels, norm="ortho") / self._factors(canvas)
        columns = half[..., spectrum.twice(canvas.width)] * _HALF
        half = spectrum.with_columns(half, canvas.width, columns)
        return torch.stack([half.real, half.imag], 1).to(canvas.dtype)

    def picture(self, canvas: Canvas, parameters: Tensor) -> Tensor:
        """The frequencies together."""
        half = torch.complex(*parameters.unbind(1))
        both = half[..., spectrum.twice(canvas.width)]
        agreed = (both + spectrum.opposite(both).conj()) * _HALF
        half = spectrum.with_columns(half, canvas.width, agreed)
        half = half * self._factors(canvas).to(half.real.dtype)
        size = (canvas.height, canvas.width)
        channels = torch.fft.irfft2(half, s=size, norm="ortho")
        pixels = colours.coloured(channels, colours.matrix(canvas, self.colour))
        offset, gain = self._scale(canvas)
        return (offset.to(pixels) + gain.to(pixels) * pixels).sigmoid()

    def _factors(self, canvas: Canvas) -> Tensor:
        decay = canvas.prior.decay if self.decay is None else self.decay
        return _QUARTER * spectrum.power_law(canvas.height, canvas.width, decay, canvas.device)

    def _scale(self, canvas: Canvas) -> tuple[Tensor, Tensor]:
        """Offset and gain before the sigmoid, ``(C, 1, 1)`` float64."""
        prior = canvas.prior
        mean = prior.mean.to(canvas.device, torch.float64)
        if self.offset is not None:
            mean = torch.full_like(mean, self.offset)
        mean = mean.clamp(HAIR, 1 - HAIR)[:, None, None]
        slope = mean * (1 - mean)
        gain = prior.gain / slope if self.gain is None else torch.full_like(slope, self.gain)
        return mean.logit(), gain
