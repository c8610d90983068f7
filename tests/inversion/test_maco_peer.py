"""Phases with held magnitudes against DreamLens: equal templates, equal phases, equal pictures."""

import math
from typing import Any

import pytest
import torch
from dreamlens import image_parameters as peer
from torch import Tensor

from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.parameterisations.maco import MACO

SIZES = [(8, 8), (9, 12), (12, 7), (5, 9)]
# DreamLens multiplies colours from the right by this; pixels are its transpose times channels.
COLOUR = peer._XPLIQUE_COLOR_CORRELATION_TENSOR.T.double()


def _canvas(height: int, width: int) -> Canvas:
    """The magnitudes are those of no picture: whatever is held, both are to make the same of it."""
    magnitude = 0.02 + 0.1 * torch.rand(3, height, width // 2 + 1, dtype=torch.float64)
    for column in _twice(width):
        magnitude[..., column] = _agreed(magnitude[..., column], 1)
    prior = DataPrior(
        "test", torch.full((3,), 0.5), 0.1, COLOUR, 1.0, magnitude, (height, width)
    )  # fmt: skip
    return Canvas(3, height, width, prior, torch.float64, torch.device("cpu"))


def _twice(width: int) -> list[int]:
    return [0, width // 2] if width % 2 == 0 else [0]


def _agreed(column: Tensor, sign: int) -> Tensor:
    """What stands at ``-k`` is what stands at ``k``, or its negative."""
    height = column.shape[-1]
    at_minus = column[..., [-k % height for k in range(height)]]
    return (column + sign * at_minus) / 2


def _phases(height: int, width: int) -> Tensor:
    """Antisymmetric where ``k`` and ``-k`` both stand, and of mean 0 and deviation 1, which is
    what DreamLens makes of any phases: of these it changes nothing."""
    phases = torch.randn(3, height, width // 2 + 1, dtype=torch.float64)
    own = [c for c in range(width // 2 + 1) if c not in _twice(width)]
    for column in _twice(width):
        phases[..., column] = _agreed(phases[..., column], -1)
    phases[..., own] -= phases[..., own].mean()
    return phases / phases.std(correction=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_equal_phases_give_the_peers_picture(height: int, width: int) -> None:
    on, phases = _canvas(height, width), _phases(height, width)
    magnitude = on.prior.magnitude
    assert magnitude is not None
    # Ours are orthonormal, theirs are not.
    theirs = peer.maco_image_parametrization(
        magnitude * math.sqrt(height * width), phases, values_range=(0, 1)
    )
    if width % 2 == 0:  # of an odd width theirs leaves one column out
        ours = MACO(lucid=True).picture(on, phases[None, None])[0]
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    # Without standardising and sigmoid after the transform: nothing but colours and mean.
    spectrum = torch.polar(magnitude, phases)
    channels = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
    plain = MACO().picture(on, phases[None, None])[0]
    wanted = 0.5 + torch.einsum("dc,chw->dhw", COLOUR, channels)
    torch.testing.assert_close(plain, wanted.clamp(0, 1))


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_with_and_without_the_gate_it_is_the_peers_accentuation(
    height: int, width: int, gate: bool
) -> None:
    on, phases = _canvas(height, width), _phases(height, width)
    theirs: Any = peer.FeatureAccentuationCanvas(
        torch.rand(1, 3, height, width),
        height,
        width,
        parameterization="fourier_phase",
        use_magnitude_gate=gate,
    )
    theirs.magnitude = on.prior.magnitude[None] * math.sqrt(height * width)  # type: ignore[index]
    theirs.phase.data = phases[None]
    numbers = 2 * torch.randn(1, 3, height, width // 2 + 1, dtype=torch.float64)
    for column in _twice(width):
        numbers[..., column] = _agreed(numbers[..., column], 1)
    parameters = phases[None, None]
    if gate:
        theirs.magnitude_gate.data = numbers
        parameters = torch.cat([parameters, numbers[:, None]], 1)
    ours = MACO(gate=gate).picture(on, parameters)
    with torch.no_grad():
        shown = theirs.visible_image()
    # Theirs goes through a sigmoid, ours is cut off: both are undone.
    assert 0 < float(ours.min()) < float(ours.max()) < 1
    torch.testing.assert_close(ours - 0.5, torch.logit(shown), rtol=1e-4, atol=1e-5)


def test_where_a_frequency_stands_twice_the_peer_averages_and_magnitudes_are_lost() -> None:
    """Random phases break what is held in columns 0 and the last; here they cannot."""
    on = _canvas(8, 8)
    magnitude = on.prior.magnitude
    assert magnitude is not None
    phases = torch.randn(3, 8, 5, dtype=torch.float64)
    silent = torch.fft.irfft2(torch.polar(magnitude, phases), s=(8, 8), norm="ortho")
    kept = torch.fft.rfft2(silent, norm="ortho").abs()
    assert float((kept - magnitude)[..., [0, 4]].abs().max()) > 0.1 * float(magnitude.mean())
    torch.testing.assert_close(kept[..., 1:4], magnitude[..., 1:4])
    ours = MACO().picture(on, phases[None, None])[0] - 0.5
    channels = torch.einsum("dc,chw->dhw", torch.linalg.inv(COLOUR), ours)
    torch.testing.assert_close(torch.fft.rfft2(channels, norm="ortho").abs(), magnitude)
