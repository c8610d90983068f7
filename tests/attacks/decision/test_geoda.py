"""GeoDA: planes in three norms, the closest points of a plane in the box, rounds, a peer."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from decision_networks import Ledger, by_art, deciding
from linear_networks import (
    boxed_optimum,
    free_optimum,
    grey,
    linear,
    shortest_move,
    unbounded,
)
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.decision.geoda import FIRST, GeoDA, _along
from fluoroscope.engine.stream import Step
from fluoroscope.engine.vectors import cosines

NORMS = ["l2", "linf", "l1"]


@pytest.mark.parametrize(("norm", "factor"), [("l2", 1.1), ("linf", 1.2), ("l1", 1.2)])
def test_on_a_plane_it_comes_close_to_the_optimum(norm: str, factor: float) -> None:
    model, weight = linear(0, 2, 24)
    images = grey(0, 8, 24, spread=0.05)
    optimum = free_optimum(model, weight, images, norm).amin(1)
    attack = GeoDA(threat=unbounded(norm), queries=800, subspace=24)
    result = attack(deciding(model), images, model(images).argmax(1))
    ratio = result.distance / optimum
    assert result.success.all()
    assert (ratio > 0.999).all()
    assert ratio.median() < factor
    assert ratio.max() < 1.5 * factor


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_far_into_the_box(norm: str) -> None:
    """Where the box is in the way, as on black pictures, the optimum is a solver's."""
    model, weight = linear(2, 2, 16)
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([0.0, 0.2, 0.9, 1.0]).repeat(4)
    images = torch.stack([levels[torch.randperm(16, generator=generator)] for _ in range(6)])
    images = images.view(6, 1, 1, 16)
    attack = GeoDA(threat=unbounded(norm), queries=800, subspace=16)
    result = attack(deciding(model), images, model(images).argmax(1))
    optima = [boxed_optimum(model, weight, image, norm) for image in images]
    ratio = result.distance / torch.tensor(optima)
    assert (ratio > 0.999).all()
    assert ratio.median() < 1.3
    assert ratio.max() < 1.6


@pytest.mark.parametrize("norm", NORMS)
def test_a_direction_meets_a_plane_where_it_is_closest(norm: str) -> None:
    generator = torch.Generator().manual_seed(4)
    for _ in range(5):
        original = torch.rand(1, 1, 2, 5, generator=generator).double().round(decimals=1)
        normal = torch.randn(1, 1, 2, 5, generator=generator).double()
        room = torch.where(normal > 0, 1 - original, original)
        gap = 0.5 * float((normal.abs() * room).sum())
        lengths = torch.linspace(0, 20, 20_001).double()
        many = len(lengths)
        points = _along(
            normal.expand(many, -1, -1, -1), original.expand(many, -1, -1, -1), lengths, norm
        )
        gained = ((points - original) * normal).flatten(1).sum(1)
        met = points[int((gained >= gap).nonzero()[0])]
        distance = unbounded(norm).distance((met - original[0])[None])
        best = shortest_move(original.flatten().numpy(), normal.flatten().numpy(), gap, norm)
        assert float(distance) == pytest.approx(best, rel=2e-3, abs=2e-3)


def test_probes_lie_in_the_lowest_frequencies_and_sum_to_the_normal() -> None:
    model, _ = linear(1, 2, 40)
    image = grey(1, 1, 40, spread=0.1).double()
    model = model.to(dtype=torch.float64)
    asked: list[tuple[Tensor, bool]] = []

    def note(step: Step) -> None:
        asked.extend(zip(step.images.flatten(1), step.reached.tolist(), strict=True))

    GeoDA(queries=400, subspace=6, sigma=0.001)(model, image, model(image).argmax(1), on_step=note)
    table = cosines(40, 40)
    torch.testing.assert_close(table @ table.T, torch.eye(40).double())
    first = next(at for at, (_, reached) in enumerate(asked) if reached)
    rest = 0.1 * 0.001 * math.sqrt(6)
    begun = float((asked[first][0] - image.flatten()).norm())
    at = first + 1 + math.ceil(math.log2(begun / rest))
    point = next(picture for picture, reached in reversed(asked[:at]) if reached)
    total, count = torch.zeros(40).double(), 0
    while (high := table[6:] @ (asked[at][0] - point)).abs().max() < 1e-9:
        total += (asked[at][0] - point) * (1 if asked[at][1] else -1)
        at, count = at + 1, count + 1
        assert (asked[at - 1][0] - point).norm() < 0.001 * 6
    assert high.numel() == 34
    assert count >= FIRST
    ahead = asked[at][0] - image.flatten()
    assert torch.cosine_similarity(ahead, total, dim=0) > 1 - 1e-9
    assert ahead.norm() == pytest.approx(float((point - image.flatten()).norm()), rel=1e-6)


def test_rounds_grow_by_the_share(reader: Any) -> None:
    model, images, classes = reader
    counts: list[int] = []
    attack = GeoDA(queries=1000)
    begun = attack._round

    def noted(state: Any, begins: Tensor) -> Any:
        state = begun(state, begins)
        if bool(begins.any()) and not bool(state.done.any()):
            counts.append(int(state.planned[0]))
        return state

    object.__setattr__(attack, "_round", noted)
    result = attack(model, images[:1], classes[:1])
    assert FIRST <= counts[0] < 2 * FIRST
    for before, after in itertools.pairwise(counts):
        assert after / before == pytest.approx(0.6 ** (-2 / 3), rel=0.1)
    assert len(counts) >= 4
    assert result.forwards[0] > 950


def test_parameters_are_checked(reader: Any) -> None:
    for wrong in ({"sigma": 0}, {"share": 1}, {"share": 0}, {"subspace": 0}):
        with pytest.raises(fs.FluoroscopeError, match=next(iter(wrong))):
            GeoDA(**wrong)  # type: ignore[arg-type]
    model, images, classes = reader
    with pytest.raises(fs.FluoroscopeError, match="subspace is 29; expected at most 28"):
        GeoDA(subspace=29)(model, images, classes)
    one, other = (GeoDA(queries=300, **own) for own in ({}, {"share": 0.9}))  # type: ignore[arg-type]
    two = [attack(model, images[:2], classes[:2]).images for attack in (one, other)]
    assert not torch.equal(*two)


@pytest.mark.parametrize("norm", NORMS)
def test_at_least_as_good_as_the_peer(
    reader: Any, norm: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Mean of the closest success among the first 400 decisions; the peer is ART's GeoDA."""
    monkeypatch.chdir(tmp_path)  # it writes its cosines where it is called
    monkeypatch.setattr(np, "mat", np.asmatrix, raising=False)  # gone from NumPy 2
    model, images, classes = reader
    images, classes, queries = images[:3], classes[:3], 400
    ledger = Ledger(model, unbounded(norm), queries)
    order = {"l2": 2, "linf": np.inf, "l1": 1}[norm]
    peer = by_art(ledger, (1, 28, 28), "GeoDA", norm=order, max_iter=queries)
    far = float(ledger.closest(peer, images, classes).mean())
    result = GeoDA(threat=unbounded(norm), queries=queries)(model, images, classes)
    assert result.success.all()
    assert result.distance.mean() <= 0.5 * far
