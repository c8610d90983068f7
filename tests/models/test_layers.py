"""A network's layers: listed, traced and tapped, and nothing left behind."""

from collections import namedtuple
from collections.abc import Callable
from threading import Thread

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.layers import Layer, list_layers, outputs_of, tapped, traced

IMAGES = torch.rand(3, 1, 6, 4, generator=torch.Generator().manual_seed(0))
Two = namedtuple("Two", "maps more")


class Pair(nn.Module):
    def forward(self, x: Tensor, *, times: Tensor) -> Two:
        return Two(x * times, 3)


class Words(nn.Module):
    def forward(self, x: Tensor) -> str:
        return "no tensor"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.spare = nn.Linear(2, 2)
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True))
        self.words, self.pair = Words(), Pair()
        self.head = nn.Linear(72, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        self.words(x)
        x = self.body[1](x - 0.1)
        made = self.pair(x, times=torch.full((), 2.0))
        assert isinstance(made, Two)
        return self.head(made.maps.flatten(1))


@pytest.fixture
def model() -> fs.Classifier:
    return fs.Classifier(Net().train(), channels=1)


def no_hooks(model: fs.Classifier) -> bool:
    return not any(part._forward_hooks for part in model.module.modules())


def test_layers_with_what_they_give_out_and_how_often(model: fs.Classifier) -> None:
    assert list_layers(model, IMAGES) == (
        Layer("spare", "Linear", 0, None),
        Layer("body", "Sequential", 1, (3, 6, 4)),
        Layer("body.0", "Conv2d", 1, (3, 6, 4)),
        Layer("body.1", "ReLU", 2, (3, 6, 4)),
        Layer("words", "Words", 0, None),
        Layer("pair", "Pair", 1, (3, 6, 4)),
        Layer("head", "Linear", 1, (5,)),
    )
    assert no_hooks(model)
    assert all(part.training for part in model.module.modules())


def test_scripted_layers_are_left_out(model: fs.Classifier) -> None:
    net = model.module
    assert isinstance(net, Net)
    net.body[0] = torch.jit.script(net.body[0])
    assert "body.0" not in [layer.name for layer in list_layers(model, IMAGES)]
    with pytest.raises(InvalidParameterError, match="scripted, so nothing can be done at it"):
        tapped(model, "body.0").__enter__()


def test_a_trace_knows_whose_output_was_given(model: fs.Classifier) -> None:
    with torch.no_grad(), traced(model) as uses:
        model(IMAGES)
        model(IMAGES)  # no longer counts
    assert [(use.name, use.call) for use in uses] == [
        ("body.0", 0), ("body.1", 0), ("body", 0), ("body.1", 1), ("pair", 0), ("head", 0),
    ]  # fmt: skip
    one, two, three = uses[:3]
    assert two.given[0] is one.output is two.output is three.output  # it worked in place
    assert [len(use.given) for use in uses] == [1, 1, 1, 1, 2, 1]


def test_what_is_tapped_is_what_the_layer_gave_out(model: fs.Classifier) -> None:
    net = model.module
    assert isinstance(net, Net)
    with torch.no_grad(), tapped(model, "body.0") as kept, tapped(model, "pair") as pairs:
        logits = model(IMAGES)
    assert torch.equal(kept[0], net.body[0](IMAGES))
    assert bool((kept[0] < 0).any())
    assert pairs[0].shape == (3, 3, 6, 4)
    assert torch.equal(logits, model(IMAGES))
    assert outputs_of(kept, "body.0", 3, model) == kept
    assert no_hooks(model)


@pytest.mark.parametrize("cut", [False, True])
def test_a_graph_may_begin_at_the_layer(model: fs.Classifier, cut: bool) -> None:
    pixels = IMAGES.clone().requires_grad_()
    with tapped(model, "body", cut=cut) as kept:
        logits = model(pixels)
    assert kept[0].is_leaf == cut
    slopes = torch.autograd.grad(logits.sum(), [pixels, kept[0]], allow_unused=True)
    assert (slopes[0] is None) == cut
    assert slopes[1] is not None


@pytest.mark.parametrize("watching", [tapped, traced])
def test_other_threads_and_exceptions(
    model: fs.Classifier, watching: Callable[..., object]
) -> None:
    given = ("body",) if watching is tapped else ()

    def inside() -> list[object]:
        with watching(model, *given) as kept:  # type: ignore[attr-defined]
            other = Thread(target=model, args=(IMAGES,))
            other.start()
            other.join()
            assert kept == []
            raise KeyError
        return kept

    with pytest.raises(KeyError):
        inside()
    assert no_hooks(model)


def test_what_is_no_batch_is_refused(model: fs.Classifier) -> None:
    refuse = pytest.raises(
        InvalidParameterError, match=r"'x' of Net gave out \(2, 5\) for 3 images"
    )
    with refuse:
        outputs_of([torch.zeros(2, 5)], "x", 3, model)
    with pytest.raises(InvalidParameterError, match="'x' of Net was not used"):
        outputs_of([], "x", 3, model)
    with pytest.raises(InvalidParameterError, match=r"gave out \(3,\)"):
        outputs_of([torch.zeros(3)], "x", 3, model)
