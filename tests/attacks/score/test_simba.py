"""SimBA: the paper's rule by hand, cosines, the signs of a linear network, the bound, a peer."""

import math
from typing import Any

import pytest
import torch
from linear_networks import grey, linear
from score_networks import art_estimator, begin, network, paths, pictures, told
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.score.simba import SimBA, _basis
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.errors import InvalidParameterError

NO_BOUND = fs.Unbounded()


def direction(basis: str, number: int, shape: tuple[int, ...]) -> Tensor:
    """A basis vector as an image, by SciPy's inverse transform of a single frequency."""
    from scipy.fft import idctn

    one = torch.zeros(shape).double()
    one.view(-1)[number] = 1
    if basis == "pixel":
        return one
    return torch.from_numpy(idctn(one.numpy(), axes=(1, 2), norm="ortho"))


@pytest.mark.parametrize("side", [1, 2, 7, 28])
def test_the_bases_are_orthonormal(side: int) -> None:
    for name in ("pixel", "dct"):
        found = _basis(name, side)
        torch.testing.assert_close(found @ found.T, torch.eye(side).double())


@pytest.mark.parametrize("basis", ["pixel", "dct"])
@pytest.mark.parametrize("towards", [-1.0, 1.0])
def test_the_rule_is_the_papers(basis: Any, towards: float) -> None:
    shape = (2, 4, 5)
    images = pictures(2, shape).clamp(0.05, 0.95)  # nothing idle
    attack = SimBA(threat=NO_BOUND, queries=60, epsilon=0.04, basis=basis)
    state = begin(attack, images, towards=towards)
    order = state.order.tolist()
    present, value = list(images), [-math.inf, -math.inf]
    at, side = [-1, -1], [1, 1]
    scores = torch.rand(60, 2, generator=torch.Generator().manual_seed(1))
    scores = scores + 0.02 * torch.arange(60)[:, None]
    for query in range(60):
        for row in range(2):
            candidate = present[row]
            if at[row] >= 0:
                q = direction(basis, order[row][at[row] % 40], shape)
                candidate = (candidate + side[row] * 0.04 * q).clamp(0, 1)
            torch.testing.assert_close(attack.ask(state).images[row], candidate, rtol=0, atol=1e-9)
            if scores[query, row] > value[row]:
                value[row], present[row] = float(scores[query, row]), candidate
                at[row], side[row] = at[row] + 1, 1
            elif side[row] == 1:
                side[row] = -1
            else:
                at[row], side[row] = at[row] + 1, 1
        assert not state.done.any()
        state = told(attack, state, scores[query])
    assert state.done.all()
    assert min(at) > 20


def test_directions_come_once_each_and_low_frequencies_first() -> None:
    images = pictures(30, (3, 16, 24))
    attack = SimBA(threat=NO_BOUND, basis="dct")
    order = begin(attack, images).order
    assert torch.equal(order.sort(1).values, torch.arange(3 * 16 * 24).expand(30, -1))
    row, column = order // 24 % 16, order % 24
    low = (row < 2) & (column < 3)  # an eighth of each side
    assert low[:, : 3 * 6].all()
    assert not low[:, 3 * 6 :].any()
    assert len({tuple(each) for each in order[:, :18].tolist()}) == 30
    four = SimBA(threat=NO_BOUND, basis="dct", frequencies=4, queries=50)
    order = begin(four, images).order
    assert order.shape == (30, 50)
    assert (order[:, :48] // 24 % 16 < 4).all()
    assert (order[:, :48] % 24 < 4).all()


def test_pixels_come_in_random_order() -> None:
    order = begin(SimBA(threat=NO_BOUND, queries=9), pictures(4000, (1, 3, 3))).order
    for column in order.unbind(1):
        assert (column.bincount(minlength=9) / 4000 - 1 / 9).abs().max() < 0.03


@pytest.mark.parametrize("basis", ["pixel", "dct"])
def test_a_linear_network_is_left_along_every_sign(basis: Any) -> None:
    # Two classes: what lowers the one is known for each direction.
    model, weight = linear(0, 2, 12)
    model, images = model.to(dtype=torch.float64), grey(0, 4, 12).double()
    attack = SimBA(threat=NO_BOUND, queries=25, epsilon=0.02, basis=basis)
    state = begin(attack, images)
    moved = torch.full((4, 12), math.nan).double()
    while not state.done.all():
        query = attack.ask(state)
        state = attack.tell(state, evaluate(model, query.images, query.classes, query.objective))
        first = (state.at == 12) & moved[:, 0].isnan()  # every direction once
        moved[first] = (state.best - images).flatten(1)[first]
    transform = _basis(basis, 12)
    away = (weight[1] - weight[0]).double()
    expected = 0.02 * (transform @ away).sign() @ transform
    torch.testing.assert_close(moved, expected.expand(4, -1), rtol=0, atol=1e-9)


def test_ways_out_of_the_box_are_not_asked_about() -> None:
    # Black pixels can only become brighter: one query for each, but for the white one.
    images = torch.zeros(3, 1, 3, 3)
    images[:, 0, 1, 1] = 1
    attack = SimBA(threat=NO_BOUND, queries=10, epsilon=0.3)
    state = begin(attack, images)
    state = told(attack, state, [0.0] * 3)
    tried = torch.zeros(3, 9)
    for _ in range(9):
        moved = attack.ask(state).images - images
        assert (moved.flatten(1) != 0).sum(1).tolist() == [1] * 3
        tried += (moved != 0).flatten(1)
        state = told(attack, state, [-1.0] * 3)
    assert (tried == 1).all()


@pytest.mark.parametrize("threat", [fs.L2(0.5), fs.Linf(0.1)], ids=["l2", "linf"])
def test_it_slides_along_the_border_of_the_ball(threat: Any) -> None:
    model, images = network(), pictures(6)
    classes = model(images).argmax(1)
    attack = SimBA(threat=threat, queries=200, epsilon=0.2)
    result, looked = paths(attack, model, images, classes, keep="best")
    for image, path in zip(images, looked, strict=True):
        assert bool(threat.allows(path, image.expand_as(path)).all())
    searched = result.logits.gather(1, classes[:, None]) < model(images).gather(1, classes[:, None])
    assert searched.all()
    at_border = result.distance > 0.9 * float(threat.eps)
    assert at_border.sum() >= 4


def test_t_steps_are_at_most_the_root_of_t_times_epsilon_long() -> None:
    model, images = network(), pictures(4)
    attack = SimBA(threat=NO_BOUND, queries=41, epsilon=0.2)
    _, looked = paths(attack, model, images, model(images).argmax(1), keep="last")
    for image, path in zip(images, looked, strict=True):
        lengths = (path - image).flatten(1).norm(dim=1)
        assert (lengths <= 0.2 * torch.arange(41).double().sqrt() + 1e-9).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.L1(1)},
        {"threat": fs.L2(math.inf)},
        {"queries": 0},
        {"epsilon": 0.0},
        {"epsilon": math.inf},
        {"basis": "wavelet"},
        {"frequencies": 4},
        {"basis": "dct", "frequencies": 0},
    ],
)
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expect") as caught:
        SimBA(**({"threat": fs.L2(1)} | wrong))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("basis", "name"), [("pixel", "px"), ("dct", "dct")])
def test_as_good_as_art(reader: Any, basis: Any, name: str) -> None:
    # 60 directions each, both ways of which ART always asks about: 120 queries.
    pytest.importorskip("art")
    import numpy as np
    from art.attacks.evasion import SimBA as Peer

    model, images, classes = reader
    images, classes = images[:15], classes[:15]
    options: dict[str, Any] = {"frequencies": 14} if basis == "dct" else {}
    attack = SimBA(threat=NO_BOUND, queries=121, epsilon=0.3, basis=basis, **options)
    ours = attack(model, images, classes).success.sum()
    before = np.random.get_state()
    np.random.seed(0)
    peer = Peer(
        art_estimator(model, probabilities=True), attack=name, max_iter=60, epsilon=0.3,
        freq_dim=14, stride=7, verbose=False,
    )  # fmt: skip
    one_hot = np.eye(10, dtype=np.float32)[classes.numpy()]
    theirs = model(torch.from_numpy(peer.generate(images.numpy(), one_hot))).argmax(1) != classes
    np.random.set_state(before)
    assert theirs.sum() > 1
    assert ours >= theirs.sum() - 1
