"""Fitting: it learns, the same way each time, and leaves everything else as it was."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, ModelOutputError
from fluoroscope.training.trainer.classification import accuracy
from fluoroscope.training.trainer.fitting import cross_entropy, fit, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import FitStep, Moment

LABELS = torch.arange(60) % 2
# Class 0 has its ink in the left half, class 1 in the right one.
IMAGES = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.5
IMAGES[LABELS == 0, :, :, :2] += 0.4
IMAGES[LABELS == 1, :, :, 2:] += 0.4
SHORT = Recipe(epochs=2, batch_size=16)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)
        )


def noisy(images: Tensor, labels: Tensor) -> Tensor:
    return (images + 0.1 * torch.randn_like(images)).clamp(0, 1)


def weights_after(seed: int) -> Tensor:
    module = network()
    fit(module, IMAGES, LABELS, Recipe(epochs=2, batch_size=16, augment=noisy), seed=seed)
    return nn.utils.parameters_to_vector(module.parameters()).detach()


def test_loss_falls_and_accuracy_rises() -> None:
    module = network()
    recipe = Recipe(epochs=20, batch_size=16, learning_rate=0.01)
    steps = list(fit_stream(module, IMAGES, LABELS, recipe))
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert accuracy(module, IMAGES, LABELS) == 1
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert len(steps) == recipe.steps(60) == 20 * 4


def test_first_step_is_adam_on_the_mean_cross_entropy() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    before = module[1].weight.detach().clone()
    pixels = IMAGES.double().flatten(1)
    probabilities = (pixels @ before.T + module[1].bias.detach()).softmax(1)
    slope = (probabilities - nn.functional.one_hot(LABELS, 2)).T @ pixels / 60
    fit(module, IMAGES, LABELS, Recipe(1, 60, learning_rate=0.01, weight_decay=0.1))
    # Adam's first step divides the gradient by its own size.
    expected = before * (1 - 0.01 * 0.1) - 0.01 * slope / (slope.abs() + 1e-8)
    torch.testing.assert_close(module[1].weight.detach(), expected)


def test_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(epochs=10, batch_size=15, learning_rate=0.02)
    rates = [step.learning_rate for step in fit_stream(network(), IMAGES, LABELS, recipe)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0.019 < max(rates) <= 0.02
    assert 0 < rates[-1] < 0.0001


def test_same_seed_same_weights_whatever_else_is_drawn() -> None:
    torch.manual_seed(1)
    first = weights_after(seed=5)
    torch.manual_seed(2)
    assert torch.equal(weights_after(seed=5), first)
    assert not torch.equal(weights_after(seed=6), first)


def test_random_state_is_untouched_at_every_step() -> None:
    before = torch.get_rng_state()
    for _ in fit_stream(network(), IMAGES, LABELS, Recipe(1, 16, augment=noisy)):
        assert torch.equal(torch.get_rng_state(), before)


def test_modes_and_gradients_are_as_found_at_every_step() -> None:
    module = network().train()
    module[3].eval()
    modes = [part.training for part in module.modules()]
    seen: list[list[bool]] = []
    module.register_forward_hook(
        lambda *_: seen.append([part.training for part in module.modules()])
    )
    for _ in fit_stream(module, IMAGES, LABELS, SHORT, held_out=(IMAGES, LABELS)):
        assert [part.training for part in module.modules()] == modes
        assert all(weight.grad is None for weight in module.parameters())
    assert [True] * len(modes) in seen  # it learnt in training mode
    assert [False] * len(modes) in seen  # and was judged in evaluation mode


def with_norm() -> nn.Sequential:
    norm = nn.Sequential(nn.BatchNorm1d(8), nn.ReLU())
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), norm, nn.Linear(8, 2))


@pytest.mark.parametrize(("frozen", "learnt"), [("norm", False), ("all", True), ("none", True)])
def test_a_norm_that_was_frozen_alone_keeps_its_statistics(frozen: str, learnt: bool) -> None:
    module = with_norm().train()
    norm = module[2][0]  # type: ignore[index]
    {"norm": norm.eval, "all": module.eval, "none": module.train}[frozen]()
    before = norm.running_mean.clone(), norm.weight.detach().clone()
    fit(module, IMAGES, LABELS, SHORT)
    assert torch.equal(norm.running_mean, before[0]) is not learnt
    assert int(norm.num_batches_tracked) == (8 if learnt else 0)
    assert not torch.equal(norm.weight, before[1])
    assert norm.training is (frozen == "none")


def test_mode_and_random_state_are_restored_when_a_step_fails() -> None:
    def failing(images: Tensor, labels: Tensor) -> Tensor:
        torch.rand(1)
        raise ZeroDivisionError

    module, before = network().eval(), torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        fit(module, IMAGES, LABELS, Recipe(augment=failing))
    assert not any(part.training for part in module.modules())
    assert torch.equal(torch.get_rng_state(), before)


def test_stopping_early_keeps_what_was_learnt() -> None:
    module = network()
    before = nn.utils.parameters_to_vector(module.parameters()).detach().clone()
    steps = fit_stream(module, IMAGES, LABELS, SHORT)
    next(steps)
    del steps
    assert not torch.equal(nn.utils.parameters_to_vector(module.parameters()), before)


def test_frozen_weights_stay() -> None:
    module = network()
    module[1].requires_grad_(False)
    before = module[1].weight.clone()
    fit(module, IMAGES, LABELS, SHORT)
    assert torch.equal(module[1].weight, before)
    assert not module[1].weight.requires_grad


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode])
def test_learns_the_same_where_gradients_are_off(surroundings: Callable[[], Any]) -> None:
    plain, inside = network(), network()
    fit(plain, IMAGES, LABELS, SHORT)
    with surroundings():
        fit(inside, IMAGES.clone(), LABELS.clone(), SHORT)
    assert torch.equal(plain[1].weight, inside[1].weight)


def test_held_out_pictures_are_judged_after_each_epoch() -> None:
    module = network()
    judged = {}
    for step in fit_stream(module, IMAGES[:50], LABELS[:50], SHORT, held_out=(IMAGES, LABELS)):
        if step.held_out is not None:
            judged[step.number] = step.held_out
            assert step.held_out == accuracy(module, IMAGES, LABELS)
    assert list(judged) == [4, 8]


def test_eight_bit_images_are_scaled() -> None:
    bytes_ = (IMAGES * 255).round().to(torch.uint8)
    first, second = network(), network()
    fit(first, bytes_, LABELS, SHORT)
    fit(second, bytes_ / 255, LABELS, SHORT)
    assert torch.equal(first[1].weight, second[1].weight)
    assert accuracy(first, bytes_, LABELS) == accuracy(first, bytes_ / 255, LABELS)


def test_another_loss_can_be_lowered() -> None:
    batches = []

    def doubled(
        module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        batches.append(len(images))
        value, logits = cross_entropy(module, images, labels)
        return 2 * value, logits

    plain: FitStep = fit(network(), IMAGES, LABELS, Recipe(1, 60))
    twice = fit(network(), IMAGES, LABELS, Recipe(1, 60), loss=doubled)
    assert batches == [60]
    assert twice.loss == pytest.approx(2 * plain.loss)


@pytest.mark.parametrize(
    "as_given",
    [
        lambda labels: labels.tolist(),
        lambda labels: labels.numpy(),
        lambda labels: [str(label) for label in labels.tolist()],
        lambda labels: torch.eye(2)[labels],
    ],
)
def test_labels_in_other_forms_teach_the_same(as_given: Any) -> None:
    one, other = network(), network()
    recipe = Recipe(epochs=1, batch_size=16)
    plain = fit(one, IMAGES, LABELS, recipe, held_out=(IMAGES, LABELS))
    given = as_given(LABELS)
    found = fit(other, IMAGES, given, recipe, held_out=(IMAGES, given))
    assert (found.loss, found.held_out) == (plain.loss, plain.held_out)


def test_a_last_picture_alone_joins_the_batch_before() -> None:
    recipe = Recipe(epochs=3, batch_size=16)
    assert [len(batch) for batch in recipe.batches(torch.arange(33))] == [16, 17]
    assert [len(batch) for batch in recipe.batches(torch.arange(34))] == [16, 16, 2]
    assert [len(batch) for batch in recipe.batches(torch.arange(1))] == [1]
    assert torch.cat(recipe.batches(torch.arange(33))).tolist() == list(range(33))
    assert recipe.steps(33) == 6
    assert Recipe(epochs=1, batch_size=1).steps(3) == 3
    norm = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    fit(norm, IMAGES[:33], LABELS[:33], replace(recipe, epochs=1))
    with pytest.raises(InvalidParameterError, match=r"of 1 picture.*a larger batch_size"):
        fit(norm, IMAGES[:3], LABELS[:3], Recipe(epochs=1, batch_size=1))


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (IMAGES[0], LABELS[:1], r"of shape \(1, 4, 4\); expected a tensor \(N, C, H, W\)"),
        (IMAGES * 255, LABELS, "divide 8-bit values by 255"),
        (IMAGES[:0], LABELS[:0], "no pixels"),
        (IMAGES.repeat(1, 1, 2, 2), LABELS, "does not take images of shape"),
        (IMAGES.numpy(), LABELS, "a ndarray"),
    ],
)
def test_images_that_do_not_fit(images: Any, labels: Tensor, says: str) -> None:
    with pytest.raises(InvalidImagesError, match=says):
        fit(network(), images, labels)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (LABELS[:5], r"one for each picture"),
        (LABELS.float(), "whole numbers"),
        (LABELS + 1, "labels go from 1 to 2; the network has 2 classes"),
        (LABELS - 1, "labels go from -1 to 0"),
    ],
)
def test_labels_that_do_not_fit(labels: Tensor, says: str) -> None:
    with pytest.raises(InvalidParameterError, match=says):
        fit(network(), IMAGES, labels)
    with pytest.raises(InvalidParameterError, match=says):
        fit(network(), IMAGES, LABELS, held_out=(IMAGES, labels))


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
    ],
)
def test_recipes_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match=rf"{next(iter(options))} is .*; expected"):
        Recipe(**options)


def test_networks_that_cannot_be_trained() -> None:
    with pytest.raises(InvalidParameterError, match="trainable"):
        fit(network().requires_grad_(False), IMAGES, LABELS)
    with pytest.raises(InvalidParameterError, match=r"\.module"):
        fit(fs.Classifier(network(), channels=1), IMAGES, LABELS)  # type: ignore[arg-type]
    with pytest.raises(ModelOutputError, match="of shape"):
        fit(nn.Conv2d(1, 2, 3), IMAGES, LABELS)


def test_a_loss_that_overflows_stops_before_it_spoils_the_weights() -> None:
    module = network()
    with torch.no_grad():
        module[4].weight.fill_(torch.inf)
    before = module[1].weight.detach().clone()
    # No rate was used yet, so none is to blame.
    with pytest.raises(InvalidParameterError, match="nothing was learnt yet, so look for what"):
        fit(module, IMAGES, LABELS)
    assert torch.equal(module[1].weight, before)


def test_threes_and_sevens(shared: Path) -> None:
    digits = fs.load_images(shared / "data" / "mnist", "train", channels=1).take(4000)
    (batch,) = digits.batches(4000)
    assert batch.labels is not None
    chosen = (batch.labels == 3) | (batch.labels == 7)
    images, labels = batch.images[chosen], (batch.labels[chosen] == 7).long()
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    fit(module, images[:600], labels[:600], Recipe(epochs=10, batch_size=32))
    assert accuracy(module, images[600:], labels[600:]) > 0.96
