"""Networks that forget: every kind of tensor, each from a seed of its own, from both ends."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution.audit.bench import Bench
from fluoroscope.attribution.audit.randomise import Likeness, Stage, insensitive, likeness
from fluoroscope.attribution.audit.subjects import OfFunction
from fluoroscope.gradients.randomised import Order, with_random_weights
from tests.attribution.zoo import toy


class Transformer(nn.Module):
    """One of every kind of tensor, two layers of one shape, and an order of use of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)
        self.second, self.first = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
        self.stem = nn.Conv2d(1, 6, 2, stride=2)
        self.norm = nn.BatchNorm2d(6)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.positions = nn.Parameter(torch.randn(1, 10, 6))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.layer_norm = nn.LayerNorm(6)
        self.register_buffer("table", torch.randn(6))
        with torch.no_grad():
            for norm in (self.norm, self.layer_norm):
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.uniform_(-0.5, 0.5)
            self.attention.in_proj_bias.uniform_(-0.5, 0.5)
            self.attention.out_proj.bias.uniform_(-0.5, 0.5)
            self.norm.running_mean.uniform_(-0.5, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(self.norm(self.stem(x)))).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions + self.table
        y = self.layer_norm(x)
        return self.head((x + self.attention(y, y, y, need_weights=False)[0])[:, 0])


@pytest.fixture(scope="module")
def model() -> fs.Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return fs.Classifier(Transformer().eval(), channels=1, input_size=6)


IMAGES = torch.linspace(0, 1, 4 * 36).view(4, 1, 6, 6).sin()


def changed(model: fs.Classifier, **how: Any) -> set[str]:
    twin = with_random_weights(model, IMAGES, **how).module.state_dict()
    return {
        name
        for name, value in model.module.state_dict().items()
        if value.is_floating_point() and not torch.equal(value, twin[name])
    }


def test_every_kind_of_tensor_is_drawn_anew_and_equal_shapes_differ(model: fs.Classifier) -> None:
    every = {name for name, each in model.module.state_dict().items() if each.is_floating_point()}
    before, drawn = model.fingerprint(), torch.get_rng_state()
    assert changed(model, seed=1) == every
    assert model.fingerprint() == before
    assert torch.equal(drawn, torch.get_rng_state())
    twin = with_random_weights(model, IMAGES, seed=1).module
    assert isinstance(twin, Transformer)
    assert not torch.equal(twin.first.weight, twin.second.weight)


@pytest.mark.parametrize(
    ("order", "share", "with_", "without"),
    [
        ("top-down", 0.3, {"head.weight", "attention.in_proj_weight"}, {"stem.weight", "token"}),
        ("bottom-up", 0.3, {"stem.weight", "token", "positions"}, {"head.weight", "second.weight"}),
        ("bottom-up", 0.6, {"first.weight", "second.weight"}, {"head.weight"}),
    ],
)
def test_layers_go_in_the_order_of_their_use(
    model: fs.Classifier, order: Order, share: float, with_: set[str], without: set[str]
) -> None:
    """The network defines them in another one."""
    found = changed(model, order=order, share=share)
    assert with_ <= found
    assert not without & found
    more = changed(model, order=order, share=share + 0.3)
    assert found < more


def test_a_share_beyond_one_is_refused(model: fs.Classifier) -> None:
    with pytest.raises(fs.FluoroscopeError, match="share is"):
        with_random_weights(model, IMAGES, share=1.5)


def test_stages_draw_the_same_for_the_same_layer(model: fs.Classifier) -> None:
    """So a cascade is one: what was random stays as it was."""
    some = with_random_weights(model, IMAGES, order="top-down", share=0.3).module
    all_ = with_random_weights(model, IMAGES).module
    assert torch.equal(some.head.weight, all_.head.weight)


def bench(name: str = "gelu") -> Bench:
    case = toy(name)
    classes = case.model(case.images).argmax(1)
    return Bench(case.model, case.images, classes, torch.arange(len(classes)), 0)


def test_a_map_that_knows_no_weights_is_told() -> None:
    """And the original is not counted among the stages: a sensitive map has nothing in common."""
    seen, stage = bench(), Stage("bottom-up", 1.0)
    random = with_random_weights(seen.model, seen.images)
    edges = OfFunction("edges", lambda model, images, classes: images)
    same = likeness(edges, seen, stage, random, seen.images)
    assert (same.spearman, same.spearman_abs, same.ssim) == pytest.approx((1.0, 1.0, 1.0))
    assert "where they are large is the picture" in next(insensitive((same,)))
    gradient = OfFunction("g", lambda model, images, classes: fs.attribute(model, images).maps)
    maps = gradient.maps(seen.model, seen.images, seen.classes, seen.numbers, 0).maps
    other = likeness(gradient, seen, stage, random, maps)
    assert other.spearman is not None
    assert abs(other.spearman) < 0.5
    assert not [*insensitive((other,))]


def test_it_is_said_of_which_layers_maps_hardly_depend() -> None:
    found = (
        Likeness("top-down", 0.3, 4, 0.95, 0.97, 0.9),
        Likeness("top-down", 0.6, 4, 0.9, 0.93, 0.9),
        Likeness("bottom-up", 0.3, 4, 0.1, 0.2, 0.1),
        Likeness("bottom-up", 1.0, 4, 0.1, 0.2, 0.1),
    )
    (words,) = insensitive(found)
    assert "hardly depends on the higher layers" in words
    assert "60" in words
    assert "0.93" in words


def test_answers_of_nan_are_a_stage_without_a_number(model: fs.Classifier) -> None:
    broken = model.to()
    with torch.no_grad():
        next(broken.module.parameters()).fill_(torch.nan)
    seen = Bench(model, IMAGES, torch.zeros(4, dtype=torch.long), torch.arange(4), 0)
    gradient = OfFunction("g", lambda one, images, classes: fs.attribute(one, images, classes).maps)
    found = likeness(gradient, seen, Stage("bottom-up", 1.0), broken, IMAGES)
    assert found.spearman is None
    assert "NaN" in found.reason
    assert not [*insensitive((found,))]
