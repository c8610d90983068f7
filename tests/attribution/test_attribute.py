"""The door of attribution methods, held against autograd on its own."""

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution.names import METHODS
from fluoroscope.attribution.registry import method_class


@pytest.fixture(scope="module")
def model() -> fs.Classifier:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 4))
    return fs.Classifier(body, channels=1, input_size=6, mean=[0.4], std=[0.3])


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.linspace(0, 1, 180).view(5, 1, 6, 6).sin().abs()


def slow_gradient(model: fs.Classifier, image: Tensor, slope: Tensor) -> Tensor:
    pixels = image[None].clone().requires_grad_()
    (found,) = torch.autograd.grad((model(pixels)[0] * slope).sum(), pixels)
    return found[0]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_gradients_are_autograds(model: fs.Classifier, images: Tensor, batch_size: int) -> None:
    classes = [0, 3, 1, 2, 0]
    found = fs.attribute(model, images, classes, batch_size=batch_size)
    times = fs.attribute(model, images, classes, method="gradient-x-input", batch_size=batch_size)
    for row, number in enumerate(classes):
        expected = slow_gradient(model, images[row], torch.eye(4)[number])
        torch.testing.assert_close(found.maps[row], expected)
        torch.testing.assert_close(times.maps[row], expected * images[row])
        assert found.values[row] == pytest.approx(model(images)[row, number].item(), rel=1e-5)
    assert found.forwards.tolist() == found.backwards.tolist() == [1] * 5
    assert found.error.isnan().all()


@pytest.mark.parametrize("pair", [(2, 0), ("2", "0"), [(2, 0)] * 5, torch.tensor([[2, 0]] * 5)])
def test_a_pair_is_the_difference_of_two_maps(
    model: fs.Classifier, images: Tensor, pair: object
) -> None:
    found = fs.attribute(model, images, pair)  # type: ignore[arg-type]
    one, other = (fs.attribute(model, images, number).maps for number in (2, 0))
    torch.testing.assert_close(found.maps, one - other)
    assert found.target(0) == "2 rather than 0"


def test_by_default_the_predicted_class(model: fs.Classifier, images: Tensor) -> None:
    winners = fs.predict(model, images).winners
    assert torch.equal(fs.attribute(model, images).targets, winners)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "gradeint"}, "did you mean gradient"),
        ({"method": "gradient", "stepz": 3}, "has no option 'stepz'"),
        ({"classes": (1, 1)}, "pair of the same class"),
        ({"classes": (1, 9)}, "9"),
        ({"numbers": torch.tensor([1])}, "one each"),
        ({"objective": "logits"}, "objective is 'logits'"),
    ],
)
def test_mistakes_are_one_sentence(
    model: fs.Classifier, images: Tensor, given: dict[str, object], words: str
) -> None:
    with pytest.raises(fs.FluoroscopeError, match=words):
        fs.attribute(model, images, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
def test_names_and_classes_agree(name: str) -> None:
    from dataclasses import fields

    kind = method_class(name)
    assert kind.name == name
    assert {field.name for field in fields(kind) if field.init} == METHODS[name].options.keys()
    assert (kind.promise or "none") in METHODS[name].promise


def test_a_layer_is_read_before_what_works_in_place(model: fs.Classifier, images: Tensor) -> None:
    from fluoroscope.engine.evaluate import evaluate
    from fluoroscope.engine.objectives import LOGIT

    classes = torch.tensor([0, 3, 1, 2, 0])
    answer = evaluate(model, images, classes, LOGIT, gradient=True, layer="0")
    body = model.module
    before = body[0]((images - 0.4) / 0.3).detach().requires_grad_()
    logits = body[3](body[2](before.relu()))
    (slope,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), before)
    assert before.min() < 0
    torch.testing.assert_close(answer.activation, before.detach())
    torch.testing.assert_close(answer.activation_gradient, slope)
    assert not body[0]._forward_hooks


def test_how_much_lies_behind_is_told(model: fs.Classifier, images: Tensor) -> None:
    told: list[float] = []
    fs.attribute(model, images, 0, batch_size=2, on_share=told.append)
    assert told == [0.4, 0.8, 1.0]


def test_rows_of_two_that_may_be_one_hot_or_pairs_are_refused(images: Tensor) -> None:
    two = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), channels=1, input_size=6)
    with pytest.raises(fs.FluoroscopeError, match="one-hot or pairs"):
        fs.attribute(two, images, torch.tensor([[1, 0]] * 5))
    one, other = (fs.attribute(two, images, number).maps for number in (1, 0))
    torch.testing.assert_close(fs.attribute(two, images, [(1, 0)] * 5).maps, one - other)
