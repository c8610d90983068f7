"""A unit's share in a decision: it adds up to the logit, and goes back to the pixels."""

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.neurons.answers.relevance import (
    GRADIENT_WAY,
    LRP_WAY,
    relevance,
    relevance_map,
    unit_relevance,
)


class Branches(nn.Module):
    """A layer that is used twice, a skip, an activation that works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu(self.again(x)) + x
        x = self.relu(self.again(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def model() -> fs.Classifier:
    return fs.Classifier(Branches().eval(), channels=1, input_size=8)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 1, 8, 8)


@pytest.mark.parametrize("layer", ["stem", "norm", "again", "head"])
def test_the_units_of_a_layer_that_all_passes_share_out_the_logit(
    model: fs.Classifier, images: Tensor, layer: str
) -> None:
    found = unit_relevance(model, images, [0, 1, 2, 0, 1], layer)
    logits = model(images).detach()[torch.arange(5), [0, 1, 2, 0, 1]]
    torch.testing.assert_close(found.total.float(), logits)
    torch.testing.assert_close(found.values.sum(1), logits, rtol=1e-4, atol=1e-5)
    assert found.way == LRP_WAY
    assert found.notes == ()
    assert found.values.shape == (5, found.units.count)


def test_of_the_last_layer_it_is_the_logit_itself(model: fs.Classifier, images: Tensor) -> None:
    found = unit_relevance(model, images, 2, "head")
    logits = model(images).detach()
    torch.testing.assert_close(found.values[:, 2], logits[:, 2])
    assert not found.values[:, :2].any()


def test_activation_times_gradient_is_what_autograd_says(
    model: fs.Classifier, images: Tensor
) -> None:
    kept = []
    hook = model.module.again.register_forward_hook(lambda *given: kept.append(given[2].clone()))
    model(images.requires_grad_())
    hook.remove()
    first = kept[0].detach().requires_grad_()
    network = model.module
    before = network.relu(network.norm(network.stem(images.detach())))
    x = torch.relu(first) + before.detach()
    logits = network.head(torch.relu(network.again(x)).mean((2, 3)))
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), first)
    found = unit_relevance(model, images.detach(), 1, "again", call=0, way=GRADIENT_WAY)
    torch.testing.assert_close(found.values, (first * gradient).sum((2, 3)).detach())


def test_each_use_of_a_layer_has_its_own(model: fs.Classifier, images: Tensor) -> None:
    last, second, first = (relevance(model, images, 0, "again", call=call) for call in (None, 1, 0))
    assert torch.equal(last, second)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("layer", ["norm", "again"])
def test_the_maps_of_all_units_add_up_to_the_map_of_the_decision(
    model: fs.Classifier, images: Tensor, layer: str
) -> None:
    shares = relevance(model, images, 1, layer)
    maps = torch.stack(
        [relevance_map(model, images, 1, layer, unit) for unit in range(shares.shape[1])], 1
    )
    assert maps.shape == (5, 4, 1, 8, 8)
    torch.testing.assert_close(maps.flatten(2).sum(2), shares, rtol=1e-3, atol=1e-5)
    whole = fs.attribute(model, images, 1, method="lrp").maps
    torch.testing.assert_close(maps.sum(1), whole, rtol=1e-3, atol=1e-5)


def test_a_map_of_one_unit_each(model: fs.Classifier, images: Tensor) -> None:
    both = relevance_map(model, images[:2], [0, 2], "again", [3, 1])
    torch.testing.assert_close(both[0], relevance_map(model, images[:1], 0, "again", 3)[0])
    torch.testing.assert_close(both[1], relevance_map(model, images[1:2], 2, "again", 1)[0])
    first = relevance_map(model, images, 0, "again", 2, call=0)
    share = relevance(model, images, 0, "again", call=0)[:, 2]
    torch.testing.assert_close(first.flatten(1).sum(1), share, rtol=1e-3, atol=1e-5)


def test_a_set_of_pictures_in_batches_is_the_same(model: fs.Classifier, images: Tensor) -> None:
    found = fs.load_images(images, labels=[0] * 5)
    told: list[float] = []
    many = unit_relevance(model, found, None, "again", batch_size=2, on_share=told.append)
    one = unit_relevance(model, images, None, "again")
    torch.testing.assert_close(many.values, one.values)
    assert many.classes.tolist() == model(images).argmax(1).tolist()
    assert told == [0.4, 0.8, 1.0]
    assert many.ranking()[0] == many.shares.abs().mean(0).argmax()


def test_where_no_rule_reaches_activation_times_gradient_is_taken_and_said(
    images: Tensor,
) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(1, 4, 3)
            self.head = torch.jit.script(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x))

    model = fs.Classifier(Half().eval(), channels=1, input_size=8)
    found = unit_relevance(model, images, 0, "body")
    assert found.way == GRADIENT_WAY
    assert "scripted" in found.notes[0]
    with pytest.raises(fs.FluoroscopeError, match="scripted"):
        unit_relevance(model, images, 0, "body", way=LRP_WAY)


def test_what_hands_the_picture_on_has_no_rules_of_its_own(images: Tensor) -> None:
    network = nn.Sequential(nn.Identity(), nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3))
    model = fs.Classifier(network.eval(), channels=1, input_size=8)
    found = unit_relevance(model, images, 0, "0")
    assert found.way == GRADIENT_WAY
    assert "picture as it is" in found.notes[0]
    assert unit_relevance(model, images, 0, "1").way == LRP_WAY


def test_refusals(model: fs.Classifier, images: Tensor) -> None:
    for given, said in [
        ({"layer": "agian"}, "did you mean again"),
        ({"layer": "again", "call": 2}, "call is 2"),
        ({"layer": "again", "way": "shap"}, "way is 'shap'"),
    ]:
        with pytest.raises(fs.FluoroscopeError, match=said):
            unit_relevance(model, images, 0, **given)
    with pytest.raises(fs.FluoroscopeError, match="unit is 4"):
        relevance_map(model, images, 0, "again", 4)
    with pytest.raises(fs.FluoroscopeError, match="2 units for 5 pictures"):
        relevance_map(model, images, 0, "again", [1, 2])
