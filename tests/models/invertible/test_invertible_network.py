"""The invertible network: the norm of its convolutions, its inverse, what its bounds promise."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fluoroscope as fs
from fluoroscope.models.frozen import frozen
from fluoroscope.models.invertible.backwards import bounds_of, latents_of, pictures_of
from fluoroscope.models.invertible.bounded import BoundedConvolution, exact_norm
from fluoroscope.models.invertible.network import InvertibleNetwork, Shape


def network(shape: Shape, seed: int = 0, stretch: float = 4.0) -> InvertibleNetwork:
    """One whose weights are long enough for the bound to bind."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = InvertibleNetwork(shape)
        with torch.no_grad():
            for layer in convolutions(made):
                layer.weight.mul_(stretch)
                layer.bias.normal_(std=0.3)
    return made.eval()


def convolutions(made: InvertibleNetwork) -> list[BoundedConvolution]:
    return [part for part in made.modules() if isinstance(part, BoundedConvolution)]


def pictures(count: int, shape: Shape, seed: int = 0) -> Tensor:
    drawn = torch.Generator().manual_seed(seed)
    return torch.rand(count, shape.channels, shape.height, shape.width, generator=drawn)


def dense(layer: BoundedConvolution, weight: Tensor) -> Tensor:
    """The whole linear map as a matrix, a column for each pixel."""
    inputs = layer.weight.shape[1]
    units = torch.eye(inputs * math.prod(layer.size), dtype=weight.dtype)
    return layer._around(units.view(-1, inputs, *layer.size), weight).flatten(1).T


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "size"),
    [(3, 5, 3, (6, 4)), (5, 2, 3, (7, 5)), (2, 3, 1, (4, 4)), (1, 2, 3, (2, 1)), (2, 2, 5, (6, 5))],
)
def test_the_norm_is_that_of_the_dense_matrix(
    inputs: int, outputs: int, kernel: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    layer = BoundedConvolution(inputs, outputs, kernel, size, bound=0.5)
    weight = layer.weight.detach().double()
    largest = float(torch.linalg.svdvals(dense(layer, weight))[0])
    assert exact_norm(weight, size) == pytest.approx(largest, rel=1e-9)
    layer.eval()
    scaled = weight * min(1.0, 0.5 / (largest * (1 + 1e-6)))
    assert layer.norm() == pytest.approx(float(torch.linalg.svdvals(dense(layer, scaled))[0]))
    assert layer.norm() <= 0.5 * (1 + 1e-12)
    image = pictures(2, Shape(inputs, *size, 2))
    torch.testing.assert_close(
        layer(image), layer._around(image, scaled.float(), layer.bias), atol=1e-5, rtol=1e-5
    )


def test_the_power_method_comes_from_below_and_gets_there() -> None:
    torch.manual_seed(2)
    layer = BoundedConvolution(4, 6, 3, (6, 6), bound=0.7).train()
    exact = exact_norm(layer.weight, (6, 6))
    with torch.no_grad():
        for _ in range(200):
            out = layer._advance()
        reached = float((out * layer._around(layer.direction, layer.weight)).sum())
    assert reached <= exact * (1 + 1e-5)
    assert reached == pytest.approx(exact, rel=1e-3)
    # In training the scaled map has the bound as its norm, and the weight is held by its slope.
    image = pictures(2, Shape(4, 6, 6, 2))
    expected = layer._around(image, layer.weight * 0.7 / reached, layer.bias)
    torch.testing.assert_close(layer(image), expected, atol=1e-4, rtol=1e-4)
    layer(image).sum().backward()
    assert layer.weight.grad is not None


def test_short_weights_are_left_as_they_are() -> None:
    layer = BoundedConvolution(2, 2, 3, (4, 4), bound=0.9).eval()
    with torch.no_grad():
        layer.weight.mul_(0.01)
    image = pictures(1, Shape(2, 4, 4, 2))
    torch.testing.assert_close(layer(image), layer._around(image, layer.weight, layer.bias))
    assert layer.norm() < 0.05


def test_the_norm_is_taken_anew_whenever_a_weight_changes_in_whatever_way() -> None:
    layer = BoundedConvolution(2, 2, 3, (4, 4), bound=0.5).eval()
    layer(torch.rand(1, 2, 4, 4))
    layer.weight.data.mul_(1000)  # which no version counts
    scaled = layer.weight.detach().double() * layer._scale()
    assert float(torch.linalg.svdvals(dense(layer, scaled))[0]) <= 0.5


@settings(max_examples=12)
@given(
    shape=st.builds(
        Shape,
        channels=st.integers(1, 3),
        height=st.sampled_from([1, 2, 5, 6, 8]),
        width=st.sampled_from([1, 4, 6, 7]),
        classes=st.just(3),
        scales=st.integers(1, 3),
        blocks=st.integers(1, 3),
        hidden=st.integers(1, 5),
        contraction=st.floats(0.1, 0.9),
    ),
    seed=st.integers(0, 1000),
    near=st.sampled_from([1e-3, 0.1, 1.0]),
)
def test_distances_keep_to_the_bounds(shape: Shape, seed: int, near: float) -> None:
    made = network(shape, seed).double()
    low, high = made.lipschitz_bounds()
    least, most = (1 - shape.contraction) ** shape.depth, (1 + shape.contraction) ** shape.depth
    assert least * (1 - 1e-9) <= low <= high <= most * (1 + 1e-9)
    one = pictures(6, shape, seed).double()
    other = one + near * (pictures(6, shape, seed + 1).double() - one)
    away = (one - other).flatten(1).norm(dim=1)
    with torch.no_grad():
        apart = (made.encode(one) - made.encode(other)).norm(dim=1)
    assert (apart >= low * away * (1 - 1e-9)).all()
    assert (apart <= high * away * (1 + 1e-9)).all()
    found = made.decode(made.encode(one))
    assert (found.images - one).abs().max() < 1e-9
    # What is reported of an inverse bounds how far it can be off.
    assert ((found.images - one).flatten(1).norm(dim=1) <= found.residual / low + 1e-12).all()


def test_a_thousand_pairs_keep_to_the_bounds_and_come_back() -> None:
    shape = Shape(1, 8, 8, 10, scales=2, blocks=2, hidden=8)
    made = network(shape)
    low, high = made.lipschitz_bounds()
    one, other = pictures(1000, shape, 1), pictures(1000, shape, 2)
    away = (one - other).flatten(1).norm(dim=1)
    with torch.no_grad():
        apart = (made.encode(one) - made.encode(other)).norm(dim=1)
    assert (apart / away).min() >= low
    assert (apart / away).max() <= high
    found = made.decode(made.encode(one))
    assert (found.images - one).abs().max() < 1e-4
    assert (found.residual < 1e-4).all()
    assert (found.rounds >= shape.depth).all()


def test_a_picture_comes_back_the_same_whoever_came_with_it() -> None:
    shape = Shape(2, 6, 6, 3, blocks=2, hidden=4)
    made = network(shape).double()
    latents = made.encode(pictures(5, shape).double()).detach()
    together, alone = made.decode(latents), made.decode(latents[2:3])
    torch.testing.assert_close(together.images[2], alone.images[0], atol=1e-13, rtol=0)
    assert together.rounds[2] == alone.rounds[0]


def test_too_few_rounds_are_told_by_the_residual() -> None:
    shape = Shape(1, 6, 6, 3, scales=1, blocks=2, hidden=4)
    made = network(shape)
    image = pictures(3, shape)
    latents = made.encode(image).detach()
    rough = made.decode(latents, 2)
    assert (rough.residual > 1e-3).all()
    assert (rough.rounds == 4).all()
    with torch.no_grad():
        expected = (made.encode(rough.images) - latents).norm(dim=1)
    torch.testing.assert_close(rough.residual, expected)


def test_evaluation_writes_nothing_and_training_follows_the_norm() -> None:
    made = network(Shape(1, 6, 6, 3, hidden=4))
    image = pictures(3, made.shape)
    before = copy.deepcopy(made.state_dict())
    made(image)
    made.decode(made.encode(image).detach())
    made.train()
    with frozen(made):
        made(image)
    for name, value in made.state_dict().items():
        assert torch.equal(value, before[name]), name
    made(image)
    assert any(not torch.equal(v, before[n]) for n, v in made.state_dict().items())


def test_any_size_is_squeezed_as_far_as_it_goes() -> None:
    assert [*Shape(1, 28, 28, 10, scales=3).steps()] == [
        (4, (14, 14), 2), (16, (7, 7), 2), (784, (1, 1), 7)
    ]  # fmt: skip
    assert [*Shape(3, 9, 6, 2).steps()] == [(27, (3, 2), 3), (27, (3, 2), 1)]
    for shape in (Shape(3, 5, 7, 4, hidden=3), Shape(3, 32, 32, 10, hidden=3, blocks=1)):
        made = network(shape)
        image = pictures(2, shape)
        assert made(image).shape == (2, shape.classes)
        back = made.decode(made.encode(image).detach()).images
        assert (back - image).abs().max() < 1e-4


def test_behind_its_preprocessing() -> None:
    shape = Shape(3, 4, 4, 3, scales=1, blocks=2, hidden=4)
    module = network(shape)
    assert (fs.Classifier(module).channels, fs.Classifier(module).input_size) == (3, (4, 4))
    model = fs.Classifier(
        module, mean=[0.4, 0.5, 0.6], std=[0.2, 0.5, 0.25], input_size=4, channel_order="bgr"
    )
    image = pictures(5, shape)
    latents = latents_of(model, image)
    torch.testing.assert_close(module.head(latents), model(image))
    assert (pictures_of(model, latents).images - image).abs().max() < 1e-4
    (low, high), own = bounds_of(model), module.lipschitz_bounds()
    assert (low, high) == (pytest.approx(own[0] / 0.5), pytest.approx(own[1] / 0.2))
    apart = torch.cdist(latents, latents)
    away = torch.cdist(image.flatten(1), image.flatten(1))
    assert (apart <= high * away + 1e-5).all()
    assert (apart >= low * away - 1e-5).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"channels": 0}, "channels is 0; expected a whole number from 1"),
        ({"classes": 1}, "classes is 1; expected a whole number from 2"),
        ({"height": 2.0}, "height is 2.0"),
        ({"blocks": True}, "blocks is True"),
        ({"contraction": 1.0}, "contraction is 1.0; expected a number above 0 and below 1"),
        ({"height": 1024, "width": 1024, "classes": 90_000}, "weights; expected at most"),
        ({"hidden": 10**9}, "hidden is 1000000000"),
    ],
)
def test_a_shape_that_makes_no_network_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(fs.FluoroscopeError, match=said):
        Shape(**{"channels": 1, "height": 4, "width": 4, "classes": 3} | changes)  # type: ignore[arg-type]


def test_pictures_and_latents_that_do_not_fit_are_refused() -> None:
    made = network(Shape(1, 4, 4, 3, hidden=2))
    model = fs.Classifier(made, channels=1)
    with pytest.raises(fs.FluoroscopeError, match=r"expected \(N, 1, 4, 4\), the size of this"):
        latents_of(model, torch.rand(2, 1, 6, 6))
    with pytest.raises(
        fs.FluoroscopeError, match=r"latents have shape \(2, 15\); expected \(N, 16"
    ):
        made.decode(torch.rand(2, 15))
    with pytest.raises(fs.FluoroscopeError, match="digits-cnn is a Sequential, which has none"):
        pictures_of(fs.load_model("digits-cnn"), torch.rand(1, 784))
    twice = fs.Ensemble([model, model])
    with pytest.raises(fs.FluoroscopeError, match="which has none"):
        latents_of(twice, torch.rand(1, 1, 4, 4))
