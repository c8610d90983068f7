"""Momentum: peers pixel for pixel, a slow re-implementation, closed forms, bookkeeping."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_networks import curved, pictures
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.attacks.transfer.momentum import MIFGSM, NIFGSM, VMIFGSM
from fluoroscope.engine import randomness
from fluoroscope.engine.threats import L2, Linf

Reader = tuple[fs.Classifier, Tensor, Tensor]


@pytest.fixture(scope="module")
def double(reader: Reader) -> Reader:
    """In float64, on pictures so far from the box that no point ahead is clamped."""
    model, images, classes = reader
    return model.to(dtype=torch.float64), 0.4 + 0.2 * images[:12].double(), classes[:12]


def network(model: fs.Classifier) -> nn.Module:
    """Images in ``[0, 1]`` to logits, as the peers want it."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model.module

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = model(x)
            return logits

    return Plain().eval()


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", ["mi-fgsm", "ni-fgsm"])
def test_torchattacks_pixel_for_pixel(double: Reader, name: str, targeted: bool) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, images, classes = double
    wanted = (classes + 1) % 10 if targeted else classes
    kind = {"mi-fgsm": torchattacks.MIFGSM, "ni-fgsm": torchattacks.NIFGSM}[name]
    theirs = kind(network(model), eps=0.01, alpha=0.002, steps=7, decay=0.9)
    if targeted:
        theirs.set_mode_targeted_by_label(quiet=True)
    ours = fs.attack(name, eps=0.01, steps=7, step_size=0.002, decay=0.9)
    result = ours(model, images, wanted, targeted=targeted, keep="last")
    same = (result.images - theirs(images, wanted)).abs() < 1e-9
    assert same.double().mean() > 0.9999


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_at_least_as_strong_as_foolboxs(reader: Reader, norm: str) -> None:
    """Its gradients are summed as they are; so only without momentum it is the same attack."""
    foolbox = pytest.importorskip("foolbox")
    model, images, classes = (
        each.double() if isinstance(each, Tensor) else each for each in reader
    )
    model, classes = model.to(dtype=torch.float64), classes.long()
    peer = foolbox.PyTorchModel(network(model), bounds=(0, 1), device="cpu")
    wrong = foolbox.criteria.Misclassification(classes)
    eps, step = (0.06, 0.006) if norm == "linf" else (0.9, 0.09)
    kind = {
        "linf": foolbox.attacks.LinfMomentumIterativeFastGradientMethod,
        "l2": foolbox.attacks.L2MomentumIterativeFastGradientMethod,
    }[norm]
    for decay in (0.0, 1.0):
        theirs = kind(momentum=decay, abs_stepsize=step, steps=10, random_start=False)
        found, _, fooled = theirs(peer, images, wrong, epsilons=eps)
        ours = fs.attack("mi-fgsm", eps=eps, norm=norm, decay=decay)
        result = ours(model, images, classes, keep="last")
        assert 2 < int(fooled.sum()) < len(classes) - 2
        assert int(result.success.sum()) >= int(fooled.sum()) - 1
        same = (result.images - found).abs() < 1e-9
        assert (same.double().mean() > 0.9999) == (decay == 0)


def loss_gradient(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
    pixels = images.clone().requires_grad_()
    loss = F.cross_entropy(model(pixels), classes, reduction="sum")
    return torch.autograd.grad(loss, pixels)[0]


def slow(
    attack: Any, model: fs.Classifier, images: Tensor, classes: Tensor, keys: Tensor
) -> Tensor:
    """The papers' loops, one step after the other, with the randomness of the samples."""
    eps, decay, x = attack.threat.eps, attack.decay, images
    step = eps / attack.steps
    momentum, variance = torch.zeros_like(x), torch.zeros_like(x)
    for number in range(attack.steps):
        at = x
        if isinstance(attack, NIFGSM):
            at = (x + step * decay * momentum).clamp(0, 1)
        gradient = loss_gradient(model, at, classes)
        leading = gradient + variance
        momentum = decay * momentum + leading / leading.abs().mean((1, 2, 3), keepdim=True)
        if isinstance(attack, VMIFGSM):
            beside = []
            for neighbour in range(1, attack.neighbours + 1):
                draw = number * attack.neighbours + neighbour
                noise = 2 * randomness.uniform(keys, draw, tuple(x.shape[1:])).double() - 1
                moved = (x + attack.spread * eps * noise).clamp(0, 1)
                beside.append(loss_gradient(model, moved, classes))
            variance = torch.stack(beside).mean(0) - gradient
        x = (x + step * momentum.sign()).clamp(images - eps, images + eps).clamp(0, 1)
    return x


@pytest.mark.parametrize(
    "attack",
    [
        MIFGSM(threat=Linf(0.2), decay=0.7),
        NIFGSM(threat=Linf(0.2), steps=6, decay=0.7),
        VMIFGSM(threat=Linf(0.2), steps=4, neighbours=3),
        VMIFGSM(threat=Linf(0.2), steps=3, neighbours=5, spread=0.8, decay=0.5),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_the_papers_loops(attack: Any) -> None:
    model, images = curved(), pictures(6)
    classes = model(images).argmax(1)
    result = attack(model, images, classes, keep="last", seed=3)
    expected = slow(attack, model, images, classes, randomness.keys(3, torch.arange(6)))
    torch.testing.assert_close(result.images, expected)
    forwards = attack.steps + 2  # the clean look, and the one at the end
    if isinstance(attack, VMIFGSM):
        forwards += (attack.steps - 1) * attack.neighbours
    assert result.forwards.tolist() == [forwards] * 6
    assert result.backwards.tolist() == [forwards - 2] * 6


def test_the_defaults_are_the_papers() -> None:
    assert fs.attack("mi-fgsm", eps=0.1) == MIFGSM(threat=Linf(0.1), steps=10, decay=1.0)
    assert fs.attack("vmi-fgsm", eps=0.1) == VMIFGSM(
        threat=Linf(0.1), steps=10, decay=1.0, neighbours=20, spread=1.5
    )
    model, images = curved(), pictures(3)
    one = fs.attack("mi-fgsm", eps=0.1)(
        model, images, model(images).argmax(1), keep="last", budget=fs.Budget(forwards=2)
    )
    torch.testing.assert_close(one.distance, torch.full((3,), 0.01).double())


def test_without_momentum_it_is_the_plain_attack() -> None:
    model, images = curved(), pictures(6)
    classes = model(images).argmax(1)
    plain = fs.attack("bim", eps=0.2, step_size=0.02)(model, images, classes, keep="last")
    for name in ("mi-fgsm", "ni-fgsm"):
        same = fs.attack(name, eps=0.2, decay=0)(model, images, classes, keep="last")
        assert torch.equal(same.images, plain.images)
    # Neighbours that are the point itself vary in nothing.
    heavy = fs.attack("mi-fgsm", eps=0.2)(model, images, classes, keep="last")
    same = fs.attack("vmi-fgsm", eps=0.2, spread=0, neighbours=2)(
        model, images, classes, keep="last"
    )
    assert torch.equal(same.images, heavy.images)


@pytest.mark.parametrize("name", ["mi-fgsm", "ni-fgsm", "vmi-fgsm"])
def test_a_gradient_of_zero_stays_where_it_is(name: str) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x.flatten(1)[:, :3]

    images = torch.rand(2, 3, 4, 4)
    with pytest.warns(fs.FluoroscopeWarning, match="gradient of zero"):
        result = fs.attack(name, eps=0.1)(fs.Classifier(Flat()), images, 0, keep="last")
    assert torch.equal(result.images, images)


@pytest.mark.parametrize("name", ["mi-fgsm", "ni-fgsm", "vmi-fgsm"])
@given(
    seed=st.integers(0, 99),
    eps=st.floats(0.001, 1),
    keep=st.sampled_from(["first", "best", "last"]),
    targeted=st.booleans(),
)
@settings(max_examples=8)
def test_no_image_leaves_box_or_ball_and_success_is_one(
    name: str, seed: int, eps: float, keep: Any, targeted: bool
) -> None:
    model, images = curved(seed), pictures(5, seed)
    classes = torch.tensor([0, 1, 2, 3, 0])
    seen: list[Tensor] = []
    inner = model.module.forward
    model.module.forward = lambda x: (seen.append(x.detach()), inner(x))[1]  # type: ignore[method-assign]
    options = {"neighbours": 2} if name == "vmi-fgsm" else {}
    result = fs.attack(name, eps=eps, steps=3, **options)(
        model, images, classes, keep=keep, targeted=targeted, seed=seed, batch_size=2
    )
    assert all(float(each.min()) >= 0 and float(each.max()) <= 1 for each in seen)
    assert (result.distance <= eps + 1e-6).all()
    read = model(result.images).argmax(1)
    assert torch.equal(result.success, (read == classes) == targeted)


@pytest.mark.parametrize("name", ["mi-fgsm", "ni-fgsm", "vmi-fgsm"])
def test_a_sample_does_not_depend_on_its_neighbours(double: Reader, name: str) -> None:
    model, images, classes = double
    options = {"neighbours": 3} if name == "vmi-fgsm" else {}
    attack = fs.attack(name, eps=0.08, steps=4, **options)
    # Some are done sooner, so that their slots go to others in the middle of these' neighbours.
    together = attack(model, images, classes, batch_size=5, exact=True, seed=2)
    assert int(together.success.sum()) > 0
    order = torch.arange(len(images)).flip(0)
    flipped = attack(
        model, images[order], classes[order], numbers=order, batch_size=5, exact=True, seed=2
    )
    assert torch.equal(flipped.images[order], together.images)
    if name == "vmi-fgsm":
        other = attack(model, images, classes, keep="last", seed=3).images
        assert not torch.equal(attack(model, images, classes, keep="last", seed=2).images, other)


def test_wrong_parameters() -> None:
    for name, options, message in (
        ("mi-fgsm", {"decay": -1}, "decay is -1"),
        ("ni-fgsm", {"steps": 0}, "steps is 0"),
        ("vmi-fgsm", {"neighbours": 0}, "neighbours is 0"),
        ("vmi-fgsm", {"spread": float("nan")}, "spread is nan"),
    ):
        with pytest.raises(fs.FluoroscopeError, match=message):
            fs.attack(name, eps=0.1, **options)
    with pytest.raises(fs.FluoroscopeError, match="not defined for the norm l2"):
        VMIFGSM(threat=L2(1))
