"""Bins, selectivity, errors, ablation and diagnosis, against slow loops."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.depth.bins import Bins
from fluoroscope.depth.diagnosis import _auroc, disagreement, winning_bin
from fluoroscope.depth.scenes import Scenes, render_scenes
from fluoroscope.depth.selectivity import SelectiveDepthLoss, Selectivity, summed
from fluoroscope.errors import InvalidParameterError, ModelOutputError
from fluoroscope.training.losses.selective import assignment

BINS = Bins(4, 1.5, 10.0)
SCENES = render_scenes(5, size=(8, 12), seed=2)


class Layered(nn.Module):
    """Features that are what a pixel's depth is, read from the picture: planted selectivity."""

    def __init__(self, units: int = 8) -> None:
        super().__init__()
        self.units = units
        self.weight = nn.Parameter(torch.linspace(-1, 1, units * 3).view(units, 3, 1, 1).sin())

    def features(self, images: Tensor) -> Tensor:
        return F.conv2d(F.avg_pool2d(images, 2), self.weight)

    def depth_of(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        maps = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
        return 3 + maps.sum(1) + maps[:, 0].abs()

    def forward(self, images: Tensor) -> Tensor:
        return self.depth_of(self.features(images), images.shape[2:])


@dataclass
class Seen:
    """What a slow loop makes of one network and the scenes."""

    features: Tensor
    predicted: Tensor


def seen(network: Layered, scenes: Scenes = SCENES) -> Seen:
    with torch.no_grad():
        images = scenes.images / 255
        features = network.features(images)
        size = scenes.depth.shape[1:]
        return Seen(
            F.interpolate(features, size=size, mode="bilinear", align_corners=False).abs(),
            network.depth_of(features, size),
        )


def bin_by_hand(depth: float, edges: list[float]) -> int:
    for place, (low, high) in enumerate(pairwise(edges)):
        if low <= depth < high or (place == len(edges) - 2 and depth == high):
            return place
    return -1


def test_bins_end_where_the_formula_says() -> None:
    for count, first, last in ((16, 0.75, 10.0), (64, 0.75, 10.0), (64, 3.0, 80.0), (2, 1.0, 2.0)):
        edges = Bins(count, first, last).edges.tolist()
        assert len(edges) == count + 1
        assert edges[0] == 0
        assert edges[1] == first
        assert edges[-1] == last
        for place in range(count):
            expected = math.exp(math.log(last + 1 - first) * place / (count - 1)) - (1 - first)
            assert edges[place + 1] == pytest.approx(expected, rel=1e-12)
        sizes = [high - low for low, high in pairwise(edges[1:])]
        assert sizes == sorted(sizes)


def test_each_depth_lies_in_one_bin() -> None:
    edges = BINS.edges.tolist()
    depth = torch.tensor([0, 0.1, edges[1], edges[2] - 1e-9, edges[2], 9.99, 10, 10.01, -1,
                          math.nan, math.inf], dtype=torch.float64)  # fmt: skip
    assert BINS.of(depth).tolist() == [bin_by_hand(one, edges) for one in depth.tolist()]
    assert BINS.names()[0] == "0–1.5"


def test_units_are_assigned_by_the_formula() -> None:
    for units, groups in ((32, 16), (10, 4), (64, 64), (3, 5)):
        expected = [math.floor(unit / (units / groups)) for unit in range(units)]
        assert assignment(units, groups).tolist() == expected


def test_responses_and_selectivity_are_those_of_a_slow_loop() -> None:
    network, edges = Layered(), BINS.edges.tolist()
    found = fs.depth.depth_selectivity(network, SCENES, BINS)
    features = seen(network).features
    sums, many = torch.zeros(8, 4).double(), torch.zeros(4)
    for scene in range(5):
        for row in range(8):
            for column in range(12):
                place = bin_by_hand(SCENES.depth[scene, row, column].item(), edges)
                many[place] += 1
                sums[:, place] += features[scene, :, row, column]
    assert found.pixels.tolist() == many.tolist()
    torch.testing.assert_close(found.responses, sums / many, rtol=1e-5, atol=1e-7)
    for unit in range(8):
        row = (sums / many)[unit].tolist()
        best = max(range(4), key=row.__getitem__)
        rest = sum(one for place, one in enumerate(row) if place != best) / 3
        assert found.favourite[unit] == best
        assert found.selectivity[unit].item() == pytest.approx(
            (row[best] - rest) / (row[best] + rest)
        )
        mine = row[unit // 2]  # 8 units over 4 bins
        rest = (sum(row) - mine) / 3
        assert found.of_assigned[unit].item() == pytest.approx(
            (mine - rest) / (mine + rest), abs=1e-6
        )
    assert found.mean == pytest.approx(found.selectivity.mean().item())
    assert found.mean_of_assigned == pytest.approx(found.of_assigned.mean().item())
    assert found.mean_of_assigned < found.mean
    assert torch.equal(found.by_favourite().of_assigned, found.selectivity)
    assert torch.equal(found.by_favourite().assigned, found.favourite)
    assert found.by_favourite().own == 1
    assert found.own == pytest.approx(
        sum(found.favourite[unit] == unit // 2 for unit in range(8)) / 8
    )


def test_bins_without_pixels_and_dead_units_are_left_out() -> None:
    responses = torch.tensor([[1.0, 3.0, math.nan, 0.0], [0.0, 0.0, math.nan, 0.0]]).double()
    found = Selectivity(responses, torch.tensor([5, 5, 0, 5]), BINS)
    assert found.selectivity.tolist() == pytest.approx([(3 - 0.5) / (3 + 0.5), 0])
    assert found.dead == 1
    assert found.mean == pytest.approx(2.5 / 3.5)
    assert found.describe()["responses"][0][2] is None
    assert len(found.rows) == 4


def test_the_loss_is_depth_less_the_selectivity_for_the_assigned_bin() -> None:
    network = Layered()
    images, depth = SCENES.images[:3] / 255, SCENES.depth[:3]
    terms, predicted = SelectiveDepthLoss(BINS, 0.3)(network, images, depth)
    assert isinstance(terms, dict)
    slow = seen(network)
    torch.testing.assert_close(predicted, slow.predicted[:3])
    assert terms["depth"].item() == pytest.approx(
        (slow.predicted[:3].log() - depth.log()).abs().mean().item()
    )
    inside, found = BINS.of(depth), []
    there = sorted(set(inside.flatten().tolist()))
    for unit in range(8):
        own = unit // 2
        row = {one: slow.features[:3, unit][inside == one].mean().item() for one in there}
        if own in row:
            rest = sum(value for one, value in row.items() if one != own) / (len(row) - 1)
            found.append((row[own] - rest) / (row[own] + rest))
    assert len(found) == 2 * len(there)
    assert terms["selectivity penalty"].item() == pytest.approx(
        -0.3 * sum(found) / len(found), rel=1e-5
    )


def test_rectified_features_are_summed_the_short_way() -> None:
    features = torch.rand(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    inside = BINS.of(SCENES.depth[:2])
    found = summed(features, inside, 4)
    large = F.interpolate(features, size=(8, 12), mode="bilinear", align_corners=False)
    for unit in range(3):
        for place in range(4):
            expected = large[:, unit][inside == place].sum()
            assert found[unit, place].item() == pytest.approx(expected.item(), rel=1e-6)
    (short,) = torch.autograd.grad(found[1, 2], features, retain_graph=True)
    (slow,) = torch.autograd.grad(large[:, 1][inside == 2].sum(), features)
    torch.testing.assert_close(short, slow)


def test_a_batch_in_one_bin_teaches_no_selectivity() -> None:
    flat = torch.full((2, 8, 12), 5.0)
    terms, _ = SelectiveDepthLoss(BINS, 0.3)(Layered(), SCENES.images[:2] / 255, flat)
    assert isinstance(terms, dict)
    assert terms["selectivity penalty"].item() == 0
    terms["selectivity penalty"].backward()


def test_pixels_in_no_bin_count_nowhere() -> None:
    features, inside = torch.rand(1, 2, 2, 2), torch.tensor([[[0, -1], [-1, 3]]])
    found = summed(features, inside, 4)
    torch.testing.assert_close(found[:, 0], features[0, :, 0, 0])
    torch.testing.assert_close(found[:, 3], features[0, :, 1, 1])
    assert found[:, 1:3].sum() == 0


def test_errors_are_those_of_their_formulas() -> None:
    network = Layered()
    found, slow = fs.depth.depth_errors(network, SCENES), seen(network)
    off = slow.predicted - SCENES.depth
    assert found.rel == pytest.approx((off.abs() / SCENES.depth).mean().item(), rel=1e-5)
    assert found.rmse == pytest.approx(off.square().mean().sqrt().item(), rel=1e-5)
    ratio = slow.predicted / SCENES.depth
    assert found.right == pytest.approx(
        ((ratio < 1.25) & (1 / ratio < 1.25)).double().mean().item()
    )


def test_ablation_is_a_network_without_those_units(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inside = Layered(), BINS.of(SCENES.depth)
    found = fs.depth.ablate(network, SCENES, BINS)
    whole = ((seen(network).predicted - SCENES.depth).abs() / SCENES.depth).double()
    for place in range(4):
        without = Layered()
        with torch.no_grad():
            without.weight[2 * place : 2 * place + 2] = 0
        errors = ((seen(without).predicted - SCENES.depth).abs() / SCENES.depth).double()
        for one in range(4):
            expected = errors[inside == one].mean().item()
            assert found.after[place, one].item() == pytest.approx(expected, rel=1e-5)
        assert found.before[place].item() == pytest.approx(
            whole[inside == place].mean().item(), rel=1e-5
        )
    assert found.own.tolist() == pytest.approx([found.rise[one, one].item() for one in range(4)])
    others = [(found.rise[one].sum() - found.rise[one, one]).item() / 3 for one in range(4)]
    assert found.elsewhere.tolist() == pytest.approx(others)
    other = fs.depth.ablate(network, SCENES, BINS, assigned=torch.tensor([3, 3, 2, 2, 1, 1, 0, 0]))
    torch.testing.assert_close(other.after, found.after.flip(0))
    with pytest.raises(InvalidParameterError, match="a bin for each of 8 units"):
        fs.depth.ablate(network, SCENES, BINS, assigned=torch.zeros(3, dtype=torch.long))
    monkeypatch.setattr("fluoroscope.depth.reading._AT_ONCE", 1)  # scene by scene
    alone = fs.depth.ablate(network, SCENES, BINS)
    torch.testing.assert_close(alone.after, found.after)
    assert "of 4 bins" in repr(found)
    assert found.describe()["after"][0][0] == found.after[0, 0].item()


def test_the_winning_unit_answers_most_for_its_own_scale() -> None:
    network = Layered()
    measured = fs.depth.depth_selectivity(network, SCENES, BINS)
    slow, own = seen(network), [0, 0, 1, 1, 2, 2, 3, 3]
    with torch.no_grad():
        features = network.features(SCENES.images / 255)
    winners = winning_bin(features, (8, 12), measured)
    apart = disagreement(features, slow.predicted, measured)
    for scene, row, column in ((0, 0, 0), (1, 3, 7), (4, 7, 11), (2, 5, 2)):
        shares = [
            slow.features[scene, unit, row, column].item()
            / measured.responses[unit, own[unit]].item()
            for unit in range(8)
        ]
        winner = own[max(range(8), key=shares.__getitem__)]
        assert winners[scene, row, column] == winner
        depth = min(slow.predicted[scene, row, column].item(), 10)
        assert apart[scene, row, column] == abs(winner - bin_by_hand(depth, BINS.edges.tolist()))


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    right, wrong = [0, 0, 1, 2, 5], [0, 2, 3, 5]
    counted = torch.zeros(1, 6, 2).double()
    for one in right:
        counted[0, one, 0] += 1
    for one in wrong:
        counted[0, one, 1] += 1
    pairs = [(a > b) + (a == b) / 2 for a in wrong for b in right]
    assert _auroc(counted).item() == pytest.approx(sum(pairs) / len(pairs))


def test_planted_disagreement_foretells_errors() -> None:
    """A network whose units know depth and whose prediction errs in places."""

    class Planted(nn.Module):
        units = 4

        def __init__(self) -> None:
            super().__init__()
            self.anchor = nn.Parameter(torch.zeros(1))

        def features(self, images: Tensor) -> Tensor:
            inside = BINS.of(10 * images[:, 0])
            known = F.one_hot(inside.clamp(min=0), 4).movedim(-1, 1).float()
            return torch.cat([known[:, :4] * (1 + images[:, 1:2])], 1)

        def depth_of(self, features: Tensor, size: tuple[int, int]) -> Tensor:
            middles = (BINS.edges[1:] + BINS.edges[:-1]).float() / 2
            depth = middles[features.argmax(1)]
            broken = features.amax(1) > 1.5  # told by the second channel
            return torch.where(broken, middles[(features.argmax(1) + 2) % 4], depth)

        def forward(self, images: Tensor) -> Tensor:
            return self.depth_of(self.features(images), images.shape[2:])

    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = (255 * images).round().to(torch.uint8)
    middles = (BINS.edges[1:] + BINS.edges[:-1]).float() / 2
    depth = middles[BINS.of(10 * images[:, 0].float() / 255)]
    scenes = Scenes(images, depth, 0, 0)
    found = fs.depth.diagnose(Planted(), scenes, BINS)
    assert found.told["disagreement"].auroc == 1
    assert found.told["disagreement"].interval == (1, 1)
    assert found.by_distance[0] == 0
    assert found.by_distance[2] == 1
    assert 0.4 < found.wrong < 0.6
    assert found.agreement == pytest.approx(1 - found.wrong)
    assert found.describe()["told"]["edge"]["auroc"] < 0.9


def test_mistakes_are_told_in_one_sentence() -> None:
    class Wrong(Layered):
        def depth_of(self, features: Tensor, size: tuple[int, int]) -> Tensor:
            return features

    calls: list[tuple[Any, type[Exception], str]] = [
        (lambda: Bins(1), InvalidParameterError, "bins is 1; expected"),
        (lambda: Bins(4, 3.0, 2.0), InvalidParameterError, "first bin ends at 3.0"),
        (lambda: SelectiveDepthLoss(weight=-1), InvalidParameterError, "weight is -1"),
        (lambda: fs.depth.DepthNetwork(units=0), InvalidParameterError, "units is 0"),
        (
            lambda: fs.depth.depth_errors(nn.Linear(1, 1), SCENES), InvalidParameterError,
            "is a Linear; expected a module with units, features",
        ),
        (
            lambda: fs.depth.depth_errors(Wrong(), SCENES), ModelOutputError,
            r"answer is of shape \(5, 8, 4, 6\); expected depth",
        ),
        (
            lambda: fs.depth.ablate(Layered(), SCENES, Bins(2, 50.0, 100.0)),
            InvalidParameterError, "pixels in 1 of 2 bins",
        ),
    ]  # fmt: skip
    for call, kind, words in calls:
        with pytest.raises(kind, match=words):
            call()
