"""Portraits as spectra: the formula by a slow sum, the exact inverse, colour, bad numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fluoroscope as fs
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


def _inverse(spectrum: Tensor, height: int, width: int, decay: float) -> Tensor:
    """The real inverse transform, number by number; both halves of it weigh the same."""
    found = torch.zeros(height, width, dtype=torch.float64)
    for v in range(height):
        for u in range(width // 2 + 1):
            up = v if v <= (height - 1) // 2 else v - height
            length = math.hypot(up / height, u / width)
            one = complex(spectrum[v, u]) * max(length, 1 / max(height, width)) ** -decay
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
