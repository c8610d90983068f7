"""The boundary attack: where candidates lie, how sizes follow success, planes, peers."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from decision_networks import Ledger, by_art, by_foolbox, deciding
from linear_networks import free_optimum, grey, linear, unbounded
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.decision.boundary import (
    _CHECK,
    _WALK,
    CHECK,
    CHECKS,
    STEPS,
    Boundary,
    _candidates,
)
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Samples


def begin(attack: Boundary, images: Tensor) -> Any:
    number = torch.arange(len(images))
    keys = randomness.keys(0, number)
    towards = -torch.ones(len(images))
    return attack.start(Samples(images, 0 * number, towards, number, keys, 0 * number))


def answer(reached: Tensor) -> Answer:
    return Answer(torch.nn.functional.one_hot(reached.long(), 2).float())


def test_candidates_lie_on_the_sphere_and_then_inside_it() -> None:
    original = torch.full((3, 1, 4, 4), 0.5).double()
    state = begin(Boundary(), original)
    point = original + 0.02 * torch.randn(3, 1, 4, 4, dtype=torch.double)
    sizes = torch.tensor([0.1, 0.3, 1.0]).double()
    rows = torch.arange(3)
    state = replace(
        state, point=point, delta=sizes, epsilon=sizes / 4, phase=torch.full((3,), _CHECK)
    )
    away, distance = point - original, (point - original).flatten(1).norm(dim=1)
    sphere = _candidates(state, rows) - original
    torch.testing.assert_close(sphere.flatten(1).norm(dim=1), distance)
    # An orthogonal step of delta times the distance, scaled back: the cosine is 1 / sqrt(1 + d^2).
    cosine = torch.cosine_similarity(sphere.flatten(1), away.flatten(1))
    torch.testing.assert_close(cosine, 1 / (1 + sizes**2).sqrt())
    inside = _candidates(replace(state, phase=torch.full((3,), _WALK)), rows) - original
    torch.testing.assert_close(inside, sphere * (1 - sizes / 4).view(-1, 1, 1, 1))


def test_sizes_grow_and_shrink_with_success() -> None:
    images = torch.full((4, 1, 2, 2), 0.5)
    attack = Boundary(queries=10_000)
    state = begin(attack, images)
    state = attack.tell(state, answer(torch.ones(4)))
    while not (state.phase == _WALK).all():
        state = attack.tell(state, answer(torch.ones(4)))
    zero = torch.zeros(4, dtype=torch.long)
    state = replace(state, checks=zero, flat=zero, steps=zero, inward=zero)
    # Who succeeds: at nothing; at both; at checks alone; at half of the candidates alone.
    for number in range(1000):
        check = bool(state.phase[0] == _CHECK)
        told = torch.tensor([False, True, check, not check and number % 2 == 0])
        before = state
        state = attack.tell(state, answer(told))
        assert torch.equal(state.point[told], before.images[told])
        assert torch.equal(state.point[~told], before.point[~told])
        changed = state.delta / before.delta
        looked = before.checks[0] + check >= CHECKS
        grown = 1.5 if looked else 1.0
        torch.testing.assert_close(changed, torch.tensor([1 / grown, grown, grown, 1 / grown]))
        counted = before.steps[0] + (not check) >= STEPS
        inwards = state.epsilon / before.epsilon / changed
        by = 1.5 if counted else 1.0
        expected = torch.tensor([1 / by, by, 1 / by, by])
        free = state.epsilon < 1
        torch.testing.assert_close(inwards[free], expected[free])
        if number > 60:
            break
    assert state.queries[0] > 60


def test_every_fifth_candidate_is_a_check() -> None:
    attack = Boundary()
    state = begin(attack, torch.full((1, 1, 2, 2), 0.5))
    phases = []
    for _ in range(60):
        state = attack.tell(state, answer(torch.ones(1)))
        phases.append((int(state.queries[0]), int(state.phase[0])))
    walked = [(query, phase) for query, phase in phases if phase >= _WALK]
    assert len(walked) > 40
    assert all((phase == _CHECK) == (query % CHECK == 0) for query, phase in walked)


def test_on_a_plane_it_comes_close_to_the_optimum() -> None:
    model, weight = linear(0, 2, 24)
    images = grey(0, 8, 24, spread=0.05)
    optimum = free_optimum(model, weight, images, "l2").amin(1)
    result = Boundary(queries=1500)(deciding(model), images, model(images).argmax(1))
    ratio = result.distance / optimum
    assert result.success.all()
    assert (ratio > 0.999).all()
    assert ratio.median() < 1.1
    assert ratio.max() < 1.3


def test_parameters_are_checked(reader: Any) -> None:
    for wrong in ({"delta": 0}, {"epsilon": 0}, {"epsilon": 1.5}):
        with pytest.raises(fs.FluoroscopeError, match=next(iter(wrong))):
            Boundary(**wrong)  # type: ignore[arg-type]
    with pytest.raises(fs.FluoroscopeError, match="not defined for the norm linf"):
        Boundary(threat=fs.Linf(0.1))
    model, images, classes = reader
    found = [
        Boundary(queries=100, **own)(model, images[:2], classes[:2]).images  # type: ignore[arg-type]
        for own in ({}, {"delta": 0.1}, {"epsilon": 0.1})
    ]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_at_least_as_good_as_the_best_peer(reader: Any) -> None:
    """Mean of the closest success among the first 500 decisions, no worse than either."""
    import foolbox

    model, images, classes = reader
    images, classes, queries = images[:3], classes[:3], 500
    ledger = Ledger(model, unbounded("l2"), queries)
    start = foolbox.attacks.LinearSearchBlendedUniformNoiseAttack(steps=50)
    peers = {
        "foolbox": by_foolbox(ledger, foolbox.attacks.BoundaryAttack(init_attack=start)),
        "ART": by_art(ledger, (1, 28, 28), "BoundaryAttack", targeted=False),
    }
    far = {
        name: float(ledger.closest(peer, images, classes).mean()) for name, peer in peers.items()
    }
    result = Boundary(queries=queries)(model, images, classes)
    assert result.success.all()
    assert result.distance.mean() <= min(far.values()), far
