"""A portrait as its spectrum, low frequencies first: Olah et al., "Feature Visualization" (2017).

The parameters are the complex coefficients of the real Fourier transform. Each is scaled by how
much of its frequency real pictures have, ``f ** -decay``, and the channels it gives are mixed as
those of real pictures are; so a step of one length everywhere changes what pictures differ in, and
no speckle grows. With ``t`` the inverse transform (orthonormal) of the scaled coefficients::

    picture = sigmoid(logit(mean) + colour @ t / 4)

Lucid has the mean at mid-grey; here it is that of real pictures, so that digits begin near black.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.parameterisations.maco import MACO
from fluoroscope.inversion.portraits.parameterisations.parameterisation import Parameterisation

# As far as a pixel of 0 or 1 is moved inside, so that a sigmoid reaches it.
_HAIR = 1e-3
# What Lucid divides by, so that a step of Adam changes a picture by little.
_SOFTER = 4.0


@dataclass(frozen=True)
class Fourier(Parameterisation):
    """Coefficients of the real Fourier transform ``(n, 2, C, H, W // 2 + 1)``.

    Args:
        decay: the power with which a frequency's share falls; 0 is white, by default the prior's.
        decorrelated: mix the channels by the prior's colour root; else each is its own.
        spread: standard deviation of the coefficients to start from.
        magnitudes: in place of the power law, each decorrelated channel's frequencies have the
            shares that the prior measured, with as much of all together.

    Raises:
        InvalidParameterError: a decay or a spread below 0, or a decay beside magnitudes.
    """

    name: ClassVar[str] = "fourier"
    decay: float | None = None
    decorrelated: bool = True
    spread: float = 0.01
    magnitudes: bool = False

    def __post_init__(self) -> None:
        if self.magnitudes and self.decay is not None:
            raise InvalidParameterError(
                f"decay is {self.decay}, and magnitudes=True takes each frequency as it was "
                "measured; expected one of the two"
            )
        for name in ("decay", "spread"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise InvalidParameterError(f"{name} is {value}; expected a number from 0 up")

    def start(self, canvas: Canvas, keys: Tensor) -> Tensor:
        """Small normal coefficients."""
        shape = (2, canvas.channels, canvas.height, canvas.width // 2 + 1)
        return self.spread * randomness.normal(keys, 0, shape).to(canvas.dtype)

    def start_from(self, canvas: Canvas, pictures: Tensor) -> Tensor:
        """The coefficients of pictures, which are moved a hair inside ``[0, 1]``."""
        away = torch.logit(pictures.clamp(_HAIR, 1 - _HAIR)) - self._offset(canvas)
        mixed = torch.linalg.inv(self._colour(canvas)) @ away.flatten(2)
        spectrum = torch.fft.rfft2(mixed.view_as(away) * _SOFTER, norm="ortho")
        return torch.view_as_real(spectrum / self._scale(canvas)).movedim(-1, 1)

    def picture(self, canvas: Canvas, parameters: Tensor) -> Tensor:
        """The pictures that the coefficients stand for."""
        spectrum = torch.complex(parameters[:, 0], parameters[:, 1]) * self._scale(canvas)
        size = (canvas.height, canvas.width)
        parts = torch.fft.irfft2(spectrum, s=size, norm="ortho") / _SOFTER
        mixed = (self._colour(canvas) @ parts.flatten(2)).view_as(parts)
        found: Tensor = (mixed + self._offset(canvas)).sigmoid()
        return found

    def notes(self, canvas: Canvas) -> tuple[str, ...]:
        """Where magnitudes that scale it are not measured at this size."""
        return MACO().notes(canvas) if self.magnitudes else ()

    def _scale(self, canvas: Canvas) -> Tensor:
        """``max(f, 1 / the longer side) ** -decay``, ``(H, W // 2 + 1)``; or ``(C, H, W // 2 + 1)``
        magnitudes with the same mean square."""
        decay = canvas.prior.decay if self.decay is None else self.decay
        kind, device = canvas.dtype, canvas.device
        down = torch.fft.fftfreq(canvas.height, dtype=kind, device=device)
        across = torch.fft.rfftfreq(canvas.width, dtype=kind, device=device)
        length = (down[:, None].square() + across.square()).sqrt()
        law: Tensor = length.clamp(min=1 / max(canvas.height, canvas.width)).pow(-decay)
        if self.magnitudes:
            if canvas.prior.magnitude is None:
                raise InvalidParameterError(
                    f"prior {canvas.prior.name} has no magnitudes, and Fourier(magnitudes=True) "
                    "scales by them; expected one that was fitted to pictures (fit_prior), or a "
                    "decay"
                )
            held = MACO().template(canvas).to(kind)
            law = held * (law.square().mean() / held.square().mean()).sqrt()
        return law

    def _colour(self, canvas: Canvas) -> Tensor:
        if self.decorrelated:
            return canvas.prior.colour.to(canvas.device, canvas.dtype)
        return torch.eye(canvas.channels, dtype=canvas.dtype, device=canvas.device)

    def _offset(self, canvas: Canvas) -> Tensor:
        mean = canvas.prior.mean.to(canvas.device, canvas.dtype).clamp(_HAIR, 1 - _HAIR)
        return torch.logit(mean)[:, None, None]
