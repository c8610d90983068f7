"""Sparse-RS: the published schedule, exchanges by hand, acceptance, the best pixels of a line."""

import math
from typing import Any

import pytest
import torch
from linear_networks import linear
from score_networks import begin, network, pictures, told

import fluoroscope as fs
from fluoroscope.attacks.sparse.one_pixel import OnePixel
from fluoroscope.attacks.sparse.pixels import paint
from fluoroscope.attacks.sparse.sparse_rs import SparseRS
from fluoroscope.engine.stream import take
from fluoroscope.errors import InvalidParameterError


def leaving(query: int, queries: int, count: int, alpha_init: float) -> int:
    """How many pixels the candidate of that query exchanges, as published."""
    at = int(query / queries * 10_000)
    divisor = 20
    for end, by in [(50, 2), (200, 4), (500, 5), (1000, 6), (2000, 8), (4000, 10), (6000, 12),
                    (8000, 15)]:  # fmt: skip
        if at <= end:
            divisor = by
            break
    return max(int(alpha_init / divisor * count), 1)


@pytest.mark.parametrize("queries", [200, 10_000])
def test_the_number_exchanged_follows_the_published_schedule(queries: int) -> None:
    attack = SparseRS(threat=fs.L0(150), queries=queries)
    at = torch.arange(1, queries)
    found = attack._leaving(at, 150).tolist()
    assert found == [leaving(query, queries, 150, 0.3) for query in at.tolist()]
    assert (found[0], found[-1]) == (22, 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_exchanges_are_the_papers(channels: int) -> None:
    images = pictures(3, (channels, 8, 8))
    images = images.round() if channels == 1 else images  # half of all corners change nothing
    attack = SparseRS(threat=fs.L0(20), queries=40, alpha_init=0.6)
    state = begin(attack, images)
    assert torch.equal(state.new_places, state.places)
    scores = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    best = [-math.inf] * 3
    kept: list[tuple[set[int], torch.Tensor]] = [(set(), images[row]) for row in range(3)]
    for query in range(40):
        shown = attack.ask(state).images
        for row in range(3):
            places = set(state.new_places[row].tolist())
            changed = (shown[row] != images[row]).any(0).flatten().nonzero().flatten().tolist()
            assert set(changed) == places  # no colour is the pixel's own
            assert len(places) == 20
            at = shown[row].flatten(1)[:, changed]
            assert ((at == 0) | (at == 1)).all()
            if query:
                count = leaving(query, 40, 20, 0.6)
                assert len(kept[row][0] - places) == len(places - kept[row][0]) == count
                stay = list(places & kept[row][0])
                assert torch.equal(shown[row].flatten(1)[:, stay], kept[row][1].flatten(1)[:, stay])
            if scores[query, row] > best[row]:
                best[row], kept[row] = float(scores[query, row]), (places, shown[row])
        state = told(attack, state, scores[query])
        for row in range(3):
            assert set(state.places[row].tolist()) == kept[row][0]
            assert torch.equal(paint(images, state.places, state.colours)[row], kept[row][1])
    assert state.done.all()


def test_who_leaves_and_who_comes_has_equal_chance() -> None:
    images = torch.full((3000, 1, 4, 5), 0.5)
    attack = SparseRS(threat=fs.L0(8), queries=1000, alpha_init=1.0)
    state = begin(attack, images)
    assert (state.places.flatten().bincount(minlength=20) / 3000 - 0.4).abs().max() < 0.04
    state = told(attack, state, torch.zeros(3000))
    old = torch.zeros(3000, 20).scatter(1, state.places, 1)
    new = torch.zeros(3000, 20).scatter(1, state.new_places, 1)
    assert (new.sum(1) == 8).all()
    gone, come = ((old - new) > 0).sum(0) / 3000, ((new - old) > 0).sum(0) / 3000
    for share in (gone, come):
        assert (share - 4 / 20).abs().max() < 0.04  # half of 8 go
    colours = state.colours.flatten(1).mean()
    assert abs(float(colours) - 0.5) < 0.02


def test_samples_at_different_queries_exchange_different_numbers() -> None:
    images = pictures(3, (1, 8, 8))
    attack = SparseRS(threat=fs.L0(30), queries=1000, alpha_init=1.0)
    state = told(attack, begin(attack, images), torch.zeros(3))
    state = type(state)(**{**vars(state), "queries": torch.tensor([1, 60, 900])})
    state = told(attack, state, torch.full((3,), -1.0))
    for row, query in enumerate((2, 61, 901)):
        new = set(state.new_places[row].tolist()) - set(state.places[row].tolist())
        assert len(new) == leaving(query, 1000, 30, 1.0)
        one = take(state, torch.tensor([row]))
        alone = told(attack, one, [-1.0])
        assert len(set(alone.new_places[0].tolist())) == 30


@pytest.mark.parametrize("targeted", [False, True])
def test_the_loss_is_the_margin_or_the_wanted_class_cross_entropy(targeted: bool) -> None:
    images = pictures(3)
    state = begin(SparseRS(threat=fs.L0(2)), images, towards=1.0 if targeted else -1.0)
    z = torch.tensor([[1.0, 2.0, -1.0], [3.0, 0.0, 1.0], [0.0, 5.0, 1.0]]).double()
    found = SparseRS(threat=fs.L0(2)).ask(state).objective(z, state.samples.classes)
    margin = z[:, 0] - z[:, 1:].amax(1)
    torch.testing.assert_close(found, z.log_softmax(1)[:, 0] if targeted else -margin)


def test_the_best_pixels_of_a_linear_network_are_found() -> None:
    model, weight = linear(1, 2, 36)
    images = 0.5 + torch.zeros(8, 1, 6, 6)
    images += 0.1 * torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    classes = model(images).argmax(1)
    away = 1.0 - 2 * classes  # the way from the own class to the other
    slope = away.view(-1, 1, 1, 1) * (weight[1] - weight[0]).view(6, 6)
    gains = (torch.where(slope > 0, 1 - images, images) * slope.abs()).flatten(1)
    most = gains.topk(5, dim=1).values.sum(1)
    attack = SparseRS(threat=fs.L0(5), queries=600)
    result = attack(model, images, classes, keep="best")
    gained = away * (result.logits - model(images)).diff(dim=1)[:, 0]
    assert (gained <= most + 1e-5).all()
    assert (gained / most).mean() > 0.97


def test_nearly_all_pixels_leave_room_for_an_exchange() -> None:
    model, images = network((1, 3, 3)), pictures(4, (1, 3, 3))
    classes = model(images).argmax(1)
    attack = SparseRS(threat=fs.L0(8), queries=20, alpha_init=2.0)
    assert bool(attack(model, images, classes, keep="best").finished.all())
    for eps in (9, 10):
        with pytest.raises(InvalidParameterError, match="expected fewer than the 9"):
            SparseRS(threat=fs.L0(eps))(model, images, classes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.Linf(0.1)},
        {"threat": fs.L0(math.inf)},
        {"queries": 0},
        {"alpha_init": 0.0},
        {"alpha_init": 2.5},
    ],
)
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expect") as caught:
        SparseRS(**({"threat": fs.L0(1)} | wrong))
    assert "\n" not in str(caught.value)


def test_better_than_differential_evolution_at_equal_queries(reader: Any) -> None:
    # No peer has it; the paper finds it ahead of the other black-box attacks.
    model, images, classes = reader
    ours = SparseRS(threat=fs.L0(6), queries=200)(model, images, classes)
    evolved = OnePixel(threat=fs.L0(6), population=40, generations=4)(model, images, classes)
    assert ours.success.sum() >= evolved.success.sum() + 4


def test_colours_do_not_depend_on_how_many_pixels_others_exchange() -> None:
    attack = fs.attack("sparse-rs", eps=20)
    assert isinstance(attack, fs.attacks.SparseRS)
    images = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    keys, queries = torch.arange(8), torch.tensor([1, 9000] * 4)  # many, and few
    places = torch.arange(20).repeat(8, 1)
    colours = images.flatten(2)[:, :, :20].round()
    together = attack._exchange(images, places, colours, keys, queries)
    assert attack._leaving(queries, 20).tolist() == [3, 1] * 4
    for row in range(8):
        part = slice(row, row + 1)
        alone = attack._exchange(
            images[part], places[part], colours[part], keys[part], queries[part]
        )
        assert all(torch.equal(a[0], b[row]) for a, b in zip(alone, together, strict=True))
