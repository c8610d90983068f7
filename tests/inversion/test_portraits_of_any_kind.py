"""Portraits of networks of any kind: precision, channels, and pictures that are not square."""

import pytest
import torch
from torch import nn

import fluoroscope as fs
from fluoroscope.inversion.portraits.known_transformations import lucid
from fluoroscope.inversion.portraits.optimisers import Adam
from fluoroscope.inversion.portraits.parameterisations.fourier import Fourier
from fluoroscope.inversion.portraits.parameterisations.parameterisation import Parameterisation
from fluoroscope.inversion.portraits.parameterisations.pixels import Pixels
from fluoroscope.inversion.portraits.recipe import Recipe


def _model(channels: int, kind: torch.dtype) -> fs.Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)
    )
    module(torch.zeros(1, channels, 11, 14))
    return fs.Classifier(
        module.to(kind), channels=channels, input_size=(11, 14), labels=list("abcd"),
        mean=[0.5] * channels, std=[0.5] * channels,
    )  # fmt: skip


@pytest.mark.parametrize("how", [Pixels(), Fourier()], ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("channels", "kind"),
    [
        (1, torch.float64), (2, torch.float32), (3, torch.bfloat16), (3, torch.float16),
        (5, torch.float64),
    ],
)  # fmt: skip
def test_of_any_precision_shape_and_channels(
    channels: int, kind: torch.dtype, how: Parameterisation
) -> None:
    recipe = Recipe(how, lucid(2), optimiser=Adam(0.1), steps=12)
    model = _model(channels, kind)
    found = fs.portrait(model, [2, 0], method=recipe, prior="grey", frames=2)
    # A network of halves is asked for what is held in single precision.
    held = kind if kind == torch.float64 else torch.float32
    assert model.dtype == held
    for name in ("images", "transparency", "curve", "weights", "stations", "frames"):
        assert getattr(found, name).dtype == held, name
    assert found.images.shape == (2, channels, 11, 14)
    assert bool(found.images.isfinite().all())
    assert 0 <= float(found.images.min()) <= float(found.images.max()) <= 1
    rises = found.curve[:, -1, 1] - found.curve[:, 0, 1]
    assert bool((rises > 0).all()), rises
    assert all(parameter.dtype == kind for parameter in model.module.parameters())
    if kind == torch.float64:  # the same in single precision, but for its rounding
        single = fs.portrait(
            _model(channels, torch.float32), [2, 0], method=recipe, prior="grey", steps=3
        )
        double = fs.portrait(model, [2, 0], method=recipe, prior="grey", steps=3)
        torch.testing.assert_close(double.images.float(), single.images, atol=2e-3, rtol=0)
