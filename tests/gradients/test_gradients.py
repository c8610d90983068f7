"""Gradients by backpropagation and by differences, held against each other and closed forms."""

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.objectives import OBJECTIVES
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, UnknownLabelError


class Rounding(nn.Module):
    """Rounds its input and pretends not to: a straight-through estimator."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (torch.round(x * 4) / 4 - x).detach()


def network(*front: nn.Module, seed: int = 0) -> fs.Classifier:
    torch.manual_seed(seed)
    body = nn.Sequential(
        *front, nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(150, 4)
    )
    return fs.Classifier(body, channels=1, input_size=5)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 1, 5, 5, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("method", ["forward", "central"])
def test_differences_agree_with_backpropagation(
    images: Tensor, objective: str, method: str
) -> None:
    model = network().to(dtype=torch.float64)
    classes = torch.tensor([0, 1, 3])
    backward = fs.input_gradient(model, images.double(), classes, objective)
    slow = fs.finite_difference_gradient(model, images.double(), classes, objective, method=method)
    error = (backward - slow).abs().max() / backward.abs().max()
    assert error < (1e-6 if method == "forward" else 1e-8)


def test_differences_equal_one_pixel_at_a_time(images: Tensor) -> None:
    model, step = network().to(dtype=torch.float64), 1e-5
    image = images[:1].double()
    expected = []
    for index in range(25):
        up, down = image.clone(), image.clone()
        up.view(-1)[index] += step
        down.view(-1)[index] -= step
        with torch.no_grad():
            expected.append(((model(up) - model(down))[0, 2] / (2 * step)).item())
    found = fs.finite_difference_gradient(model, image, 2, step=step, batch_size=7)
    torch.testing.assert_close(
        found.flatten(), torch.tensor(expected, dtype=torch.double), rtol=1e-9, atol=1e-9
    )


def test_a_subset_of_pixels_in_their_order(images: Tensor) -> None:
    model = network()
    everything = fs.finite_difference_gradient(model, images, 1).flatten(1)
    chosen = torch.tensor([24, 3, 11])
    some = fs.finite_difference_gradient(model, images, 1, pixels=chosen)
    torch.testing.assert_close(some, everything[:, chosen], rtol=1e-2, atol=1e-3)
    assert some.shape == (3, 3)


def test_gradient_does_not_depend_on_the_batch_size(images: Tensor) -> None:
    model = network()
    whole = fs.input_gradient(model, images, [0, 1, 2], "margin")
    single = fs.input_gradient(model, images, [0, 1, 2], "margin", batch_size=1)
    torch.testing.assert_close(whole, single, atol=1e-6, rtol=1e-4)


def test_check_finds_nothing_wrong_with_an_honest_network(images: Tensor) -> None:
    checked = fs.check_gradient(network(), images, 0, "log-probability", pixels=25)
    assert checked.passed
    assert checked.relative_error < 1e-6
    assert checked.counts == {"agrees": 75}


def test_check_calls_a_straight_through_estimator_wrong(images: Tensor) -> None:
    checked = fs.check_gradient(network(Rounding()), images, 0, pixels=25)
    assert not checked.passed
    assert checked.counts["wrong"] > 50
    assert "not the derivative" in str(checked)


def test_check_names_kinks(images: Tensor) -> None:
    model = network()
    with torch.no_grad():  # every filter's ReLU bends exactly at this grey
        model.module[0].bias.copy_(-0.5 * model.module[0].weight.flatten(1).sum(1))
    grey = torch.full((1, 1, 5, 5), 0.5)
    checked = fs.check_gradient(model, grey, 0, pixels=25)
    assert checked.passed
    assert checked.counts["kink"] > 3


def test_check_names_saturation() -> None:
    model = network()
    with torch.no_grad():
        model.module[-1].bias.copy_(torch.tensor([60.0, 0, 0, 0]))
    image = torch.rand(1, 1, 5, 5)
    checked = fs.check_gradient(model, image, 0, "probability", pixels=25)
    assert checked.counts == {"saturated": 25}
    assert fs.check_gradient(model, image, 0, "logit", pixels=25).counts == {"agrees": 25}


def test_check_names_the_noise_of_single_precision(images: Tensor) -> None:
    model = network()
    with torch.no_grad():
        model.module[-1].bias.add_(300)  # large values leave few digits for small slopes
    checked = fs.check_gradient(model, images, 0, pixels=25, precision="float32")
    assert checked.passed
    assert checked.counts["noise"] > 20
    assert fs.check_gradient(model, images, 0, pixels=25).counts == {"agrees": 75}


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"images": torch.rand(2, 3, 5, 5)}, InvalidImagesError, "expected"),
        ({"images": torch.full((1, 1, 5, 5), torch.nan)}, InvalidImagesError, "NaN"),
        ({"images": torch.full((1, 1, 5, 5), 255.0)}, InvalidImagesError, "divide 8-bit"),
        ({"images": torch.full((1, 1, 5, 5), -1.0)}, InvalidImagesError, "normalisation"),
        ({"images": torch.zeros(0, 1, 5, 5)}, InvalidImagesError, "no pixels"),
        ({"images": torch.zeros(1, 1, 5, 5).byte()}, InvalidImagesError, "floats"),
        ({"classes": 4}, UnknownLabelError, "from 0 to 3"),
        ({"classes": [0, 1]}, UnknownLabelError, "expected one each"),
        ({"classes": torch.tensor([0.5])}, UnknownLabelError, "whole numbers"),
        ({"objective": "loss"}, InvalidParameterError, "log-probability"),
        ({"batch_size": 0}, InvalidParameterError, "1 or more"),
    ],
)
def test_bad_input_is_named(given: dict, error: type[Exception], says: str) -> None:
    call = {"images": torch.zeros(1, 1, 5, 5), "classes": 0, **given}
    with pytest.raises(error, match=says):
        fs.input_gradient(network(), **call)
    with pytest.raises(error, match=says):
        fs.finite_difference_gradient(network(), **call)


@pytest.mark.parametrize("pixels", [torch.tensor([25]), torch.tensor([-1]), torch.tensor([0.5])])
def test_pixels_outside_the_image_are_named(images: Tensor, pixels: Tensor) -> None:
    with pytest.raises(InvalidParameterError, match="pixels"):
        fs.finite_difference_gradient(network(), images, 0, pixels=pixels)
