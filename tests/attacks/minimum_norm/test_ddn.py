"""DDN: closed forms, the paper's step for one image, what must always hold, and a peer."""

import math
from typing import Any

import pytest
import torch
from l2_networks import curved, linear, path
from torch import nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.attacks.minimum_norm.ddn import DDN
from fluoroscope.data.digits import digits
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Samples
from fluoroscope.errors import InvalidParameterError

SHAPES = [(3, 2, 2), (1, 16, 16), (3, 16, 16)]


# More than the length can shrink to.
LEAST = 0.03


# Closed forms.


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 4, 9])
def test_the_border_between_two_classes_is_met_at_its_nearest_point(
    shape: tuple[int, ...], count: int, loss: Any
) -> None:
    model, images, own, distance = linear(2, shape, count, least=LEAST)
    result = DDN(loss=loss)(model, images, own, batch_size=4)
    ratio = result.distance / distance.amin(1)
    assert result.success.all()
    assert ratio.max() <= 1.01
    assert ratio.min() >= 0.9999


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_among_ten_classes_a_decided_network_is_left_by_the_shortest_way(
    shape: tuple[int, ...],
) -> None:
    # Steep logits: at the border two classes have all the probability.
    model, images, own, distance = linear(10, shape, 6, scale=10.0, least=LEAST)
    result = DDN()(model, images, own)
    assert (result.distance / distance.amin(1)).max() <= 1.05


@pytest.mark.parametrize("scale", [0.02, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_margin_finds_the_shortest_way_however_flat_the_logits(
    shape: tuple[int, ...], scale: float
) -> None:
    model, images, own, distance = linear(10, shape, 6, scale, least=LEAST)
    ratio = DDN(loss="margin")(model, images, own).distance / distance.amin(1)
    assert ratio.median() <= 1.05
    assert ratio.max() <= 1.25


def test_on_flat_logits_the_cross_entropy_rests_where_its_gradient_is_the_perturbation() -> None:
    model, images, own, distance = linear(10, (1, 16, 16), 6, scale=0.1, least=LEAST)
    result = DDN(steps=300)(model, images, own)
    x = result.images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), own), x)
    away = (result.images - images).flatten(1)
    assert F.cosine_similarity(gradient.flatten(1), away).min() > 0.999
    assert (result.distance / distance.amin(1)).max() > 1.05


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_each_sample_meets_the_border_of_its_own_wanted_class(loss: Any) -> None:
    model, images, own, distance = linear(10, (1, 16, 16), 6, scale=10.0, least=LEAST)
    wanted = distance.argsort(1)[:, 0]
    assert len(set(wanted.tolist())) > 2
    result = DDN(loss=loss)(model, images, wanted, targeted=True)
    assert torch.equal(model(result.images).argmax(1), wanted)
    assert (result.distance / distance.amin(1)).max() <= 1.05
    assert not torch.equal(wanted, own)


def test_on_a_curved_network_it_comes_near_the_best_of_a_fine_grid() -> None:
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))
    for parameter in module.parameters():
        parameter.data = 3 * torch.randn(parameter.shape, generator=generator)
    model = fs.Classifier(module, channels=1)
    line = torch.linspace(0, 1, 401)
    grid = torch.cartesian_prod(line, line).view(-1, 1, 1, 2)
    read = model(grid).argmax(1)
    images = torch.rand(12, 1, 1, 2, generator=generator)
    own = model(images).argmax(1)
    result = DDN(steps=200)(model, images, own)
    ratios = []
    for image, label, distance in zip(images, own, result.distance, strict=True):
        nearest = (grid[read != label] - image).flatten(1).norm(dim=1).min()
        assert distance >= nearest - 2 / 400
        ratios.append(float(distance / nearest))
    assert sorted(ratios)[6] <= 1.05


def test_in_k_steps_the_length_shrinks_no_further_than_gamma_allows() -> None:
    model, images, own, distance = linear(2, (1, 16, 16), 1, least=LEAST)
    nearest = float(distance.amin())
    # From 40 times too long, and one step up for the clean image, which is no success.
    few = math.floor(math.log(40) / -math.log(0.95)) - 2
    attack = DDN(init_norm=40 * nearest, steps=few)
    assert attack(model, images, own).distance / nearest > 1.05
    attack = DDN(init_norm=40 * nearest, steps=few + 30)
    assert attack(model, images, own).distance / nearest < 1.05


# The paper's step.


@pytest.mark.parametrize("targeted", [False, True])
def test_the_path_is_the_papers(targeted: bool) -> None:
    model, images, own = curved()
    classes = (own + 1) % 4 if targeted else own
    steps, gamma = 25, 0.1
    attack = DDN(steps=steps, gamma=gamma, init_norm=0.7)
    result, points = path(attack, model, images, classes, targeted=targeted)
    for row, (image, label, found) in enumerate(zip(images, classes, points, strict=True)):
        x, norm, corner = image, 0.7, float((1 - image).maximum(image).norm())
        delta = torch.zeros_like(image)
        best = math.inf
        for k in range(steps + 1):
            torch.testing.assert_close(found[k], x, rtol=0, atol=1e-6)
            x = x.clone().requires_grad_()
            z = model(x[None])
            fooled = bool((z.argmax() == label) == targeted)
            if fooled:
                best = min(best, float(delta.norm()))
            loss = F.cross_entropy(z, label[None])
            (gradient,) = torch.autograd.grad(-loss if targeted else loss, x)
            alpha = 0.01 + 0.99 * (1 + math.cos(math.pi * k / steps)) / 2
            delta = delta + alpha * gradient / gradient.norm()
            norm = min(norm * (1 - gamma if fooled else 1 + gamma), corner)
            x = (image + norm * delta / delta.norm()).clamp(0, 1).detach()
            delta = x - image
        if best < math.inf:
            assert float(result.distance[row]) == pytest.approx(best, abs=1e-6)
    assert result.success.any()


# What must always hold.


def test_pixels_at_the_ends_of_the_box_can_move() -> None:
    model, images, _ = curved()
    images = images.round()
    moved = DDN(steps=30)(model, images, model(images).argmax(1)).images
    assert (moved[images == 0] > 0.001).any()
    assert (moved[images == 1] < 0.999).any()
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_the_nearest_success_ever_seen_is_returned() -> None:
    model, images, own = curved()
    result, points = path(DDN(steps=40), model, images, own)
    assert result.success.any()
    for row, found in enumerate(points):
        fooled = found[model(found).argmax(1) != own[row]]
        if len(fooled):
            nearest = (fooled - images[row]).flatten(1).norm(dim=1).min()
            torch.testing.assert_close(result.distance[row], nearest, rtol=0, atol=1e-12)


def test_neighbours_do_not_matter() -> None:
    model, images, own = curved()
    whole = DDN(steps=30)(model, images, own)
    alone = [DDN(steps=30)(model, images[k], own[k : k + 1]).images for k in range(6)]
    torch.testing.assert_close(whole.images, torch.cat(alone), rtol=0, atol=1e-9)


def test_without_a_gradient_it_goes_somewhere_of_the_samples_own() -> None:
    # A network that is flat where the image is, and the same far away.
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    for parameter in module.parameters():
        parameter.data.fill_(-1.0)
    model, images = fs.Classifier(module), torch.full((2, 3, 2, 2), 0.5)
    _, points = path(DDN(steps=3), model, images, torch.zeros(2, dtype=torch.long))
    assert (points[0][1] != images[0]).any()
    assert not torch.equal(points[0][1], points[1][1])
    assert torch.stack(points).isfinite().all()


def test_the_length_stays_within_the_box() -> None:
    # No answer is a success: the length would double for ever.
    images, number = torch.rand(2, 3, 2, 2), torch.zeros(2, dtype=torch.long)
    attack = DDN(steps=20, gamma=0.99)
    state = attack.start(Samples(images, number, -torch.ones(2), number, number, 0 * number))
    for _ in range(20):
        logits = torch.tensor([[1.0, 0.0]]).expand(2, 2)
        state = attack.tell(state, Answer(logits, torch.zeros(2), torch.ones_like(images)))
    corner = images.maximum(1 - images).flatten(1).norm(dim=1)
    torch.testing.assert_close(state.norm, corner)


def test_samples_misread_from_the_start_are_reported_and_left_alone() -> None:
    model, images, own = curved()
    given = own.clone()
    given[::2] = (given[::2] + 1) % 4
    result = DDN(steps=10)(model, images, given)
    assert result.at_start.tolist() == [True, False] * 3
    assert torch.equal(result.images[::2], images[::2])
    assert result.backwards.tolist() == [0, 10] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.Linf(0.1)},
        {"threat": fs.Unbounded()},
        {"steps": 0},
        {"gamma": 0.0},
        {"gamma": 1.0},
        {"init_norm": 0.0},
        {"init_norm": math.inf},
        {"loss": "hinge"},
    ],
)
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expected") as caught:
        DDN(**wrong)
    assert next(iter(wrong)) in str(caught.value) or "norm" in str(caught.value)
    assert "\n" not in str(caught.value)


# A peer.


@pytest.mark.parametrize("targeted", [False, True])
def test_as_good_as_foolbox(targeted: bool) -> None:
    """The same successes, and a median distance within 1 % of theirs, or less."""
    foolbox = pytest.importorskip("foolbox")
    model = fs.load_model("digits-cnn")
    images, classes = (part[:24] for part in digits())
    read = model(images).argmax(1) == classes
    images, classes = images[read], classes[read]
    if targeted:
        classes = (classes + 1 + torch.arange(len(classes)) % 9) % 10
    ours = DDN(steps=40)(model, images, classes, targeted=targeted)
    peer = foolbox.PyTorchModel(model.module.eval(), bounds=(0, 1), device="cpu")
    kind = foolbox.criteria.TargetedMisclassification if targeted else None
    criterion = (kind or foolbox.criteria.Misclassification)(classes)
    found = foolbox.attacks.DDNAttack(steps=40).run(peer, images, criterion)
    fooled = (model(found).argmax(1) == classes) == targeted
    distance = (found - images).flatten(1).norm(dim=1).where(fooled, torch.inf)
    own = ours.distance.where(ours.success, torch.inf)
    assert ours.success.sum() >= fooled.sum()
    assert own.median() <= 1.01 * distance.median()
