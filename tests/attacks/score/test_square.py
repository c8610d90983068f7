"""Square: the published schedule, stripes, squares, acceptance, the randomness of a sample,
peers.
"""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.score.square import Square
from fluoroscope.data.digits import digits
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Samples, Step, take
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError

THREATS: list[Threat] = [fs.Linf(0.1), fs.L2(0.8), fs.L1(5)]
by_norm = pytest.mark.parametrize("threat", THREATS, ids=["linf", "l2", "l1"])


def network(shape: tuple[int, ...] = (3, 12, 10), classes: int = 4, seed: int = 0) -> fs.Classifier:
    generator = torch.Generator().manual_seed(seed)
    size = math.prod(shape)
    module = nn.Sequential(nn.Flatten(), nn.Linear(size, 24), nn.Tanh(), nn.Linear(24, classes))
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 3
    return fs.Classifier(module.double(), channels=shape[0])


def pictures(count: int, shape: tuple[int, ...] = (3, 12, 10), seed: int = 0) -> Tensor:
    """With pixels at exactly 0 and 1 among them."""
    generator = torch.Generator().manual_seed(seed)
    return (1.4 * torch.rand(count, *shape, generator=generator) - 0.2).clamp(0, 1).double()


def begin(attack: Square, images: Tensor, seed: int = 0) -> Any:
    number = torch.arange(len(images))
    keys = randomness.keys(seed, number)
    return attack.start(Samples(images, number, -torch.ones(len(images)), number, keys, 0 * number))


def walk(attack: Square, images: Tensor, better: Any = lambda query: True) -> Iterator[Any]:
    """The states of a search on made-up losses: every candidate is better, or equal."""
    state, value = begin(attack, images), -1000.0
    while not state.done.all():
        yield state
        told = value + 1 if better(int(state.queries[0])) else value
        value = max(value, told)
        answer = Answer(torch.zeros(len(images), 2), torch.full((len(images),), told).double())
        state = attack.tell(state, answer)


def paths(attack: Square, model: fs.Classifier, images: Tensor, classes: Tensor, **how: Any) -> Any:
    """The images each sample was evaluated at, ``[(evaluations, C, H, W), ...]``."""
    seen: list[list[Tensor]] = [[] for _ in images]

    def note(step: Step) -> None:
        for index, image in zip(step.indices.tolist(), step.images, strict=True):
            seen[index].append(image)

    result = attack(model, images, classes, on_step=note, **how)
    return result, [torch.stack(path) if path else images[:0] for path in seen]


# The paper's pieces.


def share(query: int, queries: int) -> float:
    """The share of pixels for a query after the stripes, counted from 0, as published."""
    at = int(query / queries * 10_000)
    halvings = sum(at > mark for mark in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
    return float(0.8 / 2**halvings)


@pytest.mark.parametrize("queries", [100, 5000])
@pytest.mark.parametrize("side", [28, 224])
def test_the_sides_of_the_squares_follow_the_published_schedule(queries: int, side: int) -> None:
    number = torch.arange(queries - 1)
    images = torch.full((1, 1, side, side), 0.5)
    for threat in THREATS:
        attack = Square(threat=threat, queries=queries)
        state = begin(attack, images)
        state = type(state)(**{**vars(state), "queries": number + 1})
        sides = attack._sides(state, (side, side))[1].tolist()
        for query in range(0, queries - 1, 7):
            expected = max(round(math.sqrt(share(query, queries) * side * side)), 1)
            if threat.name != "linf":
                expected = max(expected, 3)
                expected += expected % 2 == 0
            assert sides[query] == expected


def test_at_5000_queries_the_first_square_shrinks_when_it_should() -> None:
    attack = Square(threat=fs.Linf(0.1))
    state = begin(attack, torch.full((1, 1, 28, 28), 0.5))
    at = {}
    for query in (0, 5, 6, 25, 26, 100, 101, 250, 251, 500, 501, 1000, 1001, 3000, 3001, 4001):
        later = type(state)(**{**vars(state), "queries": torch.tensor([query + 1])})
        at[query] = int(attack._sides(later, (28, 28))[1])
    assert at == {
        0: 25, 5: 25, 6: 18, 25: 18, 26: 13, 100: 13, 101: 9, 250: 9, 251: 6, 500: 6, 501: 4,
        1000: 4, 1001: 3, 3000: 2, 3001: 2, 4001: 1,
    }  # fmt: skip


def test_linf_begins_with_stripes_of_both_signs() -> None:
    images = torch.full((4, 3, 12, 10), 0.5).double()
    away = begin(Square(threat=fs.Linf(0.1)), images).candidate - images
    torch.testing.assert_close(away.abs(), torch.full_like(away, 0.1))
    assert (away == away[:, :, :1]).all()
    columns = away[:, :, 0].flatten()
    assert 30 < (columns > 0).sum() < 90
    assert len({tuple(row.tolist()) for row in away[:, :, 0].flatten(1)}) == 4


def test_l1_begins_with_sparse_tiles_that_use_all_of_eps() -> None:
    images = torch.full((3, 3, 20, 20), 0.5).double()
    away = begin(Square(threat=fs.L1(6)), images).candidate - images
    torch.testing.assert_close(away.abs().flatten(1).sum(1), torch.full((3,), 6.0).double())
    # A tile's peaks are left of it, and none of its slopes.
    assert ((away != 0).flatten(1).sum(1) < 1200 / 4).all()


@pytest.mark.parametrize("threat", [fs.L2(1.0), fs.L1(8.0)], ids=["l2", "l1"])
def test_a_linear_network_falls_only_where_the_exact_answer_lets_it(threat: Threat) -> None:
    """Two classes, one weight a pixel value: the best that the ball allows is known."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(1, 6, 6, generator=generator).double()
    images = torch.full((1, 1, 6, 6), 0.5).double()
    if threat.name == "l1":  # the steepest values move 0.5 each, until eps is spent
        most = 0.5 * weight.abs().flatten().sort(descending=True).values[:16].sum()
    else:
        most = weight.norm()
    for share, falls in ((0.3, True), (1.01, False)):
        module = nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).double()
        module[1].weight.data = torch.stack([torch.zeros(36).double(), weight.flatten()])
        bias = -(weight * images[0]).sum() - share * most
        module[1].bias.data = torch.tensor([0.0, float(bias)]).double()
        model = fs.Classifier(module, channels=1)
        result = Square(threat=threat, queries=400)(model, images, torch.tensor([0]))
        assert bool(result.success.all()) == falls


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 10), (1, 3, 4), (3, 1, 1)])
def test_l2_begins_with_tiles_over_the_image_of_length_eps(shape: tuple[int, ...]) -> None:
    images = torch.full((3, *shape), 0.5).double()
    away = begin(Square(threat=fs.L2(0.2)), images).candidate - images
    torch.testing.assert_close(away.flatten(1).norm(dim=1), torch.full((3,), 0.2).double())
    side = max(1, min(shape[1:]) // 5)
    covered = (shape[1] // side * side) * (shape[2] // side * side)
    assert ((away != 0).flatten(2).sum(2) == covered).all()


def pyramid(side: int) -> Tensor:
    """The paper's, by summing boxes: ``sum over m of 1/m^2`` on growing boxes, halves opposed."""

    def half(height: int, width: int) -> Tensor:
        found = torch.zeros(height, width).double()
        middle_row, middle_column = height // 2, width // 2
        for m in range(max(height, width) // 2 + 1):
            rows = slice(max(middle_row - m, 0), middle_row + m + 1)
            found[rows, max(middle_column - m, 0) : middle_column + m + 1] += 1 / (m + 1) ** 2
        return found / found.norm()

    both = torch.cat([half(side // 2, side), -half(side - side // 2, side)])
    return both / both.norm()


def test_an_linf_candidate_differs_by_one_square_of_one_sign_for_each_channel() -> None:
    images = torch.full((2, 3, 12, 10), 0.5).double()
    attack = Square(threat=fs.Linf(0.1), queries=60)
    before, changes = None, 0
    for state in walk(attack, images):
        if before is not None:
            side = int(attack._sides(state, (12, 10))[1][0])
            for old, new in zip(before.candidate, state.candidate, strict=True):
                torch.testing.assert_close((new - 0.5).abs(), torch.full_like(new, 0.1))
                rows, columns = (new != old).any(0).nonzero().unbind(1)
                assert len(rows)
                assert int(rows.max() - rows.min()) < side
                assert int(columns.max() - columns.min()) < side
                # Some square of this side around the change is of one sign in every channel.
                tops = range(max(0, int(rows.max()) - side + 1), int(rows.min()) + 1)
                lefts = range(max(0, int(columns.max()) - side + 1), int(columns.min()) + 1)
                squares = [
                    new[:, top : top + side, left : left + side]
                    for top in tops
                    for left in lefts
                    if top + side <= 12 and left + side <= 10
                ]
                assert any((one == one[:, :1, :1]).all() for one in squares)
                changes += 1
        before = state
    assert changes == 2 * 59


@pytest.mark.parametrize(("threat", "p"), [(fs.L2(0.5), 2), (fs.L1(6.0), 1)], ids=["l2", "l1"])
def test_a_candidate_of_pyramids_is_the_papers(threat: Threat, p: int) -> None:
    shape = (3, 12, 10)
    images = pictures(2, shape).clamp(0.3, 0.7)
    eps, queries = float(threat.eps), 40
    attack = Square(threat=threat, queries=queries)
    before = None
    for state in walk(attack, images):
        if before is not None:
            side = int(attack._sides(state, shape[1:])[1][0])
            draws = randomness.uniform(state.samples.keys, state.queries, (8,)).double()
            for row in (0, 1):
                best = before.candidate[row]
                delta = best - images[row]
                top, left, top2, left2 = (
                    int(draw * (length - side + 1))
                    for draw, length in zip(draws[row][:4], (12, 10, 12, 10), strict=True)
                )
                first = torch.zeros(12, 10, dtype=torch.bool)
                first[top : top + side, left : left + side] = True
                second = torch.zeros(12, 10, dtype=torch.bool)
                second[top2 : top2 + side, left2 : left2 + side] = True
                shape_ = pyramid(side)
                shape_ = shape_ / shape_.norm(p)
                shape_ = shape_.T if draws[row, 4] < 0.5 else shape_
                least = 1e-12 if p == 2 else 1e-3 * eps
                unused = max(eps**p - float((delta.abs() ** p).sum()), 0)
                expected = delta.clone()
                expected[:, second] = 0
                for channel in range(3):
                    sign = 1 if draws[row, 5 + channel] < 0.5 else -1
                    old = delta[channel][first]
                    new = sign * shape_.flatten() + old / max(float(old.norm(p)), least)
                    held = (delta[channel][first | second].abs() ** p).sum() + unused / 3
                    fill = 4 if p == 1 else 1
                    expected[channel][first] = fill * new / new.norm(p) * held ** (1 / p)
                moved = images[row] + expected
                if p == 1:  # nearest in ball and box: what :func:`L1.project` is tested to be
                    moved = threat.project(moved[None], images[row][None])[0]
                found = state.candidate[row]
                torch.testing.assert_close(found, moved.clamp(0, 1), rtol=0, atol=1e-6)
        before = state


def test_a_square_may_lie_in_the_last_row_and_column() -> None:
    images = torch.full((64, 1, 8, 8), 0.5)
    touched = torch.zeros(8, 8)
    before = None
    for state in walk(Square(threat=fs.Linf(0.1), queries=200), images, lambda query: query == 0):
        if before is not None:
            touched += (state.candidate != state.best).any(1).sum(0)
        before = state
    assert (touched > 0).all()
    assert touched.max() < 6 * touched.min()


@by_norm
def test_a_candidate_is_kept_only_if_it_is_better(threat: Threat) -> None:
    images = pictures(2)
    good = {0, 3, 4, 9}
    kept = images
    for state in walk(Square(threat=threat, queries=15), images, lambda query: query in good):
        query = int(state.queries[0])
        if query:
            assert torch.equal(state.best, kept)
        if query in good:
            kept = state.candidate


@pytest.mark.parametrize("targeted", [False, True])
def test_the_loss_is_the_margin_or_the_wanted_class_cross_entropy(targeted: bool) -> None:
    model, images = network(), pictures(3)
    z = model(images).detach()
    classes = torch.tensor([0, 1, 2])
    query = Square(threat=fs.Linf(0.1)).ask(
        begin_towards(images, classes, 1.0 if targeted else -1.0)
    )
    found = query.objective(z, classes)
    for row in range(3):
        others = torch.cat([z[row, :row], z[row, row + 1 :]]).max()
        loss = -z[row].log_softmax(0)[row] if targeted else z[row, row] - others
        torch.testing.assert_close(found[row], -loss)


def begin_towards(images: Tensor, classes: Tensor, towards: float) -> Any:
    number = torch.arange(len(images))
    signs = torch.full((len(images),), towards)
    samples = Samples(images, classes, signs, number, randomness.keys(0, number), 0 * number)
    return Square(threat=fs.Linf(0.1)).start(samples)


# What must always hold.


@settings(max_examples=15)
@given(
    st.one_of(
        st.builds(fs.Linf, st.floats(0, 0.6)),
        st.builds(fs.L2, st.floats(0, 3)),
        st.builds(fs.L1, st.floats(0, 12)),
    ),
    st.integers(1, 40),
    st.integers(0, 1000),
    st.sampled_from([(1, 1, 1), (3, 2, 5), (1, 7, 4), (2, 9, 9)]),
    st.booleans(),
)
def test_all_it_looks_at_is_in_the_ball_and_the_box(
    threat: Threat, queries: int, seed: int, shape: tuple[int, ...], targeted: bool
) -> None:
    model = network(shape, seed=seed)
    images = pictures(3, shape, seed)
    attack = Square(threat=threat, queries=queries)
    result, looked = paths(
        attack, model, images, torch.tensor([0, 1, 2]), targeted=targeted, keep="best", seed=seed
    )
    for image, path in zip(images, looked, strict=True):
        if len(path):
            assert len(path) == queries
            assert threat.distance(path - image).max() <= float(threat.eps) * (1 + 1e-6) + 1e-15
            assert path.min() >= 0
            assert path.max() <= 1
    assert torch.equal(
        model(result.images).argmax(1) == torch.arange(3), result.success == targeted
    )


@by_norm
def test_chance_belongs_to_the_sample(threat: Threat) -> None:
    model, images = network(), pictures(5)
    classes = model(images).detach().argmax(1)
    attack = Square(threat=threat, queries=40)
    state = torch.random.get_rng_state()
    _, whole = paths(attack, model, images, classes, keep="last")
    _, parts = paths(attack, model, images, classes, keep="last", batch_size=2)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
    assert torch.equal(torch.random.get_rng_state(), state)
    _, again = paths(attack, model, images, classes, keep="last", seed=1)
    assert not torch.equal(whole[0], again[0])


def test_neighbours_get_squares_of_their_own() -> None:
    images = torch.full((6, 1, 28, 28), 0.5)
    attack = Square(threat=fs.Linf(0.1), queries=3000)
    state = begin(attack, images)
    state = type(state)(**{**vars(state), "queries": torch.full((6,), 1500)})
    state = attack.tell(state, Answer(torch.zeros(6, 2), torch.zeros(6).double()))
    places = [(new != old).nonzero()[0].tolist() for new, old in zip(*_pair(state), strict=True)]
    assert len({tuple(place) for place in places}) >= 5


def _pair(state: Any) -> tuple[Tensor, Tensor]:
    return state.candidate, state.best


def test_samples_at_different_queries_have_squares_of_different_sides() -> None:
    # As when the engine has given the slot of a finished sample to another.
    images = pictures(3, (3, 12, 10))
    for threat in THREATS:
        attack = Square(threat=threat, queries=500)
        state = begin(attack, images)
        state = attack.tell(state, Answer(torch.zeros(3, 2), torch.zeros(3).double()))
        state = type(state)(**{**vars(state), "queries": torch.tensor([1, 60, 400])})
        worse = Answer(torch.zeros(3, 2), torch.full((3,), -1.0).double())
        together = attack.tell(state, worse).candidate
        for row in range(3):
            one = take(state, torch.tensor([row]))
            alone = attack.tell(one, Answer(worse.logits[:1], torch.full((1,), -1.0).double()))
            torch.testing.assert_close(together[row], alone.candidate[0], rtol=0, atol=1e-9)


@by_norm
def test_pixels_at_the_ends_of_the_box_can_move(threat: Threat) -> None:
    model, images = network(), pictures(4).round()
    classes = model(images).detach().argmax(1)
    moved = Square(threat=threat, queries=20)(model, images, classes, keep="last").images - images
    assert (moved[images == 0] > 0).any()
    assert (moved[images == 1] < 0).any()


@by_norm
def test_each_sample_has_its_own_wanted_class(threat: Threat) -> None:
    model, images = network(), pictures(6)
    classes = (model(images).detach().argmax(1) + 1 + torch.arange(6) % 3) % 4
    wide = type(threat)(4 * float(threat.eps))  # type: ignore[call-arg]
    result = Square(threat=wide, queries=300)(model, images, classes, targeted=True)
    assert result.success.sum() >= 4
    assert torch.equal(model(result.images).argmax(1) == classes, result.success)


@by_norm
def test_verdicts_costs_and_the_best_ever_seen(threat: Threat) -> None:
    model, images = network(), pictures(8)
    own = model(images).detach().argmax(1)
    given_classes = own.clone()
    given_classes[0] = (own[0] + 1) % 4
    attack = Square(threat=threat, queries=50)
    result, looked = paths(attack, model, images, given_classes)
    assert result.at_start.tolist() == [True] + [False] * 7
    assert result.backwards.tolist() == [0] * 8
    assert result.forwards[0] == 1
    assert torch.equal(result.images[~result.success], images[~result.success])
    assert (result.forwards[~result.success] == 51).all()
    best, looked = paths(attack, model, images, given_classes, keep="best")
    for row in range(1, 8):
        margins = margin(model(looked[row]), int(own[row]))
        torch.testing.assert_close(
            margin(model(best.images[row : row + 1]), int(own[row]))[0], margins.max()
        )


def margin(logits: Tensor, label: int) -> Tensor:
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1).amax(1)
    return (others - logits[:, label]).detach()


@by_norm
def test_eps_of_zero_changes_nothing(threat: Threat) -> None:
    model, images = network(), pictures(2)
    classes = model(images).detach().argmax(1)
    result = Square(threat=type(threat)(0), queries=5)(model, images, classes, keep="last")  # type: ignore[call-arg]
    assert torch.equal(result.images, images)
    assert not result.success.any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.Unbounded()},
        {"threat": fs.Linf(math.inf)},
        {"threat": fs.L2(math.inf)},
        {"threat": fs.Linf(0.1), "queries": 0},
        {"threat": fs.Linf(0.1), "p_init": 0.0},
        {"threat": fs.Linf(0.1), "p_init": 1.5},
    ],
)
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expect") as caught:
        Square(**wrong)
    assert "\n" not in str(caught.value)


# Peers: robust accuracy at most 3 samples of 32 above theirs, either way chance.


@pytest.fixture(scope="module")
def on_digits() -> tuple[fs.Classifier, Tensor, Tensor]:
    model = fs.load_model("digits-cnn")
    images, classes = digits()
    read = (model(images[:40]).argmax(1) == classes[:40]).nonzero().squeeze(1)[:32]
    return model, images[read], classes[read]


@pytest.mark.parametrize("threat", [fs.Linf(0.08), fs.L2(1.2)], ids=["linf", "l2"])
def test_as_strong_as_torchattacks(on_digits: Any, threat: Threat) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, images, classes = on_digits
    ours = Square(threat=threat, queries=100)(model, images, classes)
    norm = "Linf" if threat.name == "linf" else "L2"
    with torch.random.fork_rng():
        peer = torchattacks.Square(
            model.module.eval(), norm=norm, eps=float(threat.eps), n_queries=100
        )
        theirs = model(peer(images, classes)).argmax(1) == classes
    assert 3 < theirs.sum() < 29
    assert (~ours.success).sum() <= theirs.sum() + 3


@pytest.mark.parametrize("threat", [fs.Linf(0.08), fs.L2(1.2), fs.L1(7)], ids=["linf", "l2", "l1"])
def test_as_strong_as_art(on_digits: Any, threat: Threat) -> None:
    pytest.importorskip("art")
    import numpy as np
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import PyTorchClassifier

    model, images, classes = on_digits
    ours = Square(threat=threat, queries=100)(model, images, classes)
    peer = PyTorchClassifier(
        model.module.eval(), nn.CrossEntropyLoss(), (1, 28, 28), 10,
        clip_values=(0, 1), device_type="cpu",
    )  # fmt: skip
    norm = {"linf": np.inf, "l2": 2, "l1": 1}[threat.name]
    before = np.random.get_state()
    np.random.seed(0)
    attack = SquareAttack(peer, norm=norm, eps=float(threat.eps), max_iter=100, verbose=False)
    found = torch.from_numpy(attack.generate(images.numpy(), classes.numpy()))
    np.random.set_state(before)
    theirs = model(found).argmax(1) == classes
    assert (~ours.success).sum() <= theirs.sum() + 3
