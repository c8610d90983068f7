"""Steps along the gradient: closed forms, bookkeeping, and peers."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fluoroscope as fs


def linear(seed: int, classes: int = 3) -> tuple[fs.Classifier, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(12, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, 12, generator=generator))
        layer.bias.zero_()
    images = 0.3 + 0.4 * torch.rand(5, 3, 2, 2, generator=generator)
    return fs.Classifier(nn.Sequential(nn.Flatten(), layer)), layer.weight.detach(), images


@given(st.integers(0, 1000), st.floats(0.001, 0.25))
def test_on_a_linear_network_the_score_moves_by_eps_times_the_l1_norm(
    seed: int, eps: float
) -> None:
    model, weight, images = linear(seed, classes=2)
    classes = torch.tensor([0, 1, 0, 1, 0])
    result = fs.fgsm(model, images, classes, eps)
    before, after = model(images).detach(), result.logits
    margin = lambda z: z.gather(1, classes[:, None]) - z.gather(1, 1 - classes[:, None])  # noqa: E731
    moved = (margin(before) - margin(after)).flatten()
    torch.testing.assert_close(
        moved, eps * (weight[0] - weight[1]).abs().sum().expand(5), rtol=1e-4, atol=1e-5
    )


@given(st.integers(0, 1000), st.booleans())
def test_success_distance_and_counts(seed: int, targeted: bool) -> None:
    model, _, images = linear(seed)
    classes = torch.tensor([0, 1, 2, 0, 1])
    result = fs.fgsm(model, images, classes, "20/255", targeted=targeted, batch_size=2)
    read = model(result.images).argmax(1)
    assert torch.equal(result.success, (read == classes) == targeted)
    assert (result.distance <= 20 / 255 + 1e-6).all()
    torch.testing.assert_close(result.distance, (result.images - images).flatten(1).abs().amax(1))
    assert result.forwards.tolist() == [3] * 5  # the clean look included
    assert result.backwards.tolist() == [1] * 5
    assert result.images.min() >= 0
    assert result.images.max() <= 1


def test_eps_of_zero_changes_nothing() -> None:
    model, _, images = linear(0)
    assert torch.equal(fs.fgsm(model, images, 0, 0).images, images)


def test_by_default_ten_steps_cross_the_ball_and_a_half() -> None:
    model, weight, images = linear(0, classes=2)
    slope = (weight[1] - weight[0]).view(3, 2, 2).sign()
    one = fs.attack("bim", eps=0.1, steps=10)(
        model, images, 0, keep="last", budget=fs.Budget(forwards=2)
    )
    torch.testing.assert_close(one.images, images + 0.025 * slope)


# Against peers: the same network, pictures and start.

CNN = fs.load_model("digits-cnn")
BATCH = next(iter(fs.load_images("digits", channels=1).take(120).batches(120)))
READ_RIGHT = CNN(BATCH.images).argmax(1) == BATCH.labels
DIGITS, LABELS = BATCH.images[READ_RIGHT], BATCH.labels[READ_RIGHT]


class Plain(nn.Module):
    """Images in ``[0, 1]`` to logits, in evaluation mode, as the peers want it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = copy.deepcopy(CNN.module).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(CNN.preprocessing.normalize(x))


@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_and_bim_are_foolboxs_pixel_for_pixel(targeted: bool) -> None:
    foolbox = pytest.importorskip("foolbox")
    # In float64: in float32 theirs is rounded to zero or noise where the network is all but sure.
    network = foolbox.PyTorchModel(Plain().double(), bounds=(0, 1), device="cpu")
    model, digits = CNN.to(dtype=torch.float64), DIGITS.double()
    classes = (LABELS + 1) % 10 if targeted else LABELS
    criterion = (
        foolbox.criteria.TargetedMisclassification(classes)
        if targeted
        else foolbox.criteria.Misclassification(classes)
    )
    for ours, theirs in (
        (
            fs.attack("fgsm", eps=0.1),
            None if targeted else foolbox.attacks.LinfFastGradientAttack(random_start=False),
        ),
        (
            fs.attack("bim", eps=0.1, steps=7, step_size=0.02),
            foolbox.attacks.LinfBasicIterativeAttack(
                abs_stepsize=0.02, steps=7, random_start=False
            ),
        ),
    ):
        if theirs is None:
            continue
        found, _, _ = theirs(network, digits, criterion, epsilons=0.1)
        result = ours(model, digits, classes, targeted=targeted, keep="last")
        same = (result.images - found).abs() < 1e-9
        assert same.double().mean() > 0.9999


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_is_as_strong_as_the_peers(norm: str) -> None:
    """Tolerance: two of some hundred pictures, for the starts are drawn differently."""
    torchattacks = pytest.importorskip("torchattacks")
    foolbox = pytest.importorskip("foolbox")
    eps, step = (0.06, 0.01) if norm == "linf" else (0.6, 0.1)
    ours = fs.attack("pgd", eps=eps, norm=norm, steps=20, step_size=step)
    fooled = int(ours(CNN, DIGITS, LABELS).success.sum())
    plain, network = Plain(), foolbox.PyTorchModel(Plain(), bounds=(0, 1), device="cpu")
    torch.manual_seed(0)
    if norm == "linf":
        first = torchattacks.PGD(plain, eps=eps, alpha=step, steps=20)
        second = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=20)
    else:
        first = torchattacks.PGDL2(plain, eps=eps, alpha=step, steps=20)
        second = foolbox.attacks.L2PGD(abs_stepsize=step, steps=20)
    by_torchattacks = CNN(first(DIGITS, LABELS)).argmax(1) != LABELS
    by_foolbox = second(network, DIGITS, foolbox.criteria.Misclassification(LABELS), epsilons=eps)
    for theirs in (by_torchattacks, by_foolbox[2]):
        assert 10 < int(theirs.sum()) < len(LABELS)
        assert fooled >= int(theirs.sum()) - 2


def test_pgd_is_as_strong_as_arts() -> None:
    evasion = pytest.importorskip("art.attacks.evasion")
    from art.estimators.classification import PyTorchClassifier

    network = PyTorchClassifier(
        Plain(), loss=nn.CrossEntropyLoss(), input_shape=(1, 28, 28), nb_classes=10,
        clip_values=(0, 1),
    )  # fmt: skip
    attack = evasion.ProjectedGradientDescentPyTorch(
        network, eps=0.06, eps_step=0.01, max_iter=20, num_random_init=1, batch_size=128,
        verbose=False,
    )  # fmt: skip
    torch.manual_seed(0)
    np.random.seed(0)
    found = torch.from_numpy(attack.generate(DIGITS.numpy(), LABELS.numpy()))
    theirs = int((CNN(found).argmax(1) != LABELS).sum())
    ours = fs.attack("pgd", eps=0.06, steps=20, step_size=0.01)(CNN, DIGITS, LABELS)
    assert ours.success.sum() >= theirs - 2


@given(st.integers(0, 1000), st.floats(0.01, 0.3))
def test_rfgsm_is_two_signed_steps(seed: int, eps: float) -> None:
    model, weight, _ = linear(seed, classes=2)
    images = torch.full((3, 3, 2, 2), 0.5)
    found = fs.attack("rfgsm", eps=eps)(model, images, 0, keep="last", seed=seed).images
    slope = (weight[1] - weight[0]).view(3, 2, 2)
    away = (found - images) / eps
    # Half of eps at random, half against class 0: each pixel ends at 0 or at eps, along the slope.
    torch.testing.assert_close(away, away.round() * slope.sign().abs(), atol=1e-4, rtol=0)
    assert ((away.round() == 0) | (away.round() == slope.sign())).all()
    assert 0 < (away.round() == 0).float().mean() < 1
