"""Adversarial weight perturbation, against a slow version written from the paper."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError
from fluoroscope.training.beside.awp import AdversarialWeightPerturbation
from fluoroscope.training.losses.adversarial import AdversarialLoss, PGDLoss, TRADESLoss
from fluoroscope.training.losses.mart import MARTLoss
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.fitting import cross_entropy, fit
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Moment, summed

IMAGES = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
LABELS = torch.arange(12) % 3
BALL = fs.Linf(0.1)
GAMMA = 0.05
LOSSES: list[AdversarialLoss] = [
    PGDLoss(threat=BALL, steps=3),
    TRADESLoss(threat=BALL, steps=3),
    MARTLoss(threat=BALL, steps=3),
]


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)
        ).double()


class Seen(Running):
    def after(self, module: nn.Module, moment: Moment) -> None:
        self.statistics = {name: value.clone() for name, value in module.named_buffers()}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.method)
def test_the_gradient_is_taken_where_the_loss_is_highest_nearby(loss: AdversarialLoss) -> None:
    module, by_hand = network(), network().train()
    moment = Moment(torch.arange(12), 1, 1.0, 5)

    # The paper's: x' once at w, v = gamma ||w|| g / ||g|| by layer, the gradient at w + v.
    moved = loss.moved(by_hand, IMAGES, LABELS, moment)

    def lowered(net: nn.Module) -> Tensor:
        clean = net(IMAGES) if loss.learns_clean else None
        return summed(loss.terms(clean, net(moved), LABELS))

    slopes = torch.autograd.grad(lowered(by_hand), list(by_hand.parameters()))
    expected = {}
    with torch.no_grad():
        for (name, weight), slope in zip(by_hand.named_parameters(), slopes, strict=True):
            expected[name] = weight.clone()
            if name in ("0.weight", "4.weight"):
                length = sum(float(w) ** 2 for w in weight.flatten()) ** 0.5
                steep = sum(float(g) ** 2 for g in slope.flatten()) ** 0.5
                weight += GAMMA * length / steep * slope
    there = torch.autograd.grad(lowered(by_hand), list(by_hand.parameters()))

    found: dict[str, Tensor] = {}
    for name, weight in module.named_parameters():
        weight.register_post_accumulate_grad_hook(
            lambda w, name=name: found.update({name: w.grad.clone()})  # type: ignore[misc]
        )
    seen = Seen()
    # One batch of all, in the order they are drawn; the loss is a mean, so the order is no matter.
    fit(
        module, IMAGES, LABELS, Recipe(1, 12, learning_rate=0.01), seed=5, loss=loss,
        beside=[AdversarialWeightPerturbation(GAMMA), seen],
    )  # fmt: skip
    for (name, weight), slope in zip(module.named_parameters(), there, strict=True):
        torch.testing.assert_close(found[name], slope, rtol=1e-7, atol=1e-12, msg=name)
        # Adam's first step, from the weights as they were.
        step = 0.01 * slope / (slope.abs() + 1e-8)
        torch.testing.assert_close(weight, expected[name] - step, rtol=1e-6, atol=1e-8, msg=name)
    # What was learnt from is seen once by the batch norm, not twice.
    assert int(seen.statistics["1.num_batches_tracked"]) == (2 if loss.learns_clean else 1)


def gradient_within(companion: Running, module: nn.Module) -> tuple[Tensor, Tensor]:
    """The convolution's weights inside the perturbation, and the gradient there."""
    moment = Moment(torch.arange(12), 2, 1.0, 5)

    def lowered() -> Tensor:
        return cross_entropy(module, IMAGES, LABELS)[0]

    with companion.perturbed(module, lowered, moment):
        weight: Any = module[0].weight  # type: ignore[index]
        (slope,) = torch.autograd.grad(lowered(), [weight])
        return weight.detach().clone(), slope


def test_the_weights_come_back_to_the_bit() -> None:
    module = network().float().train()
    images = IMAGES.float()
    module[0].weight.data.mul_(1e-3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    companion = AdversarialWeightPerturbation(0.3).begin(module, 3)
    moment = Moment(torch.arange(12), 1, 1.0, 5)

    def lowered() -> Tensor:
        return cross_entropy(module, images, LABELS)[0]

    class BrokenError(Exception):
        pass

    def broken() -> None:
        with companion.perturbed(module, lowered, moment):
            distance = (module[0].weight - before["0.weight"]).norm()
            torch.testing.assert_close(distance, 0.3 * before["0.weight"].norm())
            assert torch.equal(module[1].weight, before["1.weight"])  # of one dimension
            assert torch.equal(module[4].bias, before["4.bias"])
            raise BrokenError

    with pytest.raises(BrokenError):
        broken()
    after = module.state_dict()
    for name, value in before.items():
        if "num_batches" not in name and "running" not in name:
            assert torch.equal(after[name], value)
    assert all(weight.grad is None for weight in module.parameters())


def test_it_raises_the_loss_and_changes_the_gradient() -> None:
    module = network().train()
    start, plain = gradient_within(Running(), module)
    moved, there = gradient_within(AdversarialWeightPerturbation(GAMMA).begin(module, 3), module)
    assert not torch.equal(moved, start)
    assert not torch.allclose(there, plain, rtol=1e-3)
    waiting = AdversarialWeightPerturbation(GAMMA, warm_up=2).begin(module, 3)
    assert torch.equal(gradient_within(waiting, module)[0], start)


def test_passes_are_one_forward_and_one_backward_more() -> None:
    def passes(beside: list[AdversarialWeightPerturbation]) -> tuple[int, int]:
        module, forward, backward = network(), [], []
        module.register_forward_hook(lambda *_: forward.append(1))
        module[4].register_full_backward_hook(lambda *_: backward.append(1))
        loss = PGDLoss(threat=BALL, steps=3)
        fit(module, IMAGES, LABELS, Recipe(1, 12), loss=loss, beside=beside)
        return len(forward), len(backward)

    one, other = passes([]), passes([AdversarialWeightPerturbation(GAMMA)])
    assert other == (one[0] + 1, one[1] + 1)


@pytest.mark.parametrize("options", [{"gamma": 0.0}, {"gamma": float("nan")}, {"warm_up": -1}])
def test_settings_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match=rf"{next(iter(options))} is .*; expected"):
        AdversarialWeightPerturbation(**options)
