"""Portraits as spectra: the formula by a slow sum, the exact inverse, colour, bad numbers."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.parameterisations.fourier import Fourier

sizes = st.integers(1, 9)


def canvas(channels: int, height: int, width: int) -> Canvas:
    generator = torch.Generator().manual_seed(channels)
    colour = torch.eye(channels) + 0.2 * torch.rand(channels, channels, generator=generator)
    prior = DataPrior("test", torch.linspace(0.2, 0.6, channels), 0.2, colour, decay=1.3)
    return Canvas(channels, height, width, prior, torch.float64, torch.device("cpu"))


@settings(max_examples=30)
@given(st.integers(1, 4), sizes, sizes, st.booleans())
def test_any_picture_has_its_spectrum(c: int, h: int, w: int, decorrelated: bool) -> None:
    on, how = canvas(c, h, w), Fourier(decorrelated=decorrelated)
    pictures = torch.rand(2, c, h, w, dtype=torch.float64).clamp(0.01, 0.99)
    found = how.picture(on, how.start_from(on, pictures))
    torch.testing.assert_close(found, pictures, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("height", "width"), [(4, 5), (5, 4)])
def test_the_picture_is_the_papers_sum(height: int, width: int) -> None:
    on, how = canvas(2, height, width), Fourier(decay=1.7)
    keys = fs.engine.randomness.keys(0, torch.arange(1))
    parameters = how.start(on, keys) * 100
    spectrum = torch.complex(parameters[0, 0], parameters[0, 1])
    parts = torch.stack([_inverse(spectrum[c], height, width, 1.7) for c in range(2)])
    logit = torch.logit(on.prior.mean.double())[:, None, None]
    mixed = torch.einsum("ij,jhw->ihw", on.prior.colour.double(), parts / 4)
    torch.testing.assert_close(how.picture(on, parameters)[0], (logit + mixed).sigmoid())


@pytest.mark.parametrize(("height", "width"), [(4, 5), (5, 4)])
def test_magnitudes_take_the_place_of_the_power_law(height: int, width: int) -> None:
    on, how = canvas(2, height, width), Fourier(magnitudes=True)
    with pytest.raises(InvalidParameterError, match="prior test has no magnitudes"):
        how.start_from(on, torch.full((1, 2, height, width), 0.5, dtype=torch.float64))
    # What stands twice is to be there once: k and -k, which only columns of their own lack.
    shares = torch.rand(2, height, width // 2 + 1) + 0.1
    own = [0, width // 2] if width % 2 == 0 else [0]
    shares[..., own] = (shares[..., own] + shares[..., own].flip(1).roll(1, 1)) / 2
    prior = replace(on.prior, magnitude=shares, size=(height, width))
    on = replace(on, prior=prior)
    scaled = how.picture(on, torch.ones(1, 2, 2, height, width // 2 + 1, dtype=torch.float64))
    power = torch.tensor(
        [[_law(v, u, height, width, 1.3) for u in range(width // 2 + 1)] for v in range(height)],
        dtype=torch.float64,
    )
    wanted = shares.double() * (power.square().mean() / shares.double().square().mean()).sqrt()
    white = Fourier(decay=0.0)
    ones = torch.ones(1, 2, 1, height, width // 2 + 1, dtype=torch.float64)
    expected = white.picture(on, ones * wanted)
    torch.testing.assert_close(scaled, expected, rtol=1e-6, atol=1e-8)
    pictures = torch.rand(2, 2, height, width, dtype=torch.float64).clamp(0.01, 0.99)
    torch.testing.assert_close(
        how.picture(on, how.start_from(on, pictures)), pictures, rtol=1e-6, atol=1e-8
    )


def test_a_decay_and_magnitudes_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="expected one of the two"):
        Fourier(decay=1.0, magnitudes=True)


def _law(v: int, u: int, height: int, width: int, decay: float) -> float:
    up = v if v <= (height - 1) // 2 else v - height
    return float(max(math.hypot(up / height, u / width), 1 / max(height, width)) ** -decay)


def _inverse(spectrum: Tensor, height: int, width: int, decay: float) -> Tensor:
    """The real inverse transform, number by number; both halves of it weigh the same."""
    found = torch.zeros(height, width, dtype=torch.float64)
    for v in range(height):
        for u in range(width // 2 + 1):
            one = complex(spectrum[v, u]) * _law(v, u, height, width, decay)
            alone = u == 0 or 2 * u == width
            for y in range(height):
                for x in range(width):
                    turn = 2 * math.pi * (v * y / height + u * x / width)
                    value = (one * complex(math.cos(turn), math.sin(turn))).real
                    found[y, x] += value * (1 if alone else 2) / math.sqrt(height * width)
    return found


def test_the_start_is_near_the_mean_of_real_pictures_and_differs_by_key() -> None:
    on = canvas(3, 16, 16)
    keys = fs.engine.randomness.keys(0, torch.arange(3))
    found = Fourier().picture(on, Fourier().start(on, keys))
    torch.testing.assert_close(found.mean((0, 2, 3)), on.prior.mean.double(), atol=0.02, rtol=0)
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("name", ["decay", "spread"])
def test_impossible_numbers_are_named(name: str) -> None:
    with pytest.raises(fs.FluoroscopeError, match=name):
        Fourier(**{name: -1.0})
