"""All parameterisations: exact inverses, gradients, held magnitudes, the filter by a slow sum."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fluoroscope as fs
from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.parameterisations.direct_ascent import DirectAscent
from fluoroscope.inversion.portraits.parameterisations.fourier import Fourier
from fluoroscope.inversion.portraits.parameterisations.maco import MACO
from fluoroscope.inversion.portraits.parameterisations.parameterisation import Parameterisation
from fluoroscope.inversion.portraits.parameterisations.pixels import Pixels
from fluoroscope.inversion.portraits.parameterisations.pyramid import Pyramid, enlarged, levels

sizes = st.integers(1, 9)


def _canvas(channels: int, height: int, width: int) -> Canvas:
    generator = torch.Generator().manual_seed(channels)
    colour = torch.eye(channels) + 0.2 * torch.rand(channels, channels, generator=generator)
    mean = torch.full((channels,), 0.5)
    seen = torch.randn(5, channels, height, width, generator=generator, dtype=torch.float64)
    magnitude = torch.fft.rfft2(0.02 * seen, norm="ortho").abs().mean(0)
    prior = DataPrior("test", mean, 0.1, colour, 1.3, magnitude, (height, width))
    return Canvas(channels, height, width, prior, torch.float64, torch.device("cpu"))


def _keys(count: int) -> torch.Tensor:
    return fs.engine.randomness.keys(0, torch.arange(count))


@settings(max_examples=20)
@given(st.integers(1, 4), sizes, sizes)
def test_sums_of_sizes_stand_for_any_picture(c: int, h: int, w: int) -> None:
    on = _canvas(c, h, w)
    pictures = torch.rand(2, c, h, w, dtype=torch.float64).clamp(0.01, 0.99)
    for how in (Pyramid(), Pyramid(sides=(1, 3, 5)), DirectAscent()):
        torch.testing.assert_close(how.picture(on, how.start_from(on, pictures)), pictures)
        assert how.start(on, _keys(2)).shape == how.start_from(on, pictures).shape


@settings(max_examples=30)
@given(st.integers(1, 4), sizes, sizes, st.booleans())
def test_phases_hold_the_magnitudes_and_are_found_again(c: int, h: int, w: int, gate: bool) -> None:
    on, how = _canvas(c, h, w), MACO(gate=gate)
    parameters = how.start(on, _keys(2))
    pictures = how.picture(on, parameters)
    assert 0 < float(pictures.min()) < float(pictures.max()) < 1  # nothing was cut off
    by = torch.linalg.inv(on.prior.colour.double())
    channels = torch.einsum("dc,nchw->ndhw", by, pictures - 0.5)
    held = on.prior.magnitude.expand(2, -1, -1, -1)  # type: ignore[union-attr]
    held = held * torch.tensor(5.0, dtype=torch.float64).sigmoid() if gate else held
    found = torch.fft.rfft2(channels, norm="ortho").abs()
    torch.testing.assert_close(found, held, rtol=1e-6, atol=1e-9)
    again = how.picture(on, how.start_from(on, pictures))
    torch.testing.assert_close(again, pictures, rtol=1e-5, atol=1e-7)


def test_a_picture_of_other_magnitudes_is_refused() -> None:
    with pytest.raises(fs.FluoroscopeError, match="magnitudes that MACO cannot hold"):
        MACO().start_from(_canvas(3, 8, 8), torch.rand(1, 3, 8, 8))


def test_magnitudes_of_another_size_keep_their_cycles_per_pixel() -> None:
    small, large = _canvas(1, 8, 9), _canvas(1, 16, 18)
    on = replace(large, prior=small.prior)
    found = MACO().template(on)
    assert small.prior.magnitude is not None
    wanted = small.prior.magnitude.clone()
    wanted[:, 0, 0] *= 2  # the mean of the picture stays, and so its sum over all pixels grows
    torch.testing.assert_close(found[:, ::2, ::2], wanted)
    assert "interpolated for 16x18" in MACO().notes(on)[0]
    assert MACO().notes(large) == ()
    assert Fourier(magnitudes=True).notes(on) == MACO().notes(on)
    assert Fourier().notes(on) == ()


def test_how_much_of_a_picture_was_cut_off_is_said() -> None:
    pictures = torch.full((2, 1, 5, 5), 0.5)
    assert MACO().notes_on(pictures) == ()
    pictures[0, 0, 0, :] = 1
    pictures[1, 0, 4, :] = 0
    assert MACO().notes_on(pictures)[0].startswith("20.0\N{NARROW NO-BREAK SPACE}% of the pixels")
    assert MACO(lucid=True).notes_on(pictures) == ()
    model = fs.load_model("digits-cnn")
    told = fs.portrait(model, [0], method="maco", steps=2).notes
    images = fs.portrait(model, [0], method="maco", steps=2).images
    assert any("cut off" in one for one in told) == bool(((images <= 0) | (images >= 1)).any())


def test_without_magnitudes_a_power_law_has_the_deviation_of_real_pixels() -> None:
    on = _canvas(3, 32, 33)
    on = replace(on, prior=replace(on.prior, magnitude=None))
    pictures = MACO().picture(on, MACO().start(on, _keys(8)))
    assert float((pictures - pictures.mean((2, 3), keepdim=True)).std()) == pytest.approx(
        0.1, rel=0.15
    )
    assert "power law" in MACO().notes(on)[0]


@pytest.mark.parametrize(("height", "width", "every"), [(8, 8, 1), (7, 12, 1), (40, 33, 4)])
def test_direct_ascent_is_all_sizes_moved_apart(height: int, width: int, every: int) -> None:
    on, how = _canvas(2, height, width), DirectAscent(every=every, precision=0.0)
    raw = how.start(on, _keys(2))
    parts = [
        torch.zeros(2, 2, *size, dtype=torch.float64, requires_grad=True)
        for size in levels(height, width, tuple(range(1, max(height, width) + 1, every)))
    ]
    goal = torch.linspace(-1, 1, raw.numel(), dtype=torch.float64).view_as(raw).sin()
    filtered = raw.clone()
    for _ in range(3):
        whole = raw + sum(enlarged(part, (height, width)) for part in parts)
        score = (((whole.tanh() + 1) / 2) * goal).sum()
        for part, slope in zip(parts, torch.autograd.grad(score, parts), strict=True):
            part.data += 0.3 * slope
        leaf = filtered.detach().requires_grad_()
        (slope,) = torch.autograd.grad((how.picture(on, leaf) * goal).sum(), leaf)
        filtered = filtered + 0.3 * how.led(on, slope)
    whole = raw + sum(enlarged(part, (height, width)) for part in parts)
    torch.testing.assert_close(filtered, whole.detach(), rtol=1e-6, atol=1e-6)
    few = replace(how, precision=1e-2).led(on, goal)
    exact = how.led(on, goal)
    assert float((few - exact).norm() / exact.norm()) < 0.02


ALL = (
    Pixels(),
    Pixels(squash=True),
    Fourier(),
    MACO(),
    MACO(gate=True),
    MACO(lucid=True),
    MACO(gate=True, lucid=True),
    Pyramid(),
    DirectAscent(),
)


@pytest.mark.parametrize(("height", "width"), [(4, 5), (5, 4)])
@pytest.mark.parametrize("how", ALL, ids=repr)
def test_gradients_are_those_of_finite_differences(
    how: Parameterisation, height: int, width: int
) -> None:
    on = _canvas(2, height, width)
    parameters = how.start(on, _keys(2)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda numbers: how.picture(on, numbers), parameters, fast_mode=True
    )


@settings(max_examples=20)
@given(st.integers(1, 4), sizes, sizes, st.booleans())
def test_pixels_are_any_picture(c: int, h: int, w: int, squash: bool) -> None:
    on, how = _canvas(c, h, w), Pixels(squash=squash)
    pictures = torch.rand(2, c, h, w, dtype=torch.float64).clamp(0.01, 0.99)
    torch.testing.assert_close(how.picture(on, how.start_from(on, pictures)), pictures)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("how", ALL, ids=repr)
def test_the_precision_of_the_canvas_is_kept(how: Parameterisation, dtype: torch.dtype) -> None:
    on = replace(_canvas(2, 4, 5), dtype=dtype)
    parameters = how.start(on, _keys(2))
    pictures = how.picture(on, parameters)
    assert {parameters.dtype, pictures.dtype, how.led(on, parameters).dtype} == {dtype}
    if how not in (MACO(lucid=True), MACO(gate=True, lucid=True)):  # these refuse a picture
        assert how.start_from(on, pictures).dtype == dtype
