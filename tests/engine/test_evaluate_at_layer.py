"""What the one evaluation says of a layer: its output, and the gradient there if there is one."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.objectives import LOGIT, PROBABILITY
from fluoroscope.engine.stream import Query, Samples, feed, stream
from fluoroscope.errors import InvalidParameterError, NoGradientError

IMAGES = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 2, 1, 2])


class Net(nn.Module):
    """A layer that is used three times, one whose output goes nowhere, one that is never used."""

    def __init__(self, before: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = before
        self.first, self.again = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 1)
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(48, 3)
        self.lost, self.spare, self.pair = nn.Linear(48, 2), nn.Identity(), Pair()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(self.before(x)))
        for _ in range(3):
            x = self.again(x).sin()
        x = x.flatten(1)
        self.lost(x)
        return self.head(self.pair(x)[0])


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return 2 * x, 3


@pytest.fixture
def model() -> fs.Classifier:
    return fs.Classifier(Net(), channels=1, input_size=6)


def ask(model: fs.Classifier, layer: str, **options: object) -> Answer:
    given = {"objective": LOGIT, "gradient": True, **options}
    return evaluate(model, IMAGES, CLASSES, layer=layer, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [0, 1, 2, None])
def test_each_use_of_a_layer(model: fs.Classifier, call: int | None) -> None:
    net = model.module
    assert isinstance(net, Net)
    answer = ask(model, "again", call=call)
    x, seen = net.first(IMAGES).relu(), []
    for _ in range(3):
        seen.append(net.again(x))
        x = seen[-1].sin()
    at = seen[2 if call is None else call]
    logits = net.head(2 * x.flatten(1))
    (slope,) = torch.autograd.grad(logits.gather(1, CLASSES[:, None]).sum(), at)
    assert answer.activation is not None
    assert answer.activation_gradient is not None
    torch.testing.assert_close(answer.activation, at.detach())
    torch.testing.assert_close(answer.activation_gradient, slope)
    assert answer.gradient is None
    assert not answer.activation.requires_grad
    torch.testing.assert_close(answer.logits, logits.detach())
    with pytest.raises(InvalidParameterError, match="used 3 times in a pass; expected 0 to 2"):
        ask(model, "again", call=3)


def test_the_first_of_a_tuple_and_what_comes_behind_goes_on(model: fs.Classifier) -> None:
    answer = ask(model, "pair")
    assert answer.activation is not None
    torch.testing.assert_close(answer.logits, model(IMAGES).detach())
    net = model.module
    assert isinstance(net, Net)
    torch.testing.assert_close(answer.activation_gradient, net.head.weight[CLASSES].detach())


def test_an_objective_of_its_own_and_none(model: fs.Classifier) -> None:
    answer = ask(model, "pair", objective=PROBABILITY)
    plain = evaluate(model, IMAGES, CLASSES, PROBABILITY)
    assert torch.equal(answer.objective, plain.objective)  # type: ignore[arg-type]
    bare = evaluate(model, IMAGES, layer="first")
    assert bare.activation is not None
    assert bare.activation.shape == (4, 3, 4, 4)
    assert bare.activation_gradient is bare.objective is None


def test_a_layer_that_the_logits_do_not_depend_on(model: fs.Classifier) -> None:
    with pytest.raises(
        NoGradientError, match=r"do not depend differentiably on what its layer 'lost' gives out"
    ):
        ask(model, "lost")
    with pytest.raises(InvalidParameterError, match="'spare' of Net was not used"):
        ask(model, "spare")
    with pytest.raises(InvalidParameterError, match="did you mean first"):
        ask(model, "frist")
    assert not any(part._forward_hooks for part in model.module.modules())


def test_what_lies_before_the_layer_need_not_be_differentiable() -> None:
    model = fs.Classifier(Net(lambda x: (8 * x).round().detach() / 8), channels=1, input_size=6)
    with pytest.raises(NoGradientError, match="on the pixels"):
        evaluate(model, IMAGES, CLASSES, LOGIT, gradient=True)
    found = ask(model, "first").activation_gradient
    assert found is not None
    assert bool((found.flatten(1).abs().amax(1) > 0).all())


def test_the_graph_begins_at_the_layer(model: fs.Classifier) -> None:
    seen: list[bool] = []
    hook = model.module.get_submodule("first").register_forward_hook(
        lambda layer, given, out: seen.append(out.requires_grad)
    )
    ask(model, "again")
    hook.remove()
    assert not any(seen[1:])  # the first look asks for a gradient at the pixels


def test_slopes_that_are_not_finite_are_taken_a_hair_further() -> None:
    class Root(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.again(self.first(x)).abs().sqrt().flatten(1))

    net = Root()
    with torch.no_grad():
        net.first.bias.zero_()
        net.again.bias.zero_()
    model = fs.Classifier(net, channels=1, input_size=6)
    images = IMAGES.clone()
    images[1] = 0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        answer = evaluate(model, images, CLASSES, LOGIT, gradient=True, layer="again")
    assert answer.mended
    assert answer.activation_gradient is not None
    assert bool(answer.activation_gradient.isfinite().all())
    assert bool((answer.activation_gradient[1] != 0).any())
    assert answer.not_finite is not None
    assert answer.not_finite.tolist() == [0, 48, 0, 0]
    assert any("not finite" in str(one.message) or "NaN" in str(one.message) for one in told)


@pytest.mark.parametrize("size", [1, 3, 4])
def test_a_network_that_takes_but_one_number_of_pictures(size: int) -> None:
    class Picky(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.reshape(size, 1, 6, 6))

    model, plain = (fs.Classifier(made, channels=1, input_size=6) for made in (Picky(), Net()))
    one, other = ask(model, "again"), ask(plain, "again")
    for name in ("activation", "activation_gradient", "logits"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name))
    assert model.batch_size == size


def test_wrapped_networks_have_their_layers_by_longer_names() -> None:
    inner = fs.Classifier(Net(), channels=1, input_size=6)
    ensemble = fs.Ensemble([inner, fs.Classifier(Net(torch.sin), channels=1, input_size=6)])
    with pytest.raises(InvalidParameterError, match=r"did you mean networks\.0\.first"):
        ask(ensemble, "first")
    found, alone = ask(ensemble, "networks.0.first"), ask(inner, "first")
    torch.testing.assert_close(found.activation, alone.activation)
    torch.testing.assert_close(found.activation_gradient, alone.activation_gradient / 2)  # type: ignore[operator]
    expected = fs.EOT(inner, samples=2)
    torch.testing.assert_close(ask(expected, "network.first").activation, alone.activation)
    same = fs.prepare(inner).plain
    torch.testing.assert_close(ask(same, "first").activation, alone.activation)


def test_inside_inference_mode(model: fs.Classifier) -> None:
    expected = ask(model, "first").activation_gradient
    with torch.inference_mode():
        found = evaluate(
            model, IMAGES.clone(), CLASSES.clone(), LOGIT, gradient=True, layer="first"
        )
    assert torch.equal(found.activation_gradient, expected)  # type: ignore[arg-type]


def test_half_precision_keeps_small_slopes(model: fs.Classifier) -> None:
    net = model.module
    assert isinstance(net, Net)
    with torch.no_grad():
        net.head.bias.copy_(torch.tensor([0.0, -25.0, 0.0]))
    sure = torch.ones(4, dtype=torch.long)
    slopes = [
        evaluate(each, IMAGES, sure, PROBABILITY, gradient=True, layer="first").activation_gradient
        for each in (model, model.to(dtype=torch.float16))
    ]
    assert slopes[1] is not None
    assert slopes[1].dtype == torch.float32
    torch.testing.assert_close(slopes[1], slopes[0], rtol=0.1, atol=1e-14)
    assert 0 < float(slopes[1].abs().max()) < 1e-7  # less than float16 has a number for


@dataclass(frozen=True)
class Told:
    """The state of a search that asks once about a layer."""

    samples: Samples
    done: Tensor


class Once:
    def start(self, samples: Samples) -> Told:
        return Told(samples, torch.zeros_like(samples.indices, dtype=torch.bool))

    def ask(self, state: Told) -> Query:
        return Query(state.samples.images, True, LOGIT, state.samples.classes, layer="first")

    def tell(self, state: Told, answer: Answer) -> Told:
        return Told(state.samples, ~state.done)


def test_memory_that_runs_out_halves_the_batch(model: fs.Classifier) -> None:
    def full(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if len(given[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    expected = ask(model, "first").activation_gradient
    hook = model.module.get_submodule("head").register_forward_pre_hook(full)
    found = torch.zeros(4, 3, 4, 4)
    with pytest.warns(fs.FluoroscopeWarning, match="memory ran out with 4 images at once"):
        steps = list(stream(model, Once(), feed(IMAGES, CLASSES)))
    hook.remove()
    for step in steps:
        assert len(step.indices) <= 2
        assert step.answer.activation_gradient is not None
        found[step.indices] = step.answer.activation_gradient
    torch.testing.assert_close(found, expected)
    assert not any(part._forward_hooks for part in model.module.modules())
