"""A layer's output beside the logits, and logits alone for whoever judges."""

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import Objective
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.wrappers.features import Features

IMAGES = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """A layer used twice, one that works in place, one that gives out a pair, one never used."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.cut = nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True)
        self.twice, self.head = nn.Linear(80, 80), nn.Linear(80, 4)
        self.pair, self.spare = nn.GRU(80, 80, batch_first=True), nn.Identity()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.cut(self.first(x)).flatten(1)
        x = self.twice(self.twice(x).tanh())
        return {"logits": self.head(self.pair(x[:, None])[0][:, 0])}


@pytest.fixture
def model() -> fs.Classifier:
    return fs.Classifier(Network().train(), input_size=6, mean=(0.4, 0.5, 0.6))


def test_logits_come_first_and_then_what_the_layer_gave_out(model: fs.Classifier) -> None:
    module = model.module
    assert isinstance(module, Network)
    before = module.first(model.preprocessing.normalize(IMAGES))
    once = module.twice(before.relu().flatten(1))
    for layer, expected in (("first", before.flatten(1)), ("twice", module.twice(once.tanh()))):
        features = Features(model, layer)
        answer = features(IMAGES)
        assert torch.equal(answer[:, :4], model(IMAGES))
        torch.testing.assert_close(answer[:, 4:], expected)
    assert (before < 0).any()  # what works in place afterwards has not reached it
    squares = Features(model, "first", lambda output: output.square().sum((1, 2, 3))[:, None])
    torch.testing.assert_close(squares(IMAGES)[:, 4], before.square().sum((1, 2, 3)))


def test_the_engine_tells_logits_and_shows_the_objective_everything(model: fs.Classifier) -> None:
    features, classes = Features(model, "first"), torch.tensor([0, 1, 2, 3])
    objective = Objective("features", lambda z, c: z[:, 4:].square().sum(1) + z[:, 0])
    answer = evaluate(features, IMAGES, classes, objective, gradient=True)
    assert torch.equal(answer.logits, model(IMAGES))
    assert torch.equal(evaluate(features, IMAGES).logits, model(IMAGES))
    assert answer.objective is not None
    assert answer.gradient is not None
    pixels = IMAGES.clone().requires_grad_()
    columns = features(pixels)
    value = columns[:, 4:].square().sum(1) + columns[:, 0]
    (expected,) = torch.autograd.grad(value.sum(), pixels)
    torch.testing.assert_close(answer.objective.float(), value)
    torch.testing.assert_close(answer.gradient, expected)
    both = evaluate(
        features, IMAGES, classes, objective, several=lambda z, _: z[:, [0, -1]], gradient=True
    )
    assert both.several is not None
    torch.testing.assert_close(both.several.float(), columns[:, [0, -1]])
    assert both.logits.shape == (4, 4)


def test_the_plain_network_judges_and_nothing_is_left_on_it(model: fs.Classifier) -> None:
    attributes = [sorted(vars(part)) for part in model.module.modules()]
    features = Features(model, "first")
    evaluate(features, IMAGES)
    assert features.plain is model
    assert features.num_classes == features.logits_first == 4
    assert model.logits_first is None
    assert [sorted(vars(part)) for part in model.module.modules()] == attributes
    assert all(not p._forward_hooks and p.training for p in model.module.modules())
    with torch.no_grad():
        model.module.get_submodule("first").get_parameter("weight").mul_(2)
    assert torch.equal(features(IMAGES)[:, :4], model(IMAGES))
    assert features.fingerprint() not in (model.fingerprint(), Features(model, "cut").fingerprint())
    assert features.to(dtype=torch.float64)(IMAGES.double()).dtype == torch.float64


def test_a_layer_that_is_not_there_or_gives_no_tensor_is_said(model: fs.Classifier) -> None:
    with pytest.raises(InvalidParameterError, match=r"does not have; did you mean first\?"):
        Features(model, "frist")
    names = "expected one of first, cut, twice, head, pair, spare"
    with pytest.raises(InvalidParameterError, match=names):
        Features(model, "")
    with pytest.raises(InvalidParameterError, match="'spare' of Network was not used"):
        Features(model, "spare")(IMAGES)
    assert Features(model, "pair")(IMAGES).shape == (4, 4 + 80)  # of several the first
