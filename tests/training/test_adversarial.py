"""The losses of adversarial training, against slow versions written from the papers."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.gradient.gradient_sign import PGD
from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.training.losses.adversarial import (
    AdversarialLoss,
    FGSMLoss,
    PGDLoss,
    TRADESLoss,
)
from fluoroscope.training.losses.by_name import adversarial_loss
from fluoroscope.training.trainer.fitting import cross_entropy, fit, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Moment, named_terms

EPS = 0.2
BALL = fs.Linf(EPS)
LOSSES: list[AdversarialLoss] = [
    FGSMLoss(threat=BALL),
    PGDLoss(threat=BALL, steps=3),
    TRADESLoss(threat=BALL, steps=3),
]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.method)

IMAGES = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
LABELS = torch.arange(6) % 3
INDICES = torch.tensor([40, 2, 77, 5, 13, 21])
MOMENT = Moment(INDICES, epoch=2, share=1.0, seed=9)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        # Smooth, so that no gradient sits on a kink.
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3)).double()
    with torch.no_grad():
        net[1].weight.mul_(3)
        net[3].weight.mul_(3)
    return net


def layered() -> nn.Sequential:
    """With the layers that know two modes."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(16, 3),
        ).double()  # fmt: skip


def gradients(module: nn.Module, value: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, list(module.parameters())))


def lowered(loss: AdversarialLoss, module: nn.Module) -> tuple[Tensor, Tensor]:
    """The sum of the terms, and the logits of the moved images."""
    terms, logits = loss(module, IMAGES, LABELS, MOMENT)
    return torch.stack(list(named_terms(terms).values())).sum(), logits


def moved_by(loss: AdversarialLoss, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
    """The images on which the loss's own logits were computed: those of its last pass."""
    module, seen = network().train(), []
    module.register_forward_hook(
        lambda part, given, _: seen.append(given[0]) if part.training else None
    )
    loss(module, images, labels, moment)
    return seen[-1].detach()


def slow_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    terms = [-row.softmax(0)[label].log() for row, label in zip(logits, labels, strict=True)]
    return torch.stack(terms).mean()


def slow_ascent(start: Tensor, centre: Tensor, size: float, steps: int, rise: Any) -> Tensor:
    x = start
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(rise(x), x)
        x = x + size * slope.sign()
        x = torch.minimum(torch.maximum(x, centre - EPS), centre + EPS).clamp(0, 1)
    return x.detach()


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL of probabilities, summed over the rows."""
    return (p * (p / q).log()).sum()


def test_fgsm_is_goodfellows_mixture() -> None:
    net = network()
    value, logits = lowered(FGSMLoss(threat=BALL, alpha=0.3), net)
    x = IMAGES.clone().requires_grad_()
    (slope,) = torch.autograd.grad(slow_cross_entropy(net(x), LABELS), x)
    moved = (IMAGES + EPS * slope.sign()).clamp(0, 1)
    expected = 0.3 * slow_cross_entropy(net(IMAGES), LABELS)
    expected = expected + 0.7 * slow_cross_entropy(net(moved), LABELS)
    torch.testing.assert_close(logits, net(moved))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients(net, value), gradients(net, expected))


@pytest.mark.parametrize("step_size", [None, 0.03])
def test_pgd_is_madrys_saddle_point(step_size: float | None) -> None:
    net = network()
    value, logits = lowered(PGDLoss(threat=BALL, steps=4, step_size=step_size), net)
    noise = randomness.uniform(randomness.keys(9, INDICES, 2), 0, (1, 4, 4)).double()
    start = (IMAGES + EPS * (2 * noise - 1)).clamp(0, 1)
    size = step_size or 2.5 * EPS / 4
    moved = slow_ascent(start, IMAGES, size, 4, lambda x: slow_cross_entropy(net(x), LABELS))
    expected = slow_cross_entropy(net(moved), LABELS)
    torch.testing.assert_close(logits, net(moved))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients(net, value), gradients(net, expected))


def test_trades_is_cross_entropy_and_divergence() -> None:
    net = network()
    value, logits = lowered(TRADESLoss(threat=BALL, steps=4, beta=2.5), net)
    noise = randomness.normal(randomness.keys(9, INDICES, 2), 0, (1, 4, 4)).double()
    start = (IMAGES + 0.001 * noise).clamp(0, 1)
    fixed = net(IMAGES).softmax(1).detach()
    moved = slow_ascent(
        start, IMAGES, 2.5 * EPS / 4, 4, lambda x: divergence(fixed, net(x).softmax(1))
    )
    # Both sides of the divergence are learnt.
    expected = slow_cross_entropy(net(IMAGES), LABELS)
    expected = expected + 2.5 * divergence(net(IMAGES).softmax(1), net(moved).softmax(1)) / 6
    torch.testing.assert_close(logits, net(moved))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients(net, value), gradients(net, expected))


def test_trades_beta_is_six() -> None:
    assert TRADESLoss(threat=BALL).beta == 6


@pytest.mark.parametrize(
    "loss", [FGSMLoss(threat=BALL, alpha=1.0), TRADESLoss(threat=BALL, beta=0.0)]
)
def test_without_the_moved_part_it_is_cross_entropy(loss: AdversarialLoss) -> None:
    net = network()
    value, _ = lowered(loss, net)
    expected, _ = cross_entropy(net, IMAGES, LABELS)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients(net, value), gradients(net, expected))


@settings(max_examples=25)
@given(
    method=st.sampled_from(LOSSES),
    eps=st.floats(0.01, 0.6),
    euclidean=st.booleans(),
    seed=st.integers(0, 100),
)
def test_moved_pictures_lie_in_the_ball_and_the_box(
    method: AdversarialLoss, eps: float, euclidean: bool, seed: int
) -> None:
    threat = fs.L2(eps) if euclidean else fs.Linf(eps)
    images = (IMAGES * 1.6 - 0.3).clamp(0, 1)  # some at the walls
    moved = moved_by(replace(method, threat=threat), images, LABELS, replace(MOMENT, seed=seed))
    assert moved.min() >= 0
    assert moved.max() <= 1
    size = threat.distance(moved - images)
    assert (size <= eps * (1 + 1e-5) + 1e-6).all()
    assert (size > 0.2 * min(eps, 0.3)).all()


@every_loss
def test_moved_pictures_are_worse(loss: AdversarialLoss) -> None:
    net = network()
    clean, _ = cross_entropy(net, IMAGES, LABELS)
    _, logits = loss(net, IMAGES, LABELS, MOMENT)
    assert nn.functional.cross_entropy(logits, LABELS) > clean


@every_loss
def test_the_radius_grows_over_the_ramp(loss: AdversarialLoss) -> None:
    for share, expected in ((0.1, 0.25), (0.2, 0.5), (0.4, 1.0), (1.0, 1.0)):
        images = IMAGES * 0.4 + 0.3  # far from the walls
        moved = moved_by(replace(loss, ramp=0.4), images, LABELS, replace(MOMENT, share=share))
        assert float((moved - images).abs().max()) == pytest.approx(EPS * expected, rel=1e-4)


def test_the_step_grows_with_the_radius() -> None:
    loss = TRADESLoss(threat=BALL, steps=1, step_size=0.1, ramp=1.0)
    images = IMAGES * 0.4 + 0.3
    for share in (0.6, 1.0):
        moved = moved_by(loss, images, LABELS, replace(MOMENT, share=share))
        # TRADES begins within a few thousandths of the picture.
        assert float((moved - images).abs().median()) == pytest.approx(0.1 * share, abs=0.005)


@every_loss
def test_chance_belongs_to_the_sample(loss: AdversarialLoss) -> None:
    whole = moved_by(loss, IMAGES, LABELS, MOMENT)
    torch.manual_seed(8)
    alone = moved_by(loss, IMAGES[3:4], LABELS[3:4], replace(MOMENT, indices=INDICES[3:4]))
    torch.testing.assert_close(alone, whole[3:4])


def test_chance_changes_with_epoch_seed_and_sample() -> None:
    loss = PGDLoss(threat=BALL, steps=1, step_size=0.01)
    same = IMAGES[:1].repeat(2, 1, 1, 1)
    pair = replace(MOMENT, indices=torch.tensor([3, 4]))
    first = moved_by(loss, same, LABELS[:1].repeat(2), pair)
    assert not torch.equal(first[0], first[1])
    for other in (replace(pair, epoch=3), replace(pair, seed=1)):
        assert not torch.equal(moved_by(loss, same, LABELS[:1].repeat(2), other), first)


@every_loss
@pytest.mark.parametrize("training", [True, False])
def test_modes_gradients_and_chance_stay_as_found(loss: AdversarialLoss, training: bool) -> None:
    net = layered().train(training)
    net[4].eval()
    net[0].bias.requires_grad_(False)  # type: ignore[union-attr]
    modes = [part.training for part in net.modules()]
    wanting = [weight.requires_grad for weight in net.parameters()]
    before = torch.get_rng_state()
    loss(net, IMAGES, LABELS, MOMENT)
    assert [part.training for part in net.modules()] == modes
    assert [weight.requires_grad for weight in net.parameters()] == wanting
    assert all(weight.grad is None for weight in net.parameters())
    assert torch.equal(torch.get_rng_state(), before)


@every_loss
def test_the_search_is_in_evaluation_mode(loss: AdversarialLoss) -> None:
    net = layered().train()
    modes: list[bool] = []
    net[4].register_forward_hook(lambda part, *_: modes.append(part.training))
    loss(net, IMAGES, LABELS, MOMENT)
    learnt = 1 if loss.method == "pgd" else 2
    assert modes[-learnt:] == [True] * learnt
    assert not any(modes[:-learnt])
    # Only what is learnt from reaches the running statistics.
    assert int(net[1].num_batches_tracked) == learnt  # type: ignore[arg-type]


def toy() -> tuple[Tensor, Tensor]:
    """One strong pixel that is right four times in five, and fifteen faint ones always right."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(400) % 2
    signs = (2.0 * labels - 1).view(-1, 1)
    strong = torch.where(torch.rand(400, 1, generator=generator) < 0.8, signs, -signs)
    pixels = torch.cat([0.5 + 0.3 * strong, 0.5 + 0.09 * signs.expand(-1, 15)], 1)
    return pixels.view(400, 1, 4, 4), labels


@pytest.mark.parametrize("method", ["fgsm", "pgd", "trades"])
def test_it_hardens(method: str) -> None:
    """Faint features that an attack can turn round are given up for the strong one."""
    images, labels = toy()
    shares = {}
    for name, loss in (("plain", cross_entropy), (method, adversarial_loss(method, 0.1))):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        fit(module, images, labels, Recipe(20, 50, learning_rate=0.2), loss=loss)
        attack = PGD(threat=fs.Linf(0.1), steps=10)
        found = attack(fs.Classifier(module, channels=1), images, labels)
        shares[name] = 1 - found.success.double().mean().item()
    assert shares["plain"] < 0.5
    assert shares[method] > 0.75


def test_fit_gives_the_loss_its_moment() -> None:
    images, labels = toy()
    moments: list[Moment] = []

    def watching(
        module: nn.Module, batch: Tensor, classes: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        assert torch.equal(batch, images[moment.indices])
        assert torch.equal(classes, labels[moment.indices])
        moments.append(moment)
        return cross_entropy(module, batch, classes)

    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    list(fit_stream(module, images, labels, Recipe(2, 100), seed=6, loss=watching))
    assert [moment.epoch for moment in moments] == [1] * 4 + [2] * 4
    assert [moment.share for moment in moments] == [k / 8 for k in range(1, 9)]
    assert {moment.seed for moment in moments} == {6}
    for epoch in (moments[:4], moments[4:]):
        assert torch.equal(torch.cat([m.indices for m in epoch]).sort().values, torch.arange(400))


def test_by_name() -> None:
    assert adversarial_loss("pgd", "8/255") == PGDLoss(threat=fs.Linf("8/255"))
    assert adversarial_loss("trades", 0.3, steps=4, ramp=0.2) == TRADESLoss(
        threat=fs.Linf(0.3), steps=4, ramp=0.2
    )
    described = adversarial_loss("fgsm", 0.25).describe()
    assert described == {"method": "fgsm", "norm": "linf", "eps": 0.25, "ramp": 0.0, "alpha": 0.5}


@pytest.mark.parametrize(
    ("method", "eps", "options", "says"),
    [
        ("pdg", 0.3, {}, r"did you mean 'pgd'\? expected fgsm or pgd or trades or mart"),
        ("pgd", None, {}, "eps is missing"),
        ("pgd", 0, {}, r"eps is 0.0; expected a number above 0"),
        ("pgd", math.inf, {}, "eps is inf"),
        ("pgd", "much", {}, "eps is 'much'"),
        ("pgd", 0.3, {"steps": 0}, "steps is 0"),
        ("fgsm", 0.3, {"steps": 7}, "fgsm makes one"),
        ("trades", 0.3, {"ramp": 1.5}, "ramp is 1.5; expected a share"),
    ],
)
def test_settings_that_make_no_sense(
    method: str, eps: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidParameterError, match=says):
        adversarial_loss(method, eps, **options)


def test_weights_of_the_parts_out_of_range() -> None:
    with pytest.raises(InvalidParameterError, match="alpha is 2"):
        FGSMLoss(threat=BALL, alpha=2)
    with pytest.raises(InvalidParameterError, match="beta is -1"):
        TRADESLoss(threat=BALL, beta=-1)
