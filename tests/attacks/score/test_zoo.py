"""ZOO: the paper's steps by hand, slopes of a known network, the smallest distance, a peer."""

import math
from typing import Any

import pytest
import torch
from linear_networks import free_optimum, grey, linear
from score_networks import art_estimator, begin, network, paths, pictures
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.score.zoo import ZOO
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.errors import InvalidParameterError


def by_hand(
    attack: ZOO, model: fs.Classifier, image: Tensor, label: int, key: Tensor, targeted: bool
) -> list[Tensor]:
    """All images one search looks at, from the paper."""

    def lead(at: Tensor) -> float:
        looked.append(at)
        z = model(at[None])[0].log_softmax(0)
        others = torch.cat([z[:label], z[label + 1 :]]).max()
        found = z[label] - others if targeted else others - z[label]
        return min(float(found), attack.confidence)

    looked: list[Tensor] = []
    c, lower, upper, query = attack.c, 0.0, math.inf, 0
    for _ in range(attack.searches):
        x, size = image.flatten().clone(), image.numel()
        mean, square, moves = [0.0] * size, [0.0] * size, [0] * size
        last, found, tenth = math.inf, False, max(1, attack.steps // 10)
        for step in range(1, attack.steps + 1):
            ranks = randomness.uniform(key, query, (size,))[0]
            chosen = ranks.topk(min(attack.coordinates, size)).indices.tolist()
            gradient = {}
            for i in chosen:
                ahead, behind = x.clone(), x.clone()
                ahead[i] = min(float(x[i]) + attack.width, 1)
                behind[i] = max(float(x[i]) - attack.width, 0)
                rise = lead(ahead.view_as(image)) - lead(behind.view_as(image))
                slope = rise / float(ahead[i] - behind[i])
                gradient[i] = 2 * float(x[i] - image.flatten()[i]) - c * slope
            for i, g in gradient.items():
                moves[i] += 1
                mean[i] = 0.9 * mean[i] + 0.1 * g
                square[i] = 0.999 * square[i] + 0.001 * g * g
                first = mean[i] / (1 - 0.9 ** moves[i])
                second = square[i] / (1 - 0.999 ** moves[i])
                x[i] = min(max(float(x[i]) - attack.lr * first / (math.sqrt(second) + 1e-8), 0), 1)
            value = lead(x.clone().view_as(image))
            query += 2 * len(chosen) + 1
            z = model(x.view_as(image)[None])[0]
            others = torch.cat([z[:label], z[label + 1 :]]).max()
            ahead_by = float(z[label] - others if targeted else others - z[label])
            reached = ahead_by >= attack.confidence
            found = reached or (found and (step - 1) % tenth != 0)
            loss = float((x - image.flatten()).square().sum()) - c * value
            if step % tenth == 0:
                if attack.early_abort and loss > 0.9999 * last:
                    break
                last = loss
        if found:
            upper = c
        else:
            lower = c
        c = (lower + upper) / 2 if upper < math.inf else 10 * c
    return looked


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"searches": 3, "steps": 12, "coordinates": 4, "c": 1.0, "lr": 0.05},
        {"searches": 4, "steps": 5, "coordinates": 99, "c": 0.1, "lr": 0.1, "confidence": 0.3},
        {"searches": 2, "steps": 9, "coordinates": 3, "width": 0.01, "early_abort": False},
    ],
)
def test_every_image_it_looks_at_is_the_papers(options: dict[str, Any], targeted: bool) -> None:
    model, images = network((1, 3, 3), seed=1), pictures(2, (1, 3, 3))
    labels = model(images).argmax(1)
    labels = (labels + 1) % 4 if targeted else labels
    attack = ZOO(**options)
    _, looked = paths(attack, model, images, labels, targeted=targeted)
    for row in range(2):
        key = randomness.keys(0, torch.tensor([row]))
        expected = by_hand(attack, model, images[row], int(labels[row]), key, targeted)
        assert len(looked[row]) == len(expected)
        torch.testing.assert_close(looked[row], torch.stack(expected), rtol=0, atol=1e-6)


def test_many_probes_at_once_find_what_one_by_one_do() -> None:
    model, images = network((1, 3, 3), seed=1), pictures(3, (1, 3, 3))
    labels = model(images).argmax(1)
    attack = ZOO(searches=3, steps=8, coordinates=5, c=1.0, lr=0.05)
    alone, one_by_one = paths(attack, model, images, labels, batch_size=3)
    assert alone.success.any()
    for size in (7, 11, 200):
        crowd, seen = paths(attack, model, images, labels, batch_size=size)
        assert torch.equal(crowd.forwards, alone.forwards)
        for together, apart in zip(seen, one_by_one, strict=True):
            torch.testing.assert_close(together, apart, atol=1e-7, rtol=0)


def test_slopes_are_those_of_the_network_at_the_edge_of_the_box_too() -> None:
    model, weight = linear(0, 2, 12)
    model = model.to(dtype=torch.float64)
    images = torch.tensor([0.0, 1.0, 0.3]).repeat(4).double().expand(2, 1, 1, 12)
    attack = ZOO(coordinates=7, confidence=1e9)
    state = begin(attack, images)
    for room in (1, 1, 1, 1, 6, 3, 2):  # 7 pairs, one by one and together
        query = attack.ask_within(state, room)
        answer = evaluate(model, query.images, query.classes, query.objective)
        chosen = state.coordinates
        state = attack.tell_all(state, query, answer)
    expected = (weight[1] - weight[0]).double()[chosen]
    torch.testing.assert_close(state.slopes, expected, rtol=1e-6, atol=1e-8)
    assert (chosen.sort(1).values.diff(dim=1) > 0).all()
    assert not torch.equal(chosen[0], chosen[1])


@pytest.mark.parametrize("targeted", [False, True])
def test_nearly_the_smallest_distance_on_a_linear_network(targeted: bool) -> None:
    model, weight = linear(2, 3, 12)
    model = model.to(dtype=torch.float64)
    images = grey(2, 4, 12, spread=0.3).clamp(0.1, 0.9).double()
    own = model(images).argmax(1)
    optimum = free_optimum(model, weight.double(), images, "l2")
    labels = optimum.argmin(1) if targeted else own
    best = optimum.amin(1)
    attack = ZOO(searches=5, steps=50, coordinates=6, c=0.1, lr=0.004)
    result = attack(model, images, labels, targeted=targeted)
    assert result.success.all()
    ratio = result.distance / best
    assert (ratio > 0.999).all()
    assert (ratio < 1.1).all()


def test_defaults_are_the_papers() -> None:
    attack = ZOO()
    assert (attack.searches, attack.steps, attack.coordinates) == (9, 1000, 128)
    assert (attack.width, attack.c, attack.lr, attack.confidence) == (0.0001, 0.01, 0.01, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.Linf(0.1)},
        {"searches": 0},
        {"steps": 0},
        {"coordinates": 0},
        {"width": 0.0},
        {"c": 0.0},
        {"lr": math.inf},
        {"confidence": -1},
    ],
)
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expect") as caught:
        ZOO(**wrong)
    assert "\n" not in str(caught.value)


def test_as_good_as_art(reader: Any) -> None:
    # At equal queries: as many digits fooled, but one, and the median distance at most 1.1 times.
    pytest.importorskip("art")
    import numpy as np
    from art.attacks.evasion import ZooAttack

    model, images, classes = reader
    images, classes = images[:3], classes[:3]
    ours = ZOO(searches=1, steps=15, coordinates=40, c=1.0, lr=0.1)(model, images, classes)
    before = np.random.get_state()
    np.random.seed(0)
    peer = ZooAttack(
        art_estimator(model), learning_rate=0.1, max_iter=15, binary_search_steps=1,
        initial_const=1.0, use_resize=False, use_importance=False, nb_parallel=40, verbose=False,
    )  # fmt: skip
    one_hot = np.eye(10, dtype=np.float32)[classes.numpy()]
    found = torch.from_numpy(peer.generate(images.numpy(), one_hot))
    np.random.set_state(before)
    theirs = model(found).argmax(1) != classes
    assert ours.success.sum() >= theirs.sum() - 1
    assert ours.success.sum() >= 2
    if theirs.any():
        lengths = (found - images).flatten(1).norm(dim=1)[theirs]
        assert ours.distance[ours.success].median() <= 1.1 * lengths.median()
