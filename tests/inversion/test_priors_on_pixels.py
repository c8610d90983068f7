"""Priors on pixels: each against its formula, pixel by pixel."""

import pytest
import torch

import fluoroscope as fs
from fluoroscope.inversion.portraits.parameterisations.pixels import Pixels
from fluoroscope.inversion.portraits.priors.pixels import (
    l_norm,
    total_variation,
    value_range,
)
from fluoroscope.inversion.portraits.recipe import Recipe, Weighted


def test_each_is_its_formula() -> None:
    pictures = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    for row, picture in enumerate(pictures):
        across = [
            [float(p[y, x + 1] - p[y, x]) for y in range(4) for x in range(4)] for p in picture
        ]
        down = [[float(p[y + 1, x] - p[y, x]) for y in range(3) for x in range(5)] for p in picture]
        flat = [abs(v) for p in across for v in p], [abs(v) for p in down for v in p]
        mean = sum(flat[0]) / len(flat[0]) + sum(flat[1]) / len(flat[1])
        assert float(total_variation().function(pictures)[row]) == pytest.approx(mean)
        squares = sum(v**2 for v in flat[0]) / 48 + sum(v**2 for v in flat[1]) / 45
        found = total_variation(power=2).function(pictures)[row]
        assert float(found) == pytest.approx(squares)
        both = [
            ((float(p[y, x + 1] - p[y, x])) ** 2 + (float(p[y + 1, x] - p[y, x])) ** 2) ** 0.5
            for p in picture
            for y in range(3)
            for x in range(4)
        ]
        found = total_variation("isotropic").function(pictures)[row]
        assert float(found) == pytest.approx(sum(both) / len(both))
        falling = (picture[:, 1:, 1:] - picture[:, :-1, :-1]).norm()
        rising = (picture[:, 1:, :-1] - picture[:, :-1, 1:]).norm()
        norms = sum(sum(v**2 for v in each) ** 0.5 for each in flat)
        found = total_variation("deepinversion").function(pictures)[row]
        assert float(found) == pytest.approx(norms + float(falling + rising))
        expected = float((picture - 0.5).abs().pow(3).mean())
        assert float(l_norm(3).function(pictures)[row]) == pytest.approx(expected)


def test_flat_pictures_have_a_finite_slope() -> None:
    for kind in ("anisotropic", "isotropic", "deepinversion"):
        flat = torch.full((1, 1, 3, 3), 0.5, requires_grad=True)
        (slope,) = torch.autograd.grad(total_variation(kind).function(flat).sum(), flat)
        assert slope.isfinite().all()


def test_impossible_settings_are_named() -> None:
    with pytest.raises(fs.FluoroscopeError, match="kind is 'round'"):
        total_variation("round")  # type: ignore[arg-type]
    for make in (lambda: total_variation(power=0), lambda: l_norm(-1)):
        with pytest.raises(fs.FluoroscopeError, match="power"):
            make()


def test_what_is_beyond_black_and_white_is_pulled_back() -> None:
    values = torch.tensor([[[[-0.5, 0.2], [1.2, 1.0]]]])
    assert float(value_range().function(values)) == pytest.approx((0.25 + 0.04) / 4)
    model = fs.load_model("digits-cnn")

    def made(*priors: Weighted) -> fs.Portraits:
        return fs.portrait(model, [3], method=Recipe(priors=priors), steps=25, frames=25)

    free, led = made(), made(Weighted(value_range(), 1e6, ratio=False))
    for each in (free, led):
        for pictures in (each.images, each.frames, each.stations):
            assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1
    # Beyond the cut nothing but the prior pulls: with it a pixel comes back, and may turn about.
    assert not torch.equal(free.images, led.images)
    assert float(led.curve[0, -1, 2]) > 0
    beyond = made(Weighted(value_range(), 1.0, ratio=False)).curve[0, -1, 2]
    assert float(led.curve[0, -1, 2]) < float(beyond)


def test_where_nothing_can_be_beyond_it_is_refused() -> None:
    with pytest.raises(fs.FluoroscopeError, match="holds pixels within 0 and 1 by itself"):
        Recipe(Pixels(squash=True), priors=(Weighted(value_range(), 1.0, ratio=False),))
    with pytest.raises(fs.FluoroscopeError, match="zero at the start"):
        Recipe(Pixels(), priors=(Weighted(value_range(), 1.0),))
