"""Phases alone: magnitudes are those of real pictures, so that no frequency can be overdone.

Fel et al. 2023, 2306.06805: ``picture = irfft2(r * exp(i * phase))``, where ``r`` is the mean
magnitude of real pictures. What it cannot do is gather energy in one place: a lone digit on black
is outside its reach.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.parameterisations import colour as colours
from fluoroscope.inversion.portraits.parameterisations import spectrum
from fluoroscope.inversion.portraits.parameterisations.parameterisation import Parameterisation
from fluoroscope.words import as_percent

# How far a picture's magnitudes may be from those that can be held, as a share of the largest.
_CLOSE = 1e-3
_OPEN = 5.0  # a gate's number at the start
_TINY = 1e-9  # of a magnitude, the least and the most that a gate leaves or takes


@dataclass(frozen=True)
class MACO(Parameterisation):
    """Phases of decorrelated channels, ``(n, 1, C, H, W // 2 + 1)``; with a gate two in place of 1.

    Pixels are ``mean + colour @ irfft2(r * exp(i * phase))`` of real pictures' mean, cut off at 0
    and 1. The few coefficients that are real keep the sign they started with.

    Args:
        gate: let each magnitude shrink, by the sigmoid of a number that starts at 5 (Hamblin et al.
            2024, 2402.10039).
        colour: whose matrix makes pixels of the channels.
        lucid: make pixels as MACO's own code does, in place of cutting off: the picture gets mean 0
            and deviation 1, then colours, then a sigmoid. What is shown then no longer has the
            magnitudes of real pictures.
    """

    name: ClassVar[str] = "maco"
    gate: bool = False
    colour: colours.Colour = "prior"
    lucid: bool = False

    def start(self, canvas: Canvas, keys: Tensor) -> Tensor:
        """Any phases."""
        shape = (1, canvas.channels, canvas.height, canvas.width // 2 + 1)
        phase = (2 * randomness.uniform(keys, 0, shape) - 1).to(canvas.dtype) * math.pi
        return self._gated(_paired(phase, canvas), torch.full_like(phase, _OPEN))

    def start_from(self, canvas: Canvas, pictures: Tensor) -> Tensor:
        """The phases of the pictures, if their magnitudes are those that are held.

        Raises:
            InvalidParameterError: they are not, or cannot be told from the pixels.
        """
        if self.lucid:
            raise InvalidParameterError(
                "start is a picture, and MACO(lucid=True) has lost its mean and deviation; "
                "expected lucid=False, or another parameterisation such as Fourier()"
            )
        mean = canvas.prior.mean.to(canvas.device, torch.float64)[:, None, None]
        by = colours.matrix(canvas, self.colour)
        channels = colours.decorrelated(pictures.double() - mean, by)
        half = torch.fft.rfft2(channels, norm="ortho")
        template = self.template(canvas)
        off = (half.abs() - template).clamp(min=0) if self.gate else half.abs() - template
        if float(off.abs().max()) > _CLOSE * float(template.max()):
            raise InvalidParameterError(
                f"start has magnitudes that MACO cannot hold: they are {canvas.prior.name}'s; "
                "expected a prior fitted to that picture alone, whose phases then move, or another "
                "method, such as accentuation"
            )
        phase = _paired(half.angle(), canvas)[:, None]
        share = half.abs() / template.clamp(min=_TINY)
        gate = torch.logit(share.clamp(_TINY, 1 - _TINY))[:, None]
        return self._gated(phase, gate).to(canvas.dtype)

    def picture(self, canvas: Canvas, parameters: Tensor) -> Tensor:
        """The phases with their magnitudes."""
        size = (canvas.height, canvas.width)
        held = self.template(canvas).to(parameters.dtype)
        phase = parameters[:, 0]
        at = spectrum.twice(canvas.width)
        if self.gate:
            gate = parameters[:, 1]
            both = gate[..., at]
            agreed = (both + spectrum.opposite(both)) / 2
            held = held * spectrum.with_columns(gate, canvas.width, agreed).sigmoid()
        half = torch.polar(held.expand_as(phase).contiguous(), phase)
        turned = phase[..., at]
        turned = (turned - spectrum.opposite(turned)) / 2
        strong = held.expand_as(phase)[..., at]
        columns = torch.polar(strong.contiguous(), turned)
        real = torch.where(phase[..., at].cos() < 0, -strong, strong)
        columns = torch.where(spectrum.alone(canvas.height, phase.device), real + 0j, columns)
        half = spectrum.with_columns(half, canvas.width, columns)
        channels = torch.fft.irfft2(half, s=size, norm="ortho")
        by = colours.matrix(canvas, self.colour)
        if self.lucid:
            return colours.coloured(_standard(channels), by).sigmoid()
        mean = canvas.prior.mean.to(channels)[:, None, None]
        return (mean + colours.coloured(channels, by)).clamp(0, 1)

    def template(self, canvas: Canvas) -> Tensor:
        """The magnitudes that are held, ``(C, H, W // 2 + 1)`` float64."""
        prior, size = canvas.prior, (canvas.height, canvas.width)
        if prior.magnitude is None:
            law = spectrum.power_law(*size, prior.decay, canvas.device)
            by = colours.matrix(canvas, self.colour)
            # So that pixels have the deviation of real ones, which each channel adds to.
            wanted = prior.gain * (len(by) / float(by.square().sum())) ** 0.5
            found = (law * wanted / _deviation(law, canvas)).expand(canvas.channels, -1, -1)
        else:
            found = prior.magnitude.to(canvas.device)
            own = _own_size(prior)
            found = found.double() if own == size else spectrum.resized(found, *size, own)
        at = spectrum.twice(canvas.width)
        both = found[..., at]
        agreed = (both + spectrum.opposite(both)) / 2
        return spectrum.with_columns(found, canvas.width, agreed)

    def notes(self, canvas: Canvas) -> tuple[str, ...]:
        """Where the magnitudes are not measured at this size."""
        prior = canvas.prior
        if prior.magnitude is None:
            return (
                f"prior {prior.name} has no magnitudes, so MACO holds those of a power law, "
                f"f ** -{prior.decay:g}; give a DataPrior with those of your pictures",
            )
        height, width = _own_size(prior)
        if (height, width) != (canvas.height, canvas.width):
            return (
                f"the prior's magnitudes were measured on pictures of {height}x{width} and are "
                f"interpolated for {canvas.height}x{canvas.width}, at the same cycles per pixel",
            )
        return ()

    def notes_on(self, pictures: Tensor) -> tuple[str, ...]:
        """How much was cut off: only what was not has the magnitudes that are held."""
        cut = float(((pictures <= 0) | (pictures >= 1)).double().mean())
        if self.lucid or not cut:
            return ()
        return (
            f"{as_percent(cut)} of the pixels' values were cut off at 0 or 1: MACO holds "
            "magnitudes before that, and these pictures have somewhat others",
        )

    def _gated(self, phase: Tensor, gate: Tensor) -> Tensor:
        return torch.cat([phase, gate], 1) if self.gate else phase


def _own_size(prior: DataPrior) -> tuple[int, int]:
    """Of the pictures whose magnitudes the prior has."""
    assert prior.magnitude is not None
    height, columns = prior.magnitude.shape[-2:]
    return prior.size or (height, 2 * columns - 2)


def _paired(phase: Tensor, canvas: Canvas) -> Tensor:
    """Phases of which those at ``-k`` are the negative of those at ``k``, where both stand."""
    both = phase[..., spectrum.twice(canvas.width)]
    second = spectrum.lower(canvas.height, phase.device)
    columns = torch.where(second, -spectrum.opposite(both), both)
    return spectrum.with_columns(phase, canvas.width, columns)


def _standard(channels: Tensor) -> Tensor:
    """Each picture with mean 0 and deviation 1, as Xplique has it."""
    flat = channels.flatten(1)
    deviation = flat.std(1, correction=0) + 1e-5
    return (channels - flat.mean(1).view(-1, 1, 1, 1)) / deviation.view(-1, 1, 1, 1)


def _deviation(magnitude: Tensor, canvas: Canvas) -> float:
    """Of the pixels of a picture with these magnitudes."""
    counts = torch.full_like(magnitude, 2.0)
    counts[..., spectrum.twice(canvas.width)] = 1.0
    counts[0, 0] = 0.0  # the mean
    power = (counts * magnitude.square()).sum() / (canvas.height * canvas.width)
    return float(power.sqrt())
