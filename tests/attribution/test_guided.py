"""Guided backpropagation and deconvolution, held against slow loops written from the papers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution.rules.guided import EXTENDED
from fluoroscope.attribution.rules.table import TABLE
from tests.attribution.zoo import RELU, specimen, toy

METHODS = ("guided-backprop", "deconvolution")
SPELLINGS = (
    "relu-module",
    "relu-function",
    "relu-of-torch",
    "relu-method-in-place",
    "relu-function-in-place",
    "relu-modules-in-place",
    "reused-relu",
    "clamp-at-zero",
)
ACTIVATIONS = {
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "leaky-relu": lambda x: F.leaky_relu(x, 0.1),
    "elu": F.elu,
    "mish": F.mish,
    "softplus": F.softplus,
    "hardtanh": F.hardtanh,
}


def slow(layers: list[nn.Module], image: Tensor, number: int, method: str) -> Tensor:
    """Layer by layer as the papers say; an activation is anything without weights."""
    seen = [image[None]]
    with torch.no_grad():
        for layer in layers:
            seen.append(layer(seen[-1]))
    signal = torch.zeros_like(seen[-1])
    signal[0, number] = 1
    for layer, given in zip(reversed(layers), reversed(seen[:-1]), strict=True):
        activation = isinstance(layer, Plain)
        if activation:
            signal = signal.clamp(min=0)
        if activation and method == "deconvolution":
            continue
        given = given.clone().requires_grad_()
        (signal,) = torch.autograd.grad(layer(given), given, signal)
    return signal[0]


class Plain(nn.Module):
    """An activation out of place."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)  # type: ignore[operator,no-any-return]


def layers_of(module: nn.Module, activation: object) -> list[nn.Module]:
    """The layers of a toy of two activations, with out-of-place ones in their stead."""
    weighty = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    *stem, first, second, head = weighty
    return [*stem, first, Plain(activation), second, Plain(activation), nn.Flatten(), head]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_a_relu_is_the_papers(name: str, method: str) -> None:
    case = toy(name)
    found = fs.attribute(case.model, case.images, [0, 1, 2], method=method)
    layers = layers_of(case.model.module, F.relu)
    for row in range(3):
        expected = slow(layers, case.images[row], row, method)
        torch.testing.assert_close(found.maps[row], expected)
    plain = fs.attribute(case.model, case.images, [0, 1, 2]).maps
    assert (found.maps - plain).abs().amax() > 0.1 * plain.abs().amax()
    handled = found.record["coverage"]["handled"]
    assert sum(handled.values()) == 2
    assert not found.record["coverage"]["extended"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_took_the_relus_place_is_an_extension_and_named(name: str, method: str) -> None:
    case = toy(name)
    found = fs.attribute(case.model, case.images, [0, 1, 2], method=method)
    layers = layers_of(case.model.module, ACTIVATIONS[name])
    for row in range(3):
        torch.testing.assert_close(found.maps[row], slow(layers, case.images[row], row, method))
    coverage = found.record["coverage"]
    assert coverage["extended"] == coverage["handled"] == {name.replace("-", "_"): 2}


@pytest.mark.parametrize("name", ["max-pool-after-relu", "max-pool-before-relu"])
def test_pools_send_back_to_the_maximum(name: str) -> None:
    case = toy(name)
    first, head = (p for p in case.model.module.modules() if isinstance(p, nn.Conv2d | nn.Linear))
    between: list[nn.Module] = [Plain(F.relu), nn.MaxPool2d(2)]
    if name == "max-pool-before-relu":
        between.reverse()
    for method in METHODS:
        found = fs.attribute(case.model, case.images[:1], 1, method=method)
        layers = [first, *between, nn.Flatten(), head]
        torch.testing.assert_close(found.maps[0], slow(layers, case.images[0], 1, method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*RELU, "torchvision:squeezenet1_1"])
def test_a_map_is_the_same_alone_among_others_and_again(name: str, method: str) -> None:
    case = specimen(name) if ":" in name else toy(name)
    both = fs.attribute(case.model, case.images, 1, method=method)
    kept = both.maps.clone()
    again = fs.attribute(case.model, case.images, 1, method=method)
    alone = fs.attribute(case.model, case.images, 1, method=method, batch_size=1)
    assert torch.equal(both.maps, again.maps)
    assert torch.equal(both.maps, kept)
    torch.testing.assert_close(
        both.maps, alone.maps, rtol=1e-4, atol=1e-5 * float(kept.abs().max())
    )


def test_other_clamps_are_no_relus() -> None:
    case = toy("clamp")
    found = fs.attribute(case.model, case.images, 1, method="guided-backprop")
    torch.testing.assert_close(found.maps, fs.attribute(case.model, case.images, 1).maps)
    assert found.record["coverage"]["missed"] == {"clamp": 2}


def test_a_clamp_at_another_number_is_no_relu_either() -> None:
    module = nn.Sequential(
        nn.Flatten(), Plain(lambda x: (x - 0.5).clamp(min=-0.2)), nn.Linear(4, 2)
    )
    model, images = fs.Classifier(module, channels=1, input_size=2), torch.rand(3, 1, 2, 2)
    found = fs.attribute(model, images, 1, method="guided-backprop")
    assert torch.equal(found.maps, fs.attribute(model, images, 1).maps)
    assert found.record["coverage"]["missed"] == {"clamp": 1}


def test_the_table_names_no_other_extension() -> None:
    lines = {name for name, line in TABLE.items() if line.guided is not None}
    assert lines == {name for name, line in TABLE.items() if line.deconvolution is not None}
    assert lines - EXTENDED == {"relu", "clamp", "clamp_min"}


def test_captum_agrees_on_separate_relus() -> None:
    """Where every ReLU is a module of its own; there it is right."""
    attr = pytest.importorskip("captum.attr")
    case = toy("max-pool-after-relu")
    layers = [p for p in case.model.module.modules() if isinstance(p, nn.Conv2d | nn.Linear)]
    module = nn.Sequential(layers[0], nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), layers[1])
    for method, peer in zip(METHODS, (attr.GuidedBackprop, attr.Deconvolution), strict=True):
        found = fs.attribute(module, case.images, 1, method=method)
        expected = peer(module).attribute(case.images.clone().requires_grad_(), target=1)
        torch.testing.assert_close(found.maps, expected.detach())
