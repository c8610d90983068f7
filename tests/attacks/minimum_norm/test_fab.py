"""FAB: the optimum on linear networks, brute force on a curved one, the slow loop, and its peer."""

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_networks import (
    DUAL,
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
from fluoroscope.attacks.minimum_norm.fab import FAB, TargetedFAB
from fluoroscope.engine.stream import Step
from fluoroscope.errors import InvalidParameterError

by_norm = pytest.mark.parametrize("norm", list(THREATS))
by_kind = pytest.mark.parametrize("kind", [FAB, TargetedFAB])


# The closest success that there is.


@by_norm
@by_kind
@pytest.mark.parametrize(
    ("classes", "values", "batch_size"), [(2, 4, 128), (3, 30, 2), (10, 16, 1), (10, 200, 128)]
)
def test_on_a_linear_network_within_two_percent_of_the_optimum(
    kind: Any, norm: str, classes: int, values: int, batch_size: int
) -> None:
    model, weight = linear(3, classes, values)
    images = grey(3, 3, values)
    own = model(images).argmax(1)
    best = free_optimum(model, weight, images, norm).amin(1)
    attack = kind(threat=unbounded(norm), steps=10)
    result = attack(model, images, own, batch_size=batch_size)
    assert result.success.all()
    assert (result.distance <= 1.02 * best + 1e-5).all()
    assert (result.distance >= 0.999 * best - 1e-5).all()


@by_norm
@by_kind
@pytest.mark.parametrize(("classes", "values"), [(2, 6), (6, 20)])
def test_where_the_box_binds_within_five_percent_of_the_optimum(
    kind: Any, norm: str, classes: int, values: int
) -> None:
    model, weight = linear(5, classes, values)
    generator = torch.Generator().manual_seed(9)
    images = (3 * torch.rand(6, 1, 1, values, generator=generator) - 1).clamp(0, 1)
    own = model(images).argmax(1)
    best = torch.tensor([boxed_optimum(model, weight, image, norm) for image in images])
    free = free_optimum(model, weight, images, norm).amin(1)
    assert (best > 1.02 * free).any()  # the box does bind
    result = kind(threat=unbounded(norm), steps=25)(model, images, own)
    reachable = best.isfinite()
    assert reachable.any()
    assert torch.equal(result.success, reachable)
    assert (result.distance <= 1.05 * best)[reachable].all()
    assert (result.distance >= 0.999 * best)[reachable].all()


@pytest.fixture(scope="module")
def plane() -> tuple[fs.Classifier, Tensor, Tensor]:
    """A curved network on images of two values, a grid of them, and how it reads each."""
    model = curved(6, 3, values=2)
    axis = torch.linspace(0, 1, 701).double()
    grid = torch.cartesian_prod(axis, axis).view(-1, 1, 1, 2)
    with torch.no_grad():
        return model, grid, model(grid).argmax(1)


@by_norm
@by_kind
def test_on_a_small_curved_network_near_what_brute_force_finds(
    kind: Any, norm: str, plane: tuple[fs.Classifier, Tensor, Tensor]
) -> None:
    """Never nearer than half a million points, and mostly within 5 % of the nearest of them."""
    model, grid, read = plane
    images = torch.rand(8, 1, 1, 2, generator=torch.Generator().manual_seed(4)).double()
    own = model(images).argmax(1)
    threat = unbounded(norm)
    best = torch.stack([
        threat.distance(grid[read != y] - x).min() for x, y in zip(images, own, strict=True)
    ])  # fmt: skip
    result = kind(threat=threat, steps=30)(model, images, own, restarts=2)
    assert result.success.all()
    assert (result.distance >= best - 3e-3).all()
    assert (result.distance / best).median() <= 1.05
    assert (result.distance <= 1.25 * best).float().mean() >= 0.75


# The rule, step by step.


def slow_move(point: Tensor, slope: Tensor, lead: float, norm: str) -> Tensor:
    """Onto the plane within the box, by bisection, or value after value."""
    slope = -slope if lead > 0 else slope
    room = torch.where(slope > 0, 1 - point, point)
    if norm == "l1":
        move, missing = torch.zeros_like(point), abs(lead)
        for j in slope.abs().argsort(descending=True).tolist():
            part = min(float(room[j]), missing / float(slope[j].abs()))
            move[j] = part * slope[j].sign()
            missing -= part * float(slope[j].abs())
        return move
    pace = torch.ones_like(slope) if norm == "linf" else slope.abs()
    low, high = 0.0, 1e3
    for _ in range(70):
        middle = (low + high) / 2
        if float((torch.minimum(middle * pace, room) * slope.abs()).sum()) < abs(lead):
            low = middle
        else:
            high = middle
    return torch.minimum(high * pace, room) * slope.sign()


def slowly(
    model: fs.Classifier, image: Tensor, own: int, target: int | None, norm: str, steps: int
) -> Tensor:
    """What FAB shows the network, for one image of a search for one target or for the nearest."""
    clean, x = image.flatten(), image.flatten()
    size = unbounded(norm).distance
    shown = [image]
    for _ in range(steps):
        z = x.view(1, *image.shape).clone().requires_grad_()
        logits = model(z)[0]
        here = clean + 0.9 * (x - clean) if int(logits.argmax()) != own else x
        planes = []
        for rival in set(range(len(logits))) - {own} if target is None else {target}:
            lead = logits[rival] - logits[own]
            (slope,) = torch.autograd.grad(lead, z, retain_graph=True)
            slope = slope.flatten()
            value = lead.item() + float(slope @ (here - x))
            dual = torch.linalg.vector_norm(slope, ord=DUAL[norm])
            planes.append((abs(value) / float(dual), value, slope))
        _, value, slope = min(planes, key=lambda plane: plane[0])
        move = slow_move(here, slope, value, norm)
        clean_move = slow_move(clean, slope, value + float(slope @ (clean - here)), norm)
        first, second = (float(size(m.view(1, 1, 1, -1))) for m in (move, clean_move))
        a = min(first / (first + second), 0.1)
        x = ((1 - a) * (here + 1.05 * move) + a * (clean + 1.05 * clean_move)).clamp(0, 1)
        shown.append(x.view_as(image))
    return torch.stack(shown)


@by_norm
@by_kind
def test_the_path_is_the_slow_one(kind: Any, norm: str) -> None:
    model, images, steps = curved(), pictures(3), 10
    logits = model(images).detach()
    own = logits.argmax(1)
    seen: list[list[Tensor]] = [[] for _ in images]

    def note(step: Step) -> None:
        for index, image in zip(step.indices.tolist(), step.images, strict=True):
            seen[index].append(image)

    attack = kind(threat=unbounded(norm), steps=steps)
    attack(model, images, own, on_step=note, batch_size=2)
    for row, image in enumerate(images):
        ranked = logits[row].argsort(descending=True).tolist()[1:]
        targets = ranked if kind is TargetedFAB else [None]
        expected = [slowly(model, image, int(own[row]), t, norm, steps) for t in targets]
        torch.testing.assert_close(torch.stack(seen[row]), torch.cat(expected), rtol=0, atol=1e-7)


def test_a_step_costs_one_pass_forward_and_the_published_passes_back() -> None:
    model, images = curved(), pictures(4)
    own = model(images).argmax(1)
    # The clean look, then for each target its start and every step; the last needs no gradient.
    targeted = TargetedFAB(threat=unbounded("l2"), steps=7)(model, images, own)
    assert targeted.forwards.tolist() == [1 + 3 * 8] * 4
    assert targeted.backwards.tolist() == [3 * 7] * 4
    two = TargetedFAB(threat=unbounded("l2"), steps=7, targets=2)(model, images, own)
    assert two.forwards.tolist() == [1 + 2 * 8] * 4
    nearest = FAB(threat=unbounded("l2"), steps=7)(model, images, own)
    assert nearest.forwards.tolist() == [1 + 8] * 4
    assert nearest.backwards.tolist() == [3 * 7] * 4
    few = FAB(threat=unbounded("l2"), steps=7, candidates=2)(model, images, own)
    assert few.backwards.tolist() == [7] * 4


def test_the_defaults_are_the_published_budget() -> None:
    attack = TargetedFAB(threat=fs.Linf(0.3))
    assert (attack.targets, attack.steps) == (9, 100)
    assert (attack.alpha_max, attack.eta, attack.beta) == (0.1, 1.05, 0.9)


# Verdicts within a bound.


@by_norm
@by_kind
def test_a_verdict_is_right_on_both_sides_of_the_optimum(kind: Any, norm: str) -> None:
    """The first success is about 5 % too far, and must be drawn back into the bound."""
    model, weight = linear(7, 10, 40)
    images = grey(7, 2, 40, spread=0.03)
    own = model(images).argmax(1)
    best = free_optimum(model, weight, images, norm).amin(1)
    for row, distance in enumerate(best.tolist()):
        for share in (0.98, 1.02):
            attack = kind(threat=THREATS[norm](share * distance), steps=15)
            result = attack(model, images[row], own[row : row + 1], keep="first")
            assert result.success.item() == (share > 1)
            if share > 1:
                assert 3 < result.forwards.item() < 16  # not at once, and no longer than needed
            else:
                assert torch.equal(result.images[0], images[row])


@by_norm
def test_verdicts_agree_with_the_distances(
    norm: str, reader: tuple[fs.Classifier, Tensor, Tensor]
) -> None:
    model, images, classes = reader
    attack = TargetedFAB(threat=unbounded(norm), steps=10, targets=2)
    free = attack(model, images, classes)
    bound = float(free.distance.median())
    attack = TargetedFAB(threat=THREATS[norm](bound), steps=10, targets=2)
    first = attack(model, images, classes, keep="first", batch_size=8)
    assert torch.equal(first.success, free.distance <= bound * (1 + 1e-5) + 1e-6)
    assert (first.distance[first.success] <= bound * (1 + 1e-5) + 1e-6).all()
    assert (first.forwards[first.success] <= free.forwards[first.success]).all()
    assert first.forwards[first.success].float().mean() < 0.7 * free.forwards.float().mean()


@by_norm
def test_restarts_begin_elsewhere_half_way_to_the_bound(norm: str) -> None:
    model, images = curved(), pictures(3)
    own = model(images).argmax(1)
    for eps in (0.2, float("inf")):
        begun: list[Tensor] = []
        attack = FAB(threat=THREATS[norm](eps), steps=2)

        def note(step: Step, begun: list[Tensor] = begun) -> None:
            if (step.numbers == 0).all():
                begun.append(step.images)

        once = attack(model, images, own)
        result = attack(model, images, own, restarts=3, on_step=note)
        assert len(begun) == 3
        assert torch.equal(begun[0], images)
        assert not torch.equal(begun[1], begun[2])
        radius = 0.1 if eps == 0.2 else {"linf": 0.15, "l2": 0.5, "l1": 2.5}[norm]
        for start in begun[1:]:
            away = unbounded(norm).distance(start - images)
            assert (away <= radius * 1.0001).all()
            assert (away > 0.3 * radius).all()  # less than all of it only where the box cuts
        assert (result.success >= once.success).all()
        assert (result.distance <= once.distance)[once.success].all()


# The peer.


class Module(nn.Module):
    """The network as the peers want it: a module from [0, 1] to logits."""

    def __init__(self, model: fs.Classifier) -> None:
        super().__init__()
        self.model, self.inside = model, model.module

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


@by_norm
def test_no_further_away_than_with_torchattacks_at_half_the_passes_forward(
    norm: str, reader: tuple[fs.Classifier, Tensor, Tensor]
) -> None:
    """The medians within 2 %, the median of the ratios within 1 %, after as many steps."""
    import torchattacks

    model, images, classes = reader
    name = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    attack = torchattacks.FAB(Module(model).eval(), norm=name, steps=10, eps=1e9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = attack.attack_single_run(images, classes)
    ours = FAB(threat=unbounded(norm), steps=10)(model, images, classes)
    fell = model(theirs).argmax(1) != classes
    assert ours.success.sum() >= fell.sum() > 20
    distance = unbounded(norm).distance(theirs.detach() - images)
    assert ours.distance[fell].median() <= 1.02 * distance[fell].median()
    assert (ours.distance / distance)[fell].median() <= 1.01
    assert (ours.forwards <= 12).all()


@by_norm
def test_target_by_target_no_further_away_than_with_torchattacks(
    norm: str, reader: tuple[fs.Classifier, Tensor, Tensor]
) -> None:
    """The medians within 2 %, the median of the ratios within 1 %, with three targets each."""
    import torchattacks

    model, images, classes = reader
    name = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    attack = torchattacks.FAB(
        Module(model).eval(), norm=name, steps=10, eps=1e9, multi_targeted=True
    )
    best = torch.full((len(images),), torch.inf)
    for attack.target_class in (2, 3, 4):
        theirs = attack.attack_single_run_targeted(images, classes).detach()
        distance = unbounded(norm).distance(theirs - images)
        fell = model(theirs).argmax(1) != classes
        best = torch.where(fell, torch.minimum(best, distance), best)
    ours = TargetedFAB(threat=unbounded(norm), steps=10, targets=3)(model, images, classes)
    assert ours.success.sum() >= best.isfinite().sum() > 20
    assert ours.distance.median() <= 1.02 * best.median()
    assert (ours.distance / best).median() <= 1.01


# What must always hold.


@settings(max_examples=25)
@given(
    st.sampled_from([FAB, TargetedFAB]),
    st.sampled_from(list(THREATS)),
    st.integers(0, 1000),
    st.booleans(),
    st.sampled_from([2, 3, 4]),
    st.integers(1, 2),
)
def test_in_the_box_with_an_honest_verdict(
    kind: Any, norm: str, seed: int, targeted: bool, classes: int, restarts: int
) -> None:
    model, images = curved(seed, classes), pictures(5, seed)
    given_classes = torch.arange(5) % classes
    clean = model(images).argmax(1)
    shown: list[Tensor] = []
    result = kind(threat=unbounded(norm), steps=4)(
        model, images, given_classes, targeted=targeted, seed=seed, restarts=restarts,
        on_step=lambda step: shown.append(step.images),
    )  # fmt: skip
    for image in [*shown, result.images]:
        assert image.isfinite().all()
        assert image.min() >= 0
        assert image.max() <= 1
    read = model(result.images).argmax(1)
    assert torch.equal(result.at_start, (clean == given_classes) == targeted)
    assert torch.equal(result.success, (read == given_classes) == targeted)
    assert torch.equal(result.images[result.at_start], images[result.at_start])
    torch.testing.assert_close(
        result.distance, unbounded(norm).distance(result.images - images), rtol=0, atol=1e-12
    )


@by_norm
@by_kind
@pytest.mark.parametrize("targeted", [False, True])
def test_neighbours_and_slots_do_not_matter(kind: Any, norm: str, targeted: bool) -> None:
    model, images = curved(2), pictures(7, 2)
    classes = torch.arange(7) % 4
    attack = kind(threat=THREATS[norm](1.0), steps=6)
    how = {"targeted": targeted, "restarts": 2, "keep": "first", "seed": 5}
    whole = attack(model, images, classes, **how)
    for parts in (1, 2, 4):
        again = attack(model, images, classes, batch_size=parts, **how)
        assert torch.equal(again.success, whole.success)
        torch.testing.assert_close(again.images, whole.images, rtol=0, atol=1e-7)
        assert torch.equal(again.forwards, whole.forwards)
    assert torch.equal(attack(model, images, classes, **how).images, whole.images)


@by_norm
@by_kind
def test_targets_are_reached_one_by_one(
    kind: Any, norm: str, reader: tuple[fs.Classifier, Tensor, Tensor]
) -> None:
    model, images, classes = (t[:10] if isinstance(t, Tensor) else t for t in reader)
    wanted = (classes + 1 + torch.arange(10) % 9) % 10
    result = kind(threat=unbounded(norm), steps=20)(model, images, wanted, targeted=True)
    read = model(result.images).argmax(1)
    assert torch.equal(read == wanted, result.success)
    assert result.success.float().mean() >= 0.9
    assert (result.forwards <= 22).all()
    if kind is TargetedFAB:
        return
    away = kind(threat=unbounded(norm), steps=20)(model, images, classes)
    assert result.distance.median() > 1.2 * away.distance.median()


@by_norm
@by_kind
def test_pixels_at_the_ends_of_the_box_can_move(kind: Any, norm: str) -> None:
    model, images = curved(1), pictures(6, 1).round()
    own = model(images).argmax(1)
    result = kind(threat=unbounded(norm), steps=10)(model, images, own)
    moved = (result.images - images)[result.success]
    assert (moved[images[result.success] == 0] > 0).any()
    assert (moved[images[result.success] == 1] < 0).any()


@by_kind
def test_a_network_without_slope_is_survived(kind: Any) -> None:
    model, _ = linear(0, 3, 4)
    with torch.no_grad():
        model.module[1].weight.zero_()
        model.module[1].bias.copy_(torch.tensor([1.0, 0, 0]))
    images = grey(0, 2, 4)
    result = kind(threat=unbounded("linf"), steps=3)(model, images, 0)
    assert not result.success.any()
    assert torch.equal(result.images, images)


@by_kind
def test_unusable_parameters(kind: Any) -> None:
    bad: list[dict[str, Any]] = [
        {"threat": fs.Unbounded()},
        {"steps": 0},
        {"alpha_max": 1.5},
        {"beta": -0.1},
        {"eta": 0.9},
        {"candidates": 1} if kind is FAB else {"targets": 0},
    ]
    for parameters in bad:
        with pytest.raises(InvalidParameterError, match="expected"):
            kind(**{"threat": fs.L2(1), **parameters})
