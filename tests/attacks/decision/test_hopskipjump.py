"""HopSkipJump: the normal of a plane, its schedule by a slow re-implementation, planes, peers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from decision_networks import Ledger, by_art, by_foolbox, deciding
from linear_networks import free_optimum, grey, linear, unbounded
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.decision.hopskipjump import HopSkipJump
from fluoroscope.engine.stream import Step


@pytest.mark.parametrize(("norm", "factor"), [("l2", 1.1), ("linf", 1.25)])
def test_on_a_plane_it_comes_close_to_the_optimum(norm: str, factor: float) -> None:
    model, weight = linear(0, 2, 24)
    images = grey(0, 8, 24, spread=0.05)
    optimum = free_optimum(model, weight, images, norm).amin(1)
    attack = HopSkipJump(threat=unbounded(norm), queries=1000)
    result = attack(deciding(model), images, model(images).argmax(1))
    ratio = result.distance / optimum
    assert result.success.all()
    assert (ratio > 0.999).all()
    assert ratio.median() < factor
    assert ratio.max() < 1.5 * factor


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_rounds_probes_and_steps_are_the_papers(norm: str) -> None:
    """Follows one search and computes each step from what was asked and answered before it."""
    model, _ = linear(3, 3, 30)
    image = grey(3, 1, 30, spread=0.1).double()
    model = model.to(dtype=torch.float64)
    own = model(image).argmax(1)
    asked: list[tuple[Tensor, bool]] = []

    def note(step: Step) -> None:
        asked.extend(zip(step.images, step.reached.tolist(), strict=True))

    attack = HopSkipJump(threat=unbounded(norm), queries=600, initial_probes=40, gamma=2.0)
    attack(model, image, own, on_step=note)
    far = attack.threat.distance
    theta = 2.0 / 30 ** (1.5 if norm == "l2" else 2)
    at = next(number for number, (_, reached) in enumerate(asked) if reached)
    point, rounds = asked[at][0], 0
    at += 1
    while True:
        for _ in range(math.ceil(-math.log2(theta))):
            picture, reached = asked[at]
            point, at = picture if reached else point, at + 1
        rounds += 1
        count = int(40 * math.sqrt(rounds))
        if at + count + 20 > 600:
            break
        away = float(far((point - image[0])[None]))
        delta = 0.1 if rounds == 1 else 2.0 * away / 30
        moves = torch.stack([picture - point for picture, _ in asked[at : at + count]]) / delta
        lengths = moves.flatten(1).norm(dim=1)
        assert lengths.max() < 1 + 1e-5
        assert rounds == 1 or lengths.min() > 1 - 1e-5  # the first may have met the box
        votes = torch.tensor([1.0 if reached else -1.0 for _, reached in asked[at : at + count]])
        mean = votes.mean() if votes.mean().abs() < 1 else 0
        normal = ((votes - mean).view(-1, 1, 1, 1) * moves).mean(0)
        normal = normal.sign() if norm == "linf" else normal / normal.norm()
        at += count
        size = away / math.sqrt(rounds)
        while True:
            picture, reached = asked[at]
            expected = (point + size * normal).clamp(0, 1)
            torch.testing.assert_close(picture, expected, atol=1e-6, rtol=1e-6)
            at, size = at + 1, size / 2
            if reached:
                point = picture
                break
    assert rounds >= 4


def test_parameters_are_checked() -> None:
    for wrong in ({"initial_probes": 0}, {"max_probes": 50}, {"gamma": 0}):
        with pytest.raises(fs.FluoroscopeError, match=next(iter(wrong))):
            HopSkipJump(**wrong)  # type: ignore[arg-type]
    with pytest.raises(fs.FluoroscopeError, match="not defined for the norm l1"):
        HopSkipJump(threat=fs.L1(math.inf))


def test_the_most_probes_are_a_bound(reader: Any) -> None:
    model, images, classes = reader
    capped = HopSkipJump(queries=200, initial_probes=30, max_probes=30)
    free = HopSkipJump(queries=200, initial_probes=30)
    results = [attack(model, images[:3], classes[:3]) for attack in (capped, free)]
    assert not torch.equal(results[0].images, results[1].images)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_at_least_as_good_as_the_best_peer(reader: Any, norm: str) -> None:
    """Mean of the closest success among the first 500 decisions, within a factor of 1.35.

    On twelve digits the draw alone moves the mean of a peer by a tenth, and another processor's
    rounding makes another draw: on four, ART came from 1.54 to 2.06 in L2.
    """
    import foolbox

    model, images, classes = reader
    images, classes, queries = images[:12], classes[:12], 500
    ledger = Ledger(model, unbounded(norm), queries)
    peers = {
        "foolbox": by_foolbox(ledger, foolbox.attacks.HopSkipJumpAttack(constraint=norm)),
        "ART": by_art(
            ledger, (1, 28, 28), "HopSkipJump", norm=2 if norm == "l2" else np.inf
        ),
    }  # fmt: skip
    far = {
        name: float(ledger.closest(peer, images, classes).mean()) for name, peer in peers.items()
    }
    result = HopSkipJump(threat=unbounded(norm), queries=queries)(model, images, classes)
    assert result.success.all()
    assert result.distance.mean() <= 1.35 * min(far.values()), far
