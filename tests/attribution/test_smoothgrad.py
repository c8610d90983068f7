"""SmoothGrad, its square and VarGrad: against the papers written out with the same draws."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine import randomness
from tests.attribution.zoo import toy

KINDS = ("smoothgrad", "smoothgrad-squared", "vargrad")


def gradients(model: fs.Classifier, image: Tensor, number: int, draws: Tensor) -> Tensor:
    """One gradient for each draw, one after the other."""
    found = []
    deviation = 0.2 * (image.max() - image.min())
    for draw in draws:
        pixels = (image + deviation * draw)[None].requires_grad_()
        found += torch.autograd.grad(model(pixels)[0, number], pixels)
    return torch.cat(found).double()


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_maps_are_the_papers(batch_size: int) -> None:
    case = toy("gelu")
    images = case.images * torch.tensor([1, 0.5, 0.25]).view(-1, 1, 1, 1)
    classes, numbers = [2, 0, 3], torch.tensor([5, 0, 8])
    keys = randomness.keys(7, numbers)
    found = {
        kind: fs.attribute(
            case.model, images, classes, method=kind, samples=6, noise=0.2, seed=7,
            numbers=numbers, batch_size=batch_size,
        )
        for kind in KINDS
    }  # fmt: skip
    for row, number in enumerate(classes):
        draws = [randomness.normal(keys[row : row + 1], k, (3, 8, 8))[0] for k in range(6)]
        slow = gradients(case.model, images[row], number, torch.stack(draws))
        expected = (slow.mean(0), slow.pow(2).mean(0), slow.var(0, unbiased=False))
        for kind, each in zip(KINDS, expected, strict=True):
            torch.testing.assert_close(found[kind].maps[row].double(), each, atol=1e-6, rtol=1e-4)
    for each in found.values():
        assert each.forwards.tolist() == each.backwards.tolist() == [6] * 3
        assert each.error.isnan().all()


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(1, 20), seed=st.integers(0, 2**40), row=st.integers(0, 2),
    kind=st.sampled_from(KINDS),
)  # fmt: skip
def test_a_row_depends_neither_on_its_batch_nor_on_how_many_fit(
    size: int, seed: int, row: int, kind: str
) -> None:
    case = toy("batch-norm")
    options: dict[str, Any] = {"method": kind, "samples": 4, "seed": seed}
    together = fs.attribute(case.model, case.images, 1, **options)
    alone = fs.attribute(
        case.model, case.images[row], 1, numbers=torch.tensor([row]), batch_size=size, **options
    )
    torch.testing.assert_close(together.maps[row], alone.maps[0], atol=1e-5, rtol=1e-5)


def test_the_same_picture_twice_has_other_noise() -> None:
    case = toy("gelu")
    found = fs.attribute(case.model, case.images[[0, 0]], 1, method="smoothgrad", samples=3)
    assert not torch.allclose(found.maps[0], found.maps[1])


def test_a_linear_network_has_its_weights_and_no_variance() -> None:
    torch.manual_seed(0)
    model = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), channels=1, input_size=4)
    image = torch.linspace(0, 1, 16).view(1, 4, 4)
    weights = model.module[1].weight.detach()[2].view(1, 1, 4, 4)
    for kind, expected in zip(KINDS, (weights, weights**2, 0 * weights), strict=True):
        found = fs.attribute(model, image, 2, method=kind)
        torch.testing.assert_close(found.maps, expected, atol=1e-9, rtol=1e-5)
        assert found.forwards.tolist() == [50]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"noise": 0}, "noise is 0; expected a number above 0"),
        ({"noise": "much"}, "noise is 'much'"),
        ({"method": "vargrad", "samples": 1}, "samples is 1; expected 2 or more"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, Any], words: str) -> None:
    case = toy("gelu")
    with pytest.raises(fs.FluoroscopeError, match=words):
        fs.attribute(case.model, case.images, 0, **{"method": "smoothgrad"} | options)
