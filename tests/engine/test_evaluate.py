"""The one evaluation: exact for each sample, without underflow, under any grad mode."""

import pytest
import torch
from torch import Tensor, nn

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import (
    CROSS_ENTROPY,
    LOG_PROBABILITY,
    LOGIT,
    MARGIN,
    PROBABILITY,
    leads,
)
from fluoroscope.errors import ModelOutputError, NoGradientError
from fluoroscope.models.classifier import Classifier


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
    )


@pytest.fixture
def model() -> Classifier:
    return Classifier(small_network(), channels=1, input_size=6)


@pytest.fixture
def linear() -> tuple[Classifier, Tensor]:
    torch.manual_seed(1)
    layer = nn.Linear(9, 4)
    return Classifier(nn.Sequential(nn.Flatten(), layer), channels=1), layer.weight.detach()


def test_gradient_of_softmax_regression_is_its_closed_form(
    linear: tuple[Classifier, Tensor],
) -> None:
    model, weight = linear
    images, classes = torch.rand(6, 1, 3, 3), torch.tensor([0, 1, 2, 3, 0, 1])
    answer = evaluate(model, images, classes, LOG_PROBABILITY, gradient=True)
    onehot = nn.functional.one_hot(classes, 4)
    expected = (onehot - answer.logits.softmax(1)) @ weight
    assert answer.gradient is not None
    torch.testing.assert_close(answer.gradient.flatten(1), expected, atol=1e-6, rtol=1e-5)


def test_gradients_in_a_batch_are_those_of_each_sample_alone(model: Classifier) -> None:
    images, classes = torch.rand(7, 1, 6, 6), torch.arange(7) % 5
    together = evaluate(model, images, classes, CROSS_ENTROPY, gradient=True).gradient
    assert together is not None
    for index in range(7):
        alone = evaluate(
            model, images[index : index + 1], classes[index : index + 1], CROSS_ENTROPY,
            gradient=True,
        ).gradient  # fmt: skip
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("towards", [-1.0, 1.0])
@pytest.mark.parametrize("gradient", [True, False])
def test_several_gradients_are_the_rows_of_the_jacobian(
    model: Classifier, towards: float, gradient: bool
) -> None:
    images, classes = torch.rand(4, 1, 6, 6), torch.tensor([0, 1, 2, 3])
    several = leads(3, torch.full((4,), towards))
    answer = evaluate(model, images, classes, MARGIN, gradient=gradient, several=several)
    assert answer.several is not None
    assert answer.jacobian is not None
    assert (answer.gradient is None) != gradient

    def one(image: Tensor, row: int) -> Tensor:
        with model.held():
            logits = model(image[None])[0]
        own = logits[classes[row]]
        rivals = torch.cat([logits[: classes[row]], logits[classes[row] + 1 :]])
        over = rivals.sort(descending=True).values[:3] - own
        return over if towards < 0 else -over[:1].expand(3)

    for row in range(4):
        torch.testing.assert_close(answer.several[row].float(), one(images[row], row).detach())
        jacobian = torch.autograd.functional.jacobian(lambda x, row=row: one(x, row), images[row])
        torch.testing.assert_close(answer.jacobian[row], jacobian, atol=1e-6, rtol=1e-4)
    if gradient:
        alone = evaluate(model, images, classes, MARGIN, gradient=True)
        assert torch.equal(answer.gradient, alone.gradient)


@pytest.mark.parametrize("exponent", [-20, -30, -60])
def test_a_tiny_probability_still_points_the_right_way(
    linear: tuple[Classifier, Tensor], exponent: int
) -> None:
    model, weight = linear
    with torch.no_grad():
        model.module[1].bias.copy_(torch.tensor([0, 0, 0, exponent * 2.302585]))
    image, wanted = torch.zeros(1, 1, 3, 3), torch.tensor([3])
    answer = evaluate(model, image, wanted, PROBABILITY, gradient=True)
    log_slope = weight[3] - weight[:3].mean(0)
    assert answer.gradient is not None
    slope = answer.gradient.flatten()
    cosine = torch.cosine_similarity(slope.double() * 1e30, log_slope.double(), dim=0)
    assert cosine.item() > 0.999999
    if exponent >= -30:
        torch.testing.assert_close(slope, log_slope * 10.0**exponent / 3, rtol=1e-3, atol=0)


def test_a_saturated_loss_still_points_the_right_way(linear: tuple[Classifier, Tensor]) -> None:
    model, weight = linear
    with torch.no_grad():
        model.module[1].bias.copy_(torch.tensor([100.0, 0, 0, 0]))
    image, own = torch.zeros(1, 1, 3, 3), torch.tensor([0])
    slope = evaluate(model, image, own, CROSS_ENTROPY, gradient=True).gradient
    assert slope is not None
    expected = weight[1:].mean(0) - weight[0]
    assert torch.cosine_similarity(slope.flatten() * 1e30, expected, dim=0).item() > 0.9999


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_grad_mode_of_the_caller_gives_the_same(model: Classifier, mode: type) -> None:
    classes = torch.tensor([0, 1])
    with mode():
        images = torch.full((2, 1, 6, 6), 0.5)
        inside = evaluate(model, images, classes, LOGIT, gradient=True)
    outside = evaluate(model, torch.full((2, 1, 6, 6), 0.5), classes, LOGIT, gradient=True)
    assert torch.equal(inside.gradient, outside.gradient)
    assert not inside.gradient.requires_grad
    assert not inside.logits.requires_grad


def test_images_are_left_alone(model: Classifier) -> None:
    images = torch.rand(2, 1, 6, 6, requires_grad=True)
    before = images.detach().clone()
    evaluate(model, images, torch.tensor([0, 1]), LOGIT, gradient=True)
    assert images.grad is None
    assert torch.equal(images, before)


def test_nan_logits_are_named() -> None:
    class NanWhereBlack(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x == 0, torch.nan, x).flatten(1)

    images = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    model = Classifier(NanWhereBlack(), channels=1)
    with pytest.raises(ModelOutputError, match="for 1 of 2 image"):
        evaluate(model, images)


def test_a_cut_gradient_is_named() -> None:
    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach().flatten(1)

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.answer.expand(len(x), 3) * 1.0

    for module in (Cut(), Constant()):
        with pytest.raises(NoGradientError, match="do not depend differentiably"):
            evaluate(
                Classifier(module, channels=1), torch.rand(1, 1, 2, 2), torch.tensor([0]), LOGIT,
                gradient=True,
            )  # fmt: skip


def test_thread_count_is_restored(model: Classifier) -> None:
    threads = torch.get_num_threads()
    evaluate(model, torch.rand(1, 1, 6, 6))
    assert torch.get_num_threads() == threads
