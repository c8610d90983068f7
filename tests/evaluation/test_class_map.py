"""The map between classes: closed forms on linear networks, routes, what is met, what is kept."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fluoroscope as fs
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Step
from fluoroscope.evaluation.class_map import ClassMap, Pair, Station, _Watch
from fluoroscope.pictures.class_maps import class_map_figure


def linear(classes: int, channels: int = 1) -> tuple[fs.Classifier, torch.Tensor]:
    torch.manual_seed(classes)
    layer = nn.Linear(channels * 36, classes, bias=False)
    layer.weight.data -= layer.weight.data.mean(1, keepdim=True)  # grey is on every border
    model = fs.Classifier(nn.Sequential(nn.Flatten(), layer), channels=channels, input_size=6)
    return model, layer.weight.detach()


def nearest(model: fs.Classifier, weight: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The closest image predicted as each class ``(N, K)``, no less than the border to its own."""
    logits = model(images).detach()
    own = logits.argmax(1)
    lead = logits.gather(1, own[:, None]) - logits
    return lead / (weight[own][:, None] - weight).abs().sum(2)


def made(pairs: list[tuple[int, int, float]], classes: int = 4) -> ClassMap:
    return ClassMap(
        labels=tuple("abcdefgh"[:classes]), norm="linf",
        pairs=tuple(Pair(a, b, far, 1, int(far < math.inf)) for a, b, far in pairs),
        chosen="by hand", pictures=1, forwards=0, backwards=0, seconds=0.0, complete=True,
    )  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_between_two_classes_it_is_the_median_distance_to_the_border(channels: int) -> None:
    model, weight = linear(2, channels)
    images = 0.5 + 0.05 * torch.randn(30, channels, 6, 6)
    labels = model(images).argmax(1)
    found = fs.class_map(model, images, labels, pictures=5)
    borders = nearest(model, weight, images)
    for own in (0, 1):
        first = (labels == own).nonzero().squeeze(1)[:5]
        expected = float(borders[first, 1 - own].double().median())
        pair = found.pair(own, 1 - own)
        assert pair is not None
        assert pair.searches == len(first)
        assert pair.stations == ()
        assert pair.distance == pytest.approx(expected, rel=0.05)
    assert found.complete


def test_no_way_is_shorter_than_its_own_border() -> None:
    model, weight = linear(5)
    images = 0.5 + 0.05 * torch.randn(60, 1, 6, 6)
    found = fs.class_map(model, images, model(images).argmax(1), pictures=1)
    borders, labels = nearest(model, weight, images), model(images).argmax(1)
    assert len(found.pairs) == 4 * len(labels.unique())
    for pair in found.pairs:
        first = int((labels == pair.source).nonzero()[0])
        assert pair.distance >= 0.999 * float(borders[first, pair.target])
        assert pair.distance <= 3 * float(borders[first, pair.target])


def test_of_many_classes_the_nearest_and_some_drawn_are_measured() -> None:
    model, weight = linear(1000)
    images = 0.5 + 0.05 * torch.randn(6, 1, 6, 6)
    labels = model(images).argmax(1)
    found = fs.class_map(model, images, labels, targets=6, seed=3)
    borders = nearest(model, weight, images).scatter(1, labels[:, None], math.inf)
    assert "4 classes nearest" in found.chosen
    for row, label in enumerate(labels.tolist()):
        if (labels[:row] == label).any():
            continue
        targets = {pair.target for pair in found.pairs if pair.source == label}
        assert len(targets) == 6
        assert int(borders[row].argmin()) in targets
    again = fs.class_map(model, images, labels, targets=6, seed=3)
    assert again.pairs == found.pairs
    assert fs.class_map(model, images, labels, targets=6, seed=4).pairs != found.pairs


def test_stations_are_those_read_before_the_first_success() -> None:
    """Along one line of brightness: class 0, then 1, then 2."""
    layer = nn.Linear(1, 3)
    layer.weight.data = torch.tensor([[0.0], [10.0], [20.0]])
    layer.bias.data = torch.tensor([0.0, -3.0, -9.0])
    model = fs.Classifier(nn.Sequential(nn.Flatten(), layer), channels=1, input_size=1)
    image = torch.full((1, 1, 1, 1), 0.1)
    method = fs.attack("fmn", norm="linf", steps=60, step_size=0.05)
    found = fs.class_map(model, image, torch.tensor([0]), attack=method, classes=[0, 2])
    pair = found.pair(0, 2)
    assert pair is not None
    assert pair.stations == (Station(1, 1, 1.0),)
    assert pair.distance == pytest.approx(0.5, rel=0.02)


def test_routes_go_over_what_lies_between() -> None:
    found = made([(0, 1, 1.0), (1, 2, 1.0), (0, 2, 1.9), (2, 3, math.inf)])
    way = found.route("a", "c", power=2)
    assert way is not None
    assert (way.classes, way.hops, way.direct) == ((0, 1, 2), (1.0, 1.0), 1.9)
    straight = found.route("a", "c", power=1)
    assert straight is not None
    assert straight.classes == (0, 2)
    assert found.route("a", "d") is None
    there = found.route("a", "a")
    assert there is not None
    assert there.classes == (0,)
    assert [pair.target for pair in found.neighbours("a")] == [1, 2]
    with pytest.raises(fs.FluoroscopeError, match="more than 0"):
        found.route("a", "c", power=0)


def test_saved_and_loaded(tmp_path: Path) -> None:
    found = made([(0, 1, 0.25), (1, 0, math.inf)])
    path = found.save(tmp_path)
    assert ClassMap.load(path) == found
    said = json.loads(path.read_text())
    assert said["pairs"][1]["distance"] is None
    path.write_text(json.dumps({**said, "format": 99}))
    with pytest.raises(fs.FluoroscopeError, match="newer"):
        ClassMap.load(path)
    path.write_text("{")
    with pytest.raises(fs.FluoroscopeError, match="cannot be read"):
        ClassMap.load(path)


def test_interrupted_it_keeps_what_was_found() -> None:
    model, _ = linear(4)
    images = 0.5 + 0.05 * torch.randn(40, 1, 6, 6)
    told: list[int] = []
    found = fs.class_map(
        model, images, model(images).argmax(1), pictures=2, batch_size=4,
        on_progress=lambda p: told.append(p.done), cancelled=lambda: bool(told and told[-1] >= 4),
    )  # fmt: skip
    assert not found.complete
    assert 0 < sum(pair.searches for pair in found.pairs) < told[-1] + 5


def test_what_it_refuses() -> None:
    model, _ = linear(3)
    images = 0.5 + 0.05 * torch.randn(6, 1, 6, 6)
    labels = model(images).argmax(1)
    wrong = (labels + 1) % 3
    for options, words in (
        ({"classes": [1]}, "expected at least 2"),
        ({"pictures": -1}, "pictures is -1"),
        ({"threat": "l0:3"}, "expected linf, l2, l1"),
        ({"attack": fs.attack("pgd", eps=0.1)}, "closest success"),
    ):
        with pytest.raises(fs.FluoroscopeError, match=words):
            fs.class_map(model, images, labels, **options)  # type: ignore[arg-type]
    with pytest.raises(fs.FluoroscopeError, match="classifies no picture"):
        fs.class_map(model, images, wrong)


def test_the_figure_puts_neighbours_side_by_side() -> None:
    near, far = 0.1, 1.0
    distance = np.full((4, 4), far)
    for a, b in ((0, 2), (1, 3)):
        distance[a, b] = distance[b, a] = near
    np.fill_diagonal(distance, np.nan)
    distance[0, 1] = math.inf
    axes = class_map_figure(distance, list("abcd"), norm="linf").axes[1]
    order = [text.get_text() for text in axes.get_yticklabels()]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("ac"), frozenset("bd")}
    sparse = np.full((50, 50), np.nan)
    sparse[:6, :6] = sparse[7, 8] = 0.2
    part = class_map_figure(sparse, [str(k) for k in range(50)], norm="linf", most=6).axes[1]
    assert {text.get_text() for text in part.get_yticklabels()} == {"0", "1", "2", "3", "4", "5"}
    with pytest.raises(fs.FluoroscopeError, match="no measured pair"):
        class_map_figure(np.full((3, 3), np.nan), list("abc"), norm="linf")


def test_what_is_met_after_the_first_success_is_no_station() -> None:
    watch = _Watch(1, None)
    watch.begin(torch.tensor([0]), torch.tensor([2]))
    for read in (0, 3, 1, 3, 2, 4):
        logits = torch.zeros(1, 5)
        logits[0, read] = 1
        no, one = torch.tensor([False]), torch.tensor([1])
        watch.see(
            Step(
                indices=torch.tensor([0]), numbers=one, images=torch.zeros(1, 1, 1, 1),
                answer=Answer(logits), reached=torch.tensor([read == 2]), done=no, finished=no,
                forwards=one, backwards=one,
            )
        )  # fmt: skip
    assert watch.stations == [[3, 1]]
