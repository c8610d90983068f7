"""Carlini and Wagner's L2 attack: closed forms, the paper's step for one image, and peers."""

import math
from typing import Any

import pytest
import torch
from l2_networks import curved, linear, path
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.minimum_norm.carlini_wagner import STRETCH, CarliniWagner
from fluoroscope.data.digits import digits
from fluoroscope.errors import InvalidParameterError

SHAPES = [(3, 2, 2), (1, 16, 16)]


# Farther than one step of Adam.
LEAST = 0.05


# Closed forms.


@pytest.mark.parametrize("scale", [0.1, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 3])
def test_the_border_between_two_classes_is_met_at_its_nearest_point(
    shape: tuple[int, ...], scale: float, count: int
) -> None:
    model, images, own, distance = linear(2, shape, count, scale, least=LEAST)
    result = CarliniWagner(steps=100)(model, images, own)
    assert result.success.all()
    ratio = result.distance / distance.amin(1)
    assert ratio.max() <= 1.05
    assert ratio.min() >= 0.9999


@pytest.mark.parametrize("shape", SHAPES)
def test_each_sample_meets_the_border_of_its_own_wanted_class(shape: tuple[int, ...]) -> None:
    model, images, own, distance = linear(10, shape, 6, least=LEAST)
    # Only to where the wanted class overtakes the true one, if no third is above both there.
    wanted = distance.argsort(1)[:, 0]
    assert len(set(wanted.tolist())) > 2
    result = CarliniWagner(steps=100)(model, images, wanted, targeted=True)
    assert torch.equal(model(result.images).argmax(1), wanted)
    assert (result.distance / distance.amin(1)).max() <= 1.05
    assert not torch.equal(wanted, own)


@pytest.mark.parametrize("scale", [0.1, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_among_ten_classes_it_comes_near_the_nearest(shape: tuple[int, ...], scale: float) -> None:
    # The strongest rival, which it follows, need not be the nearest.
    model, images, own, distance = linear(10, shape, 6, scale, least=LEAST)
    result = CarliniWagner(steps=100)(model, images, own)
    ratio = result.distance / distance.amin(1)
    assert result.success.all()
    assert ratio.max() <= 1.25
    assert ratio.median() <= 1.05


def test_an_overshoot_on_the_way_does_not_count_for_c() -> None:
    # The first step of Adam is lr in every coordinate: across the border, however small c.
    model, images, own, distance = linear(2, (1, 16, 16), 6, scale=0.1, least=LEAST)
    near = distance.amin(1).argmin()
    images, own, distance = images[near], own[near : near + 1], distance[near]
    result, (points,) = path(CarliniWagner(steps=200), model, images[None], own)
    assert model(points[1:2]).argmax() != own
    assert result.distance / distance.amin() <= 1.02


def test_on_a_curved_network_it_comes_near_the_best_of_a_fine_grid() -> None:
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))
    for parameter in module.parameters():
        parameter.data = 3 * torch.randn(parameter.shape, generator=generator)
    model = fs.Classifier(module, channels=1)
    line = torch.linspace(0, 1, 401)
    grid = torch.cartesian_prod(line, line).view(-1, 1, 1, 2)
    read = model(grid).argmax(1)
    images = torch.rand(8, 1, 1, 2, generator=generator)
    own = model(images).argmax(1)
    result = CarliniWagner(steps=100)(model, images, own)
    ratios = []
    for image, label, distance in zip(images, own, result.distance, strict=True):
        nearest = (grid[read != label] - image).flatten(1).norm(dim=1).min()
        assert distance >= nearest - 2 / 400
        ratios.append(float(distance / nearest))
    assert sorted(ratios)[4] <= 1.05


# The paper's step.


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("confidence", [0.0, 0.5])
def test_a_search_is_adam_on_the_papers_loss(targeted: bool, confidence: float) -> None:
    model, images, own = curved()
    classes = (own + 1) % 4 if targeted else own
    attack = CarliniWagner(searches=1, steps=12, c=3.0, lr=0.02, confidence=confidence)
    _, points = path(attack, model, images, classes, targeted=targeted)
    for image, label, found in zip(images, classes, points, strict=True):
        edge = math.atanh(1 / STRETCH)
        w = ((2 * image - 1) / STRETCH).atanh().clamp(-edge, edge).requires_grad_()
        optimizer = torch.optim.Adam([w], lr=0.02)
        for point in found:
            x = 0.5 + STRETCH / 2 * w.tanh()
            torch.testing.assert_close(point, x.detach(), rtol=0, atol=1e-9)
            z = model(x[None])[0]
            others = torch.cat([z[:label], z[label + 1 :]]).max()
            lead = z[label] - others if targeted else others - z[label]
            loss = (x - image).square().sum() + 3.0 * (-lead).clamp(min=-confidence)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.data.clamp_(-edge, edge)
        assert len(found) in (1, 12) or (found[-1] - image).norm() > 0


def test_c_rises_tenfold_until_a_success_and_is_then_bisected() -> None:
    model, images, own = curved()
    attack = CarliniWagner(searches=7, steps=40, c=1e-3, early_abort=False)
    state = begin(attack, model, images[:1], own[:1])
    tried = [float(state.trade.c)]
    lower, upper = 0.0, math.inf
    inside = False
    while not state.done.all():
        query = attack.ask(state)
        answer = fs.engine.evaluate.evaluate(
            model, query.images, query.classes, query.objective, gradient=True
        )
        if int(state.progress.step) >= 36:
            inside |= bool(answer.logits.argmax(1) != own[:1])
        new = attack.tell(state, answer)
        if new.trade.search > state.trade.search:
            c = tried[-1]
            lower, upper = (lower, c) if inside else (c, upper)
            expected = (lower + upper) / 2 if upper < math.inf else 10 * c
            assert float(new.trade.c) == pytest.approx(expected)
            tried.append(float(new.trade.c))
            inside = False
        state = new
    assert len(tried) == 8
    assert tried[1] == pytest.approx(1e-2)
    assert upper < math.inf
    assert lower > 0


def begin(attack: Any, model: fs.Classifier, images: Tensor, classes: Tensor) -> Any:
    from fluoroscope.engine.stream import Samples

    number = torch.arange(len(images))
    return attack.start(
        Samples(images, classes, -torch.ones(len(images)), number, number, 0 * number)
    )


# What must always hold.


def test_pixels_at_the_ends_of_the_box_can_move() -> None:
    model, images, own = curved()
    images = images.round()
    own = model(images).argmax(1)
    moved = CarliniWagner(steps=60, searches=6)(model, images, own).images
    assert (moved[images == 0] > 0.001).any()
    assert (moved[images == 1] < 0.999).any()
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_the_first_image_looked_at_is_the_clean_one() -> None:
    model, images, own = curved()
    _, points = path(CarliniWagner(steps=3, searches=1), model, images, own)
    for image, found in zip(images, points, strict=True):
        torch.testing.assert_close(found[0], image, rtol=0, atol=1e-12)


def test_the_nearest_success_ever_seen_is_returned() -> None:
    model, images, own = curved()
    result, points = path(CarliniWagner(steps=50, searches=5), model, images, own)
    assert result.success.any()
    for row, found in enumerate(points):
        fooled = found[model(found).argmax(1) != own[row]]
        if not len(fooled):
            assert torch.equal(result.images[row], images[row])
            continue
        nearest = (fooled - images[row]).flatten(1).norm(dim=1).min()
        torch.testing.assert_close(result.distance[row], nearest, rtol=0, atol=1e-12)
        assert model(result.images[row : row + 1]).argmax() != own[row]


def test_a_sample_aborts_early_whatever_its_neighbours_do() -> None:
    model, images, own = curved()
    attack = CarliniWagner(steps=60, searches=4)
    whole = attack(model, images, own)
    # A search of 60 steps was cut short somewhere, and not at the same step for all.
    assert whole.forwards.min() < 1 + 4 * 60
    assert len(set(whole.forwards.tolist())) > 1
    for row in range(len(images)):
        alone = attack(model, images[row], own[row : row + 1])
        assert alone.forwards.item() == whole.forwards[row]
        torch.testing.assert_close(alone.images[0], whole.images[row], rtol=0, atol=1e-9)


def test_without_early_abort_every_step_is_made() -> None:
    model, images, own = curved()
    result = CarliniWagner(steps=20, searches=3, early_abort=False)(model, images, own)
    assert result.forwards.tolist() == [61] * 6
    assert result.backwards.tolist() == [60] * 6


@pytest.mark.parametrize("confidence", [0.3, 2.0])
def test_confidence_is_the_least_lead(confidence: float) -> None:
    model, images, own = curved()
    result = CarliniWagner(steps=50, searches=6, confidence=confidence)(model, images, own)
    plain = CarliniWagner(steps=50, searches=6)(model, images, own)
    logits = model(result.images).detach()
    others = logits.scatter(1, own[:, None], -torch.inf).amax(1)
    lead = others - logits.gather(1, own[:, None]).squeeze(1)
    assert result.success.any()
    assert (lead[result.success] >= confidence - 1e-9).all()
    assert (lead[result.success] <= confidence + 0.5).all()
    both = result.success & plain.success
    assert (result.distance[both] > plain.distance[both]).all()


def test_samples_misread_from_the_start_are_reported_and_left_alone() -> None:
    model, images, own = curved()
    given = own.clone()
    given[::2] = (given[::2] + 1) % 4
    result = CarliniWagner(steps=10, searches=1)(model, images, given)
    assert result.at_start.tolist() == [True, False] * 3
    assert torch.equal(result.images[::2], images[::2])
    assert result.backwards[::2].tolist() == [0] * 3


def test_a_bound_leaves_out_what_lies_farther() -> None:
    model, images, own = curved()
    free = CarliniWagner(steps=60)(model, images, own)
    eps = float(free.distance.median())
    bound = CarliniWagner(threat=fs.L2(eps), steps=60)(model, images, own)
    assert torch.equal(bound.success, free.success & (free.distance <= eps * (1 + 1e-5)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.Linf(0.1)},
        {"threat": fs.Unbounded()},
        {"steps": 0},
        {"searches": 0},
        {"c": 0.0},
        {"c": math.nan},
        {"lr": math.inf},
        {"confidence": -1.0},
        {"confidence": math.inf},
    ],
)
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expected") as caught:
        CarliniWagner(**wrong)
    assert next(iter(wrong)) in str(caught.value) or "norm" in str(caught.value)
    assert "\n" not in str(caught.value)


# Peers.


@pytest.fixture(scope="module")
def on_digits() -> tuple[fs.Classifier, Tensor, Tensor, Any]:
    model = fs.load_model("digits-cnn")
    images, classes = digits()
    read = (model(images[:30]).argmax(1) == classes[:30]).nonzero().squeeze(1)[:24]
    images, classes = images[read], classes[read]
    ours = CarliniWagner(steps=30, searches=3)(model, images, classes)
    return model, images, classes, ours


def outdoes(model: fs.Classifier, images: Tensor, classes: Tensor, ours: Any, theirs: Any) -> None:
    """At least as many successes, and a median distance no more than 2 % above theirs."""
    fooled = model(theirs).argmax(1) != classes
    distance = (theirs - images).flatten(1).norm(dim=1).where(fooled, torch.inf)
    own = ours.distance.where(ours.success, torch.inf)[: len(images)]
    assert own.isfinite().sum() >= fooled.sum()
    assert own.median() <= 1.02 * distance.median()


def test_as_good_as_foolbox(on_digits: Any) -> None:
    foolbox = pytest.importorskip("foolbox")
    model, images, classes, _ = on_digits
    peer = foolbox.PyTorchModel(model.module.eval(), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        steps=30, binary_search_steps=3, initial_const=0.01, stepsize=0.01, abort_early=False
    )
    outdoes(*on_digits, attack.run(peer, images, foolbox.criteria.Misclassification(classes)))


def test_as_good_as_torchattacks(on_digits: Any) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, images, classes, _ = on_digits
    # Theirs has one c and no search: as many steps as all of ours.
    outdoes(*on_digits, torchattacks.CW(model.module.eval(), c=1, steps=90)(images, classes))


def test_as_good_as_art(on_digits: Any) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import CarliniL2Method
    from art.estimators.classification import PyTorchClassifier

    model, images, classes, ours = on_digits
    images, classes = images[:6], classes[:6]
    peer = PyTorchClassifier(
        model.module.eval(), nn.CrossEntropyLoss(), (1, 28, 28), 10,
        clip_values=(0, 1), device_type="cpu",
    )  # fmt: skip
    attack = CarliniL2Method(
        peer, max_iter=30, binary_search_steps=3, initial_const=0.01, batch_size=6, verbose=False
    )
    found = attack.generate(images.numpy(), classes.numpy())
    outdoes(model, images, classes, ours, torch.from_numpy(found))
