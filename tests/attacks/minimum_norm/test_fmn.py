"""FMN: closed forms, the paper's step for one image, what must always hold, and its peers."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from l2_networks import path
from linear_networks import (
    THREATS,
    boxed_optimum,
    curved,
    free_optimum,
    grey,
    linear,
    pictures,
    unbounded,
)
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.minimum_norm.fmn import FMN
from fluoroscope.engine.threats import L0, Threat
from fluoroscope.errors import InvalidParameterError

NORMS = ["l2", "linf", "l1", "l0"]
by_norm = pytest.mark.parametrize("norm", NORMS)


def threat(norm: str, eps: float = math.inf) -> Threat:
    made: Threat = L0(eps) if norm == "l0" else THREATS[norm](eps)
    return made


# Closed forms.


@pytest.mark.parametrize("norm", list(THREATS))
@pytest.mark.parametrize("classes", [2, 4])
def test_on_a_linear_network_it_comes_to_the_nearest_border(norm: str, classes: int) -> None:
    model, weight = linear(3, classes, 30)
    images = grey(3, 6, 30)
    own = model(images).argmax(1)
    best = free_optimum(model, weight, images, norm).amin(1)
    ratio = FMN(threat=unbounded(norm))(model, images, own, batch_size=4).distance / best
    assert ratio.min() >= 0.999
    assert ratio.median() <= 1.02
    assert ratio.max() <= (1.02 if classes == 2 else 1.25)


@pytest.mark.parametrize("norm", list(THREATS))
def test_towards_each_samples_own_wanted_class(norm: str) -> None:
    model, weight = linear(4, 5, 30)
    images = grey(4, 8, 30)
    wanted = model(images).detach().argsort(1)[:, 2]
    result = FMN(threat=unbounded(norm))(model, images, wanted, targeted=True)
    assert torch.equal(model(result.images).argmax(1), wanted)
    border = free_optimum(model, weight, images, norm).gather(1, wanted[:, None]).squeeze(1)
    assert (result.distance >= 0.999 * border).all()


@pytest.mark.parametrize("norm", list(THREATS))
def test_near_the_end_of_the_box_it_comes_near_the_best(norm: str) -> None:
    model, weight = linear(5, 2, 8)
    generator = torch.Generator().manual_seed(0)
    images = (1.6 * torch.rand(6, 1, 1, 8, generator=generator) - 0.3).clamp(0, 1)
    own = model(images).argmax(1)
    result = FMN(threat=unbounded(norm), steps=150)(model, images, own)
    for image, distance in zip(images, result.distance, strict=True):
        best = boxed_optimum(model, weight, image, norm)
        assert best * 0.999 <= float(distance) <= 1.05 * best


def test_in_l0_it_finds_the_fewest_pixels_that_suffice() -> None:
    """In colour: with any ``k`` pixels the most is gained by pushing all channels to an end."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(48, 2)
    layer.weight.data = torch.randn(2, 48, generator=generator)
    layer.bias.data = -layer.weight.data.sum(1) / 2 + torch.tensor([4.0, -4.0])
    model = fs.Classifier(nn.Sequential(nn.Flatten(), layer), channels=3)
    images = torch.rand(12, 3, 4, 4, generator=generator)
    logits = model(images).detach()
    own = logits.argmax(1)
    slope = (layer.weight[1 - own] - layer.weight[own]).detach().view_as(images)
    room = torch.where(slope > 0, 1 - images, images)
    gain = (slope.abs() * room).sum(1).flatten(1).sort(1, descending=True).values.cumsum(1)
    gap = logits.gather(1, own[:, None]) - logits.gather(1, 1 - own[:, None])
    fewest = (gain < gap).sum(1) + 1
    result = FMN(threat=L0(math.inf), step_size=5)(model, images, own)
    assert result.success.all()
    assert (result.distance >= fewest).all()
    assert (result.distance - fewest).max() <= 2
    assert (result.distance - fewest).float().mean() <= 0.5
    assert fewest.max() >= 3


# The paper's step.


def onto(away: Tensor, image: Tensor, norm: str, radius: float) -> Tensor:
    """The perturbation ``(C, H, W)``, clamped to the box and drawn into the ball."""
    if norm == "l1":
        room = torch.where(away > 0, 1 - image, image)
        low, high = 0.0, float(away.abs().max())
        if away.abs().minimum(room).sum() <= radius:
            return away.sign() * away.abs().minimum(room)
        for _ in range(100):
            middle = (low + high) / 2
            much = (away.abs() - middle).clamp(min=0).minimum(room).sum() > radius
            low, high = (middle, high) if much else (low, middle)
        return away.sign() * (away.abs() - high).clamp(min=0).minimum(room)
    away = (image + away).clamp(0, 1) - image
    if norm == "linf":
        return away.clamp(-radius, radius)
    if norm == "l2":
        return away * min(1.0, radius / max(float(away.norm()), 1e-12))
    size = away.norm(dim=0).flatten()
    kept = torch.zeros_like(size)
    for place in size.argsort(descending=True, stable=True)[: int(radius)]:
        kept[place] = 1
    return away * kept.view(1, *away.shape[1:])


def measure(away: Tensor, norm: str) -> float:
    if norm == "l0":
        return float((away.norm(dim=0) > 0).sum())
    return float(
        torch.linalg.vector_norm(away.flatten(), ord={"l1": 1, "l2": 2}.get(norm, math.inf))
    )


@by_norm
@pytest.mark.parametrize("targeted", [False, True])
def test_the_path_is_the_papers(norm: str, targeted: bool) -> None:
    model, images, steps = curved(), pictures(5), 20
    clean = model(images).detach().argmax(1)
    classes = (clean + 1) % 4 if targeted else clean
    _, points = path(
        FMN(threat=threat(norm), steps=steps), model, images, classes, targeted=targeted
    )
    order = {"l2": 2.0, "linf": 1.0, "l1": math.inf, "l0": 0.0}[norm]
    for image, label, found in zip(images, classes, points, strict=True):
        away, met = torch.zeros_like(image), False
        corner = measure(torch.maximum(image, 1 - image), norm)
        nearest, radius = corner, 1.0 if norm == "l0" else math.inf
        for k in range(steps + 1):
            torch.testing.assert_close(found[k], image + away, rtol=0, atol=1e-7)
            x = (image + away).requires_grad_()
            z = model(x[None])[0]
            rival = max(z[j] for j in range(4) if j != label)
            lead = (z[label] - rival) * (1 if targeted else -1)
            (g,) = torch.autograd.grad(lead, x)
            cosine = (1 + math.cos(math.pi * k / steps)) / 2
            alpha, gamma = 0.01 + 0.99 * cosine, 0.001 + 0.049 * cosine
            if bool((z.argmax() == label) == targeted):
                met, nearest = True, min(nearest, measure(away, norm))
                smaller = radius * (1 - gamma)
                if norm == "l0":
                    smaller = max(1, min(radius - 1, math.floor(smaller)))
                radius = min(smaller, nearest)
            elif norm == "l0":
                radius = max(radius + 1, math.floor(radius * (1 + gamma)))
            elif met:
                radius *= 1 + gamma
            else:
                slope = float(torch.linalg.vector_norm(g.flatten(), ord=order))
                radius = measure(away, norm) + abs(float(lead.detach())) / slope
            radius = min(radius, corner)
            away = onto(away + alpha * g / g.norm(), image, norm, radius)


# What must always hold.


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(NORMS), st.integers(0, 1000), st.booleans())
def test_in_the_box_with_an_honest_verdict(norm: str, seed: int, targeted: bool) -> None:
    model, images = curved(seed), pictures(6, seed)
    clean = model(images).detach().argmax(1)
    classes = (clean + 1 + torch.arange(6) % 3) % 4 if targeted else clean
    attack = FMN(threat=threat(norm), steps=12)
    result, points = path(attack, model, images, classes, targeted=targeted)
    assert torch.equal((model(result.images).argmax(1) == classes) == targeted, result.success)
    torch.testing.assert_close(result.distance, threat(norm).distance(result.images - images))
    for row, found in enumerate(points):
        assert found.min() >= 0
        assert found.max() <= 1
        fooled = found[(model(found).argmax(1) == classes[row]) == targeted]
        if len(fooled):
            closest = threat(norm).distance(fooled - images[row]).min()
            torch.testing.assert_close(result.distance[row], closest)


@by_norm
def test_neighbours_do_not_matter(norm: str) -> None:
    model, images = curved(2), pictures(7, 2)
    classes = torch.arange(7) % 4
    attack = FMN(threat=threat(norm), steps=20)
    whole = attack(model, images, classes)
    parts = attack(model, images, classes, batch_size=2)
    torch.testing.assert_close(whole.images, parts.images, rtol=0, atol=1e-9)
    assert torch.equal(whole.forwards, parts.forwards)
    assert whole.success.any()
    # Every step but the last has a gradient; the clean image is looked at once more.
    searched = ~whole.at_start
    assert set(whole.forwards[searched].tolist()) == {22}
    assert set(whole.backwards[searched].tolist()) == {20}


@by_norm
def test_a_picture_on_the_border_leaves_it_and_a_flat_network_is_survived(norm: str) -> None:
    model, _ = linear(5, 2, 6)
    tied = torch.full((1, 1, 1, 6), 0.5)
    with torch.no_grad():
        model.module[1].bias.copy_(-model.module[1].weight @ tied.flatten())
    result = FMN(threat=threat(norm), steps=10)(model, tied, model(tied).argmax(1))
    assert result.success.all()
    with torch.no_grad():
        model.module[1].weight.zero_()
        model.module[1].bias.copy_(torch.tensor([1.0, 0]))
    with pytest.warns(fs.FluoroscopeWarning, match="gradient of zero"):
        stuck = FMN(threat=threat(norm), steps=10)(model, tied, 0)
    assert not stuck.success.any()
    assert torch.equal(stuck.images, tied)


def test_each_parameter_matters() -> None:
    model, images = curved(), pictures(4)
    own = model(images).detach().argmax(1)
    plain = FMN(steps=10)(model, images, own).images
    for other in (FMN(steps=11), FMN(steps=10, gamma=0.3), FMN(steps=10, step_size=0.2)):
        assert not torch.equal(other(model, images, own).images, plain)


def test_unusable_parameters() -> None:
    for bad in (
        lambda: FMN(threat=fs.Unbounded()),
        lambda: FMN(steps=0),
        lambda: FMN(gamma=0),
        lambda: FMN(gamma=1),
        lambda: FMN(step_size=0),
    ):
        with pytest.raises(InvalidParameterError, match="expected"):
            bad()


# Peers.


@by_norm
@pytest.mark.parametrize("targeted", [False, True])
def test_as_close_as_foolbox(
    norm: str, targeted: bool, reader: tuple[fs.Classifier, Tensor, Tensor]
) -> None:
    """As many successes, the median within 1 %.

    (Foolbox clamps after it has projected in L1, and does not project in L2.)
    """
    import foolbox

    model, images, classes = (part[:8] if isinstance(part, Tensor) else part for part in reader)
    classes = (classes + 1) % 10 if targeted else classes
    kind: Any = {
        "l2": foolbox.attacks.L2FMNAttack,
        "linf": foolbox.attacks.LInfFMNAttack,
        "l1": foolbox.attacks.L1FMNAttack,
        "l0": foolbox.attacks.L0FMNAttack,
    }[norm]
    criteria = foolbox.criteria
    criterion = (criteria.TargetedMisclassification if targeted else criteria.Misclassification)(
        classes
    )
    peer = foolbox.PyTorchModel(model.module.eval(), bounds=(0, 1), device="cpu")
    found = kind(steps=40).run(peer, images, criterion)
    fooled = (model(found).argmax(1) == classes) == targeted
    theirs = threat(norm).distance(found - images).where(fooled, torch.inf)
    result = FMN(threat=threat(norm), steps=40)(model, images, classes, targeted=targeted)
    ours = result.distance.where(result.success, torch.inf)
    assert result.success.sum() >= fooled.sum()
    assert ours.median() <= 1.01 * theirs.median()
    assert result.success.any()
