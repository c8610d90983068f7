"""Objectives that read layers: values and gradients by hand, at inputs and outputs, no trace."""

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.errors import FluoroscopeError


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(144, 5),
    )


CONV, NORM = Place("0"), Place("1", given=True)


def _terms(seen: Seen) -> Tensor:
    own = seen.logits.gather(1, seen.classes[:, None])[:, 0]
    over = seen.outputs[NORM].mean((0, 2, 3)).square().sum()  # of all images together
    return torch.stack([own, 0.3 * seen.outputs[CONV].square().flatten(1).sum(1).double(),
                        -over.double().expand(len(own)) / len(own)], 1)  # fmt: skip


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_values_and_gradient_are_those_of_one_graph(kind: torch.dtype) -> None:
    module = _network().to(kind)
    model = fs.Classifier(module, channels=3)
    images, classes = torch.rand(6, 3, 8, 8, dtype=kind), torch.arange(6) % 5
    answer = evaluate(model, images, classes, Inside("three", (CONV, NORM), _terms), gradient=True)
    pixels = images.clone().requires_grad_()
    module.eval()
    conv = module[0](pixels)
    logits = module[1:](conv.clone())
    seen = Seen(logits.double(), classes, {CONV: conv, NORM: conv})
    expected = _terms(seen)
    (slope,) = torch.autograd.grad(expected.sum(), pixels)
    assert answer.terms is not None
    assert answer.gradient is not None
    assert answer.objective is not None
    torch.testing.assert_close(answer.terms, expected.detach())
    torch.testing.assert_close(answer.objective, expected.detach().double().sum(1))
    torch.testing.assert_close(answer.gradient, slope, rtol=1e-4, atol=1e-5)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module)


def test_of_logits_alone_it_is_the_objective() -> None:
    model = fs.load_model("digits-cnn")
    images, classes = torch.rand(4, 1, 28, 28), torch.tensor([1, 2, 3, 4])
    inside = Inside("logit", (), lambda seen: seen.logits.gather(1, seen.classes[:, None]))
    found = evaluate(model, images, classes, inside, gradient=True)
    known = evaluate(model, images, classes, fs.engine.objectives.LOGIT, gradient=True)
    torch.testing.assert_close(found.gradient, known.gradient)
    torch.testing.assert_close(found.objective, known.objective)


def test_a_layer_that_is_not_there_is_named() -> None:
    model = fs.Classifier(_network(), channels=3)
    inside = Inside("none", (Place("9"),), lambda seen: seen.logits[:, :1])
    with pytest.raises(FluoroscopeError, match="layer is '9'"):
        evaluate(model, torch.rand(1, 3, 8, 8), torch.tensor([0]), inside)
