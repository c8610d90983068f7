"""One-pixel: differential evolution by hand, the pixel everything depends on, the best one,
peers.
"""

import math
from typing import Any

import pytest
import torch
from linear_networks import linear
from score_networks import art_estimator, begin, pictures, told
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.sparse.one_pixel import OnePixel, _images, _others
from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError


@pytest.mark.parametrize(("base", "crossover"), [("random", 1.0), ("best", 1.0), ("best", 0.6)])
def test_evolution_is_the_papers(base: Any, crossover: float) -> None:
    # One sample at a time, members and values as lists, partners drawn without replacement.
    images = pictures(2, (3, 5, 4))
    attack = OnePixel(
        threat=fs.L0(2), population=6, generations=4, weight=0.5, base=base, crossover=crossover
    )
    state = begin(attack, images)
    members = [list(state.members[row]) for row in range(2)]
    following = [list(row) for row in members]
    values = [[-math.inf] * 6 for _ in range(2)]
    scores = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)) - 3
    for query in range(30):
        i = query % 6
        if i == 0:
            members = [list(row) for row in following]
            best = [max(range(6), key=row.__getitem__) for row in values]
        for row in range(2):
            if query < 6:
                child = members[row][i]
            else:
                keys = state.samples.keys[row : row + 1]
                draws = randomness.uniform(keys, query, (3 + 2 * 10 + 1,))[0]
                pool = [*range(i + 1, 6), *range(i)]
                a, b, c = (
                    members[row][pool.pop(int(float(draw) * len(pool)))] for draw in draws[:3]
                )
                child = (members[row][best[row]] if base == "best" else a) + 0.5 * (b - c)
                for gene in range(10):
                    if not 0 <= child.view(-1)[gene] <= 1:
                        child.view(-1)[gene] = draws[3 + gene]
                    if draws[13 + gene] >= crossover and gene != int(10 * float(draws[23])):
                        child.view(-1)[gene] = members[row][i].view(-1)[gene]
            torch.testing.assert_close(state.child[row], child, rtol=0, atol=1e-6)
            if scores[query, row] > values[row][i]:
                values[row][i], following[row][i] = float(scores[query, row]), child
        assert not state.done.any()
        state = told(attack, state, scores[query])
    assert state.done.all()


def test_the_first_generation_is_uniform_in_place_and_normal_in_colour() -> None:
    attack = OnePixel(threat=fs.L0(3), population=2000)
    members = begin(attack, pictures(2)).members
    assert members.shape == (2, 2000, 3, 5)
    at, colours = members[..., :2].flatten(), members[..., 2:].flatten()
    torch.testing.assert_close(at.quantile(torch.tensor([0.1, 0.5, 0.9])),
                               torch.tensor([0.1, 0.5, 0.9]), rtol=0, atol=0.02)  # fmt: skip
    # A normal number with mean 1/2 and deviation 1/2 is below 0 with probability 0.159.
    assert abs(float((colours == 0).float().mean()) - 0.1587) < 0.01
    assert abs(float((colours == 1).float().mean()) - 0.1587) < 0.01
    assert abs(float((colours < 0.25).float().mean()) - 0.3085) < 0.01


@pytest.mark.parametrize("count", [4, 5, 9])
def test_partners_are_three_others_with_equal_chance(count: int) -> None:
    draws = randomness.uniform(randomness.keys(0, torch.arange(6000)), 0, (3,))
    member = torch.arange(6000) % count
    found = _others(draws, member, count)
    for one, row in zip(member.tolist(), found.tolist(), strict=True):
        assert len({one, *row}) == 4
    assert found.min() == 0
    assert found.max() == count - 1
    steps = (found - member[:, None]) % count
    for column in steps.unbind(1):
        share = column.bincount(minlength=count)[1:] / 6000
        assert (share - 1 / (count - 1)).abs().max() < 0.03


def test_a_pixel_is_where_and_what_it_says_and_the_latter_counts() -> None:
    images = pictures(1, (3, 5, 4)).clamp(0.2, 0.8)
    genes = torch.tensor(
        [[0.3, 0.99, 0.1, 0.5, 0.9], [1.0, 0.0, 0.0, 1.0, 0.0], [0.39, 0.75, 0.7, 0.6, 0.05]]
    )
    painted = _images(images, genes[None])[0]
    expected = images[0].clone()
    expected[:, 1, 3] = genes[2, 2:].double()  # the first and the third fall together
    expected[:, 4, 0] = genes[1, 2:].double()
    assert torch.equal(painted, expected)


class OnOne(nn.Module):
    """Reads class 1 as soon as one pixel of 400 is bright enough; nothing else matters."""

    def forward(self, x: Tensor) -> Tensor:
        lead = 3 * x[:, 0, 13, 4] - 2
        return torch.stack([-lead, lead], 1)


@pytest.mark.parametrize("targeted", [False, True])
def test_the_pixel_everything_depends_on_is_found(targeted: bool) -> None:
    model = fs.Classifier(OnOne(), channels=1)
    images, classes = torch.zeros(6, 1, 20, 20), torch.full((6,), int(targeted))
    result = OnePixel(threat=fs.L0(1))(model, images, classes, targeted=targeted)
    assert result.success.all()
    changed = (result.images != images).nonzero()
    assert changed[:, 2:].tolist() == [[13, 4]] * 6
    assert (result.images[:, 0, 13, 4] > 2 / 3).all()


def test_of_all_single_pixels_it_takes_nearly_the_best() -> None:
    # On a linear network the most that one pixel of 5 x 5 can do is known.
    model, weight = linear(0, 2, 25)
    images = torch.rand(20, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    classes = model(images).argmax(1)
    away = 1.0 - 2 * classes  # the way from the own class to the other
    slope = away.view(-1, 1, 1, 1) * (weight[1] - weight[0]).view(5, 5)
    most = (torch.where(slope > 0, 1 - images, images) * slope.abs()).flatten(1).amax(1)
    attack = OnePixel(threat=fs.L0(1), population=50, generations=15)
    result = attack(model, images, classes, keep="best")
    gained = away * (result.logits - model(images)).diff(dim=1)[:, 0]
    assert (gained <= most + 1e-5).all()
    assert (gained >= 0.8 * most).all()
    assert (gained / most).mean() > 0.96


def test_more_pixels_than_the_image_has_are_as_many_as_it_has() -> None:
    state = begin(OnePixel(threat=fs.L0(50), population=4), pictures(1, (1, 2, 3)))
    assert state.members.shape == (1, 4, 6, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.Linf(0.1)},
        {"threat": fs.L0(math.inf)},
        {"population": 3},
        {"generations": 0},
        {"weight": 0.0},
        {"weight": math.nan},
        {"base": "first"},
        {"crossover": 1.1},
    ],
)
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expect") as caught:
        OnePixel(**({"threat": fs.L0(1)} | wrong))
    assert "\n" not in str(caught.value)


# Peers take the best member in place of a random one: at most one digit more than we fool, and none
# more if we do as well.


@pytest.mark.parametrize(("pixels", "population"), [(1, 48), (5, 60)])
def test_as_good_as_torchattacks(reader: Any, pixels: int, population: int) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    import numpy as np

    model, images, classes = reader
    images, classes = images[:12], classes[:12]
    attack = OnePixel(threat=fs.L0(pixels), population=population, generations=5)
    ours = attack(model, images, classes).success.sum()
    before = np.random.get_state()
    np.random.seed(0)
    peer = torchattacks.OnePixel(model.module.eval(), pixels=pixels, steps=5, popsize=population)
    theirs = (model(peer(images, classes)).argmax(1) != classes).sum()
    np.random.set_state(before)
    assert ours >= 1
    assert ours >= theirs - 1


@pytest.mark.parametrize(
    ("pixels", "parameters", "iterations"),
    [(3, {"population": 396, "generations": 1}, 1),
     (8, {"population": 80, "generations": 30, "base": "best", "crossover": 0.7}, 8)],
)  # fmt: skip
def test_as_good_as_art(
    reader: Any, pixels: int, parameters: dict[str, Any], iterations: int
) -> None:
    pytest.importorskip("art")
    import numpy as np
    from art.attacks.evasion import PixelAttack

    model, images, classes = reader
    images, classes = images[:4], classes[:4]
    ours = OnePixel(threat=fs.L0(pixels), **parameters)(model, images, classes).success.sum()
    before = np.random.get_state()
    np.random.seed(0)
    peer = PixelAttack(art_estimator(model), th=pixels, es=1, max_iter=iterations)
    found = torch.from_numpy(peer.generate(images.numpy(), classes.numpy()))
    np.random.set_state(before)
    theirs = int((model(found).argmax(1) != classes).sum())
    assert int(ours) >= (theirs - 1 if iterations == 1 else max(theirs, 1))
