"""Metrics that hold a map against what the network loses: linear networks, and slow versions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution.baselines import as_baseline, one_each
from fluoroscope.attribution.metrics import METRICS, Setting, metric
from fluoroscope.attribution.metrics.purposes import Purpose
from fluoroscope.attribution.metrics.replacing import blurred
from fluoroscope.attribution.metrics.subsets import (
    cell_of_each,
    part_of,
    subsets,
)
from fluoroscope.engine import randomness

SIDE = 8
LABELS = torch.tensor([0, 2, 1, 2])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return drawn(4, 3, SIDE, SIDE).sigmoid().double()


@pytest.fixture(scope="module")
def linear() -> fs.Classifier:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 3)).double()
    with torch.no_grad():
        module[1].weight.copy_(drawn(3, 3 * SIDE**2, seed=1))
    return fs.Classifier(module, channels=3, input_size=SIDE)


@pytest.fixture(scope="module")
def curved() -> fs.Classifier:
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.GELU(), nn.Flatten(), nn.Linear(5 * (SIDE - 2) ** 2, 3)
    ).double()
    return fs.Classifier(module, channels=3, input_size=SIDE)


def weights(linear: fs.Classifier, labels: Tensor = LABELS) -> Tensor:
    return linear.module[1].weight.detach()[labels].view(-1, 3, SIDE, SIDE)


def logits(network: fs.Classifier, pictures: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return network(pictures).gather(1, labels[:, None])[:, 0]


@pytest.mark.parametrize("name", ["faithfulness-correlation", "mufidelity"])
@pytest.mark.parametrize("replace", ["black", "mean", "blur"])
def test_contributions_of_a_linear_network_are_faithful(
    linear: fs.Classifier, images: Tensor, name: str, replace: str
) -> None:
    behind = {
        "black": torch.zeros_like(images),
        "mean": images.mean((2, 3), keepdim=True).expand_as(images),
        "blur": blurred(images),
    }[replace]
    right = weights(linear) * (images - behind)
    ones = torch.ones(4, dtype=torch.double)
    assert torch.allclose(METRICS[name](linear, images, LABELS, right, replace=replace), ones)
    assert torch.allclose(METRICS[name](linear, images, LABELS, -right, replace=replace), -ones)
    other = METRICS[name](linear, images, LABELS, drawn(4, 3, SIDE, SIDE, seed=3), replace=replace)
    assert float(other.abs().max()) < 0.6
    flat = METRICS[name](linear, images, LABELS, torch.ones(4, SIDE, SIDE), replace=replace)
    assert torch.equal(flat[:1].abs() < 1, torch.tensor([True]))


def test_pairs_are_explained_by_the_difference(linear: fs.Classifier, images: Tensor) -> None:
    right = (
        weights(linear, torch.tensor([0] * 4)) - weights(linear, torch.tensor([1] * 4))
    ) * images
    for name in ("faithfulness-correlation", "mufidelity"):
        found = METRICS[name](linear, images, (0, 1), right)
        assert torch.allclose(found, torch.ones(4, dtype=torch.double))
    assert float(METRICS["infidelity"](linear, images, (0, 1), right / images).max()) < 1e-12


def test_faithfulness_correlation_slowly(curved: fs.Classifier, images: Tensor) -> None:
    maps = drawn(4, 3, SIDE, SIDE, seed=4)
    found = metric("faithfulness-correlation")(
        curved, images, LABELS, maps, runs=20, share=0.3, seed=5, replace="mean"
    )
    keys = randomness.keys(5, torch.arange(4), Purpose.SUBSETS)
    for row, (image, label) in enumerate(zip(images, LABELS, strict=True)):
        sums, drops = [], []
        for run in range(20):
            mask = subsets(keys[row : row + 1], torch.tensor([run]), SIDE**2, 19)[0]
            mask = mask.view(SIDE, SIDE)
            assert int(mask.sum()) == 19 == round(0.3 * 64)
            without = image.clone()
            for channel in range(3):
                without[channel][mask] = image[channel].mean()
            both = logits(curved, torch.stack([image, without]), label.repeat(2))
            drops.append(float(both[0] - both[1]))
            sums.append(float(maps[row].double()[:, mask].sum()))
        assert float(found[row]) == pytest.approx(pearsonr(sums, drops)[0], abs=1e-9)


def test_mufidelity_slowly(curved: fs.Classifier, images: Tensor) -> None:
    maps = drawn(4, 3, SIDE, SIDE, seed=6)
    found = metric("mufidelity")(
        curved, images, LABELS, maps, grid=3, share=0.4, samples=25, seed=7
    )
    cells = np.array(
        [[3 * (y * 3 // SIDE) + x * 3 // SIDE for x in range(SIDE)] for y in range(SIDE)]
    )
    keys = randomness.keys(7, torch.arange(4), Purpose.CELLS)
    for row, (image, label) in enumerate(zip(images, LABELS, strict=True)):
        sums, drops = [], []
        for sample in range(25):
            chosen = subsets(keys[row : row + 1], torch.tensor([sample]), 9, 4)[0].nonzero()
            mask = torch.from_numpy(np.isin(cells, chosen.numpy()))
            both = logits(curved, torch.stack([image, image * ~mask]), label.repeat(2))
            drops.append(float(both[0] - both[1]))
            sums.append(float(maps[row].double()[:, mask].sum()))
        assert float(found[row]) == pytest.approx(spearmanr(sums, drops)[0], abs=1e-9)


@pytest.mark.parametrize("scaled", [True, False])
def test_the_gradient_of_a_linear_network_has_no_infidelity(
    linear: fs.Classifier, images: Tensor, scaled: bool
) -> None:
    right = weights(linear)
    call = metric("infidelity")
    assert float(call(linear, images, LABELS, right, scaled=scaled).max()) < 1e-12
    twice = call(linear, images, LABELS, 2 * right, scaled=scaled)
    assert bool((twice < 1e-12).all()) == scaled
    contributions = right * images
    removed = call(
        linear, images, LABELS, contributions, scaled=scaled, perturbation="removal", share=0.3
    )
    assert float(removed.max()) < 1e-12
    wrong = call(linear, images, LABELS, drawn(4, SIDE, SIDE, seed=8), scaled=scaled)
    assert float(wrong.min()) > 0.1


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_infidelity_slowly(
    curved: fs.Classifier, images: Tensor, scaled: bool, channels: int
) -> None:
    maps = drawn(4, channels, SIDE, SIDE, seed=9)
    found = metric("infidelity")(
        curved, images, LABELS, maps, samples=15, sigma=0.3, scaled=scaled, seed=3, batch_size=4
    )
    keys = randomness.keys(3, torch.arange(4), Purpose.PERTURBING)
    for row, (image, label) in enumerate(zip(images, LABELS, strict=True)):
        said, true = [], []
        for number in range(15):
            noise = randomness.normal(keys[row : row + 1], number, (3, SIDE, SIDE))[0]
            moved = (image - 0.3 * noise.double()).clamp(0, 1)
            both = logits(curved, torch.stack([image, moved]), label.repeat(2))
            true.append(float(both[0] - both[1]))
            said.append(float(((image - moved) * maps[row].double()).sum()))
        e, change = np.array(said), np.array(true)
        factor = (change * e).mean() / (e**2).mean() if scaled else 1.0
        wanted = ((factor * e - change) ** 2).mean()
        assert float(found[row]) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("scaled", [True, False])
def test_infidelity_against_captum(curved: fs.Classifier, images: Tensor, scaled: bool) -> None:
    captum = pytest.importorskip("captum.metrics")
    maps = drawn(4, 3, SIDE, SIDE, seed=11).double()
    found = metric("infidelity")(curved, images, 1, maps, samples=12, scaled=scaled)

    def perturb(repeated: Tensor) -> tuple[Tensor, Tensor]:
        keys = randomness.keys(0, torch.arange(4), Purpose.PERTURBING).repeat_interleave(12)
        noise = randomness.normal(keys, torch.arange(12).repeat(4), (3, SIDE, SIDE))
        moved = (repeated - 0.2 * noise.double()).clamp(0, 1)
        return repeated - moved, moved

    wanted = captum.infidelity(
        curved, perturb, images, maps, target=1, n_perturb_samples=12, normalize=scaled
    )
    assert torch.allclose(found, wanted, rtol=1e-6)


def test_a_map_of_zeros_predicts_no_change(linear: fs.Classifier, images: Tensor) -> None:
    zeros = torch.zeros(4, SIDE, SIDE)
    both = [
        metric("infidelity")(linear, images, LABELS, zeros, scaled=scaled)
        for scaled in (True, False)
    ]
    assert torch.equal(*both)
    assert float(both[0].min()) > 0.1
    for name in ("faithfulness-correlation", "mufidelity"):
        assert torch.equal(
            METRICS[name](linear, images, LABELS, zeros).abs(), zeros[:, 0, 0].double()
        )


def test_what_is_lost_is_asked_once_for_all_maps(images: Tensor) -> None:
    seen = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return x.mean((2, 3))

    setting = Setting.of(Counting(), images.float(), 0, batch_size=16)
    for name in ("faithfulness-correlation", "mufidelity", "infidelity", "completeness"):
        scores = metric(name).prepare(setting)
        seen.clear()
        scores(torch.ones(4, SIDE, SIDE))
        scores(torch.rand(4, SIDE, SIDE))
        assert not seen


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 2**40))
@settings(max_examples=25)
def test_subsets_have_the_size_that_they_say(total: int, share: float, seed: int) -> None:
    many = part_of(total, share)
    assert 1 <= many < total
    masks = subsets(randomness.keys(seed, torch.arange(3)), torch.tensor([0, 1, 2]), total, many)
    assert masks.sum(1).tolist() == [many] * 3


def test_each_thing_is_chosen_as_often() -> None:
    keys = randomness.keys(0, torch.arange(4000))
    masks = subsets(keys, torch.zeros(4000, dtype=torch.long), 10, 3)
    assert float((masks.double().mean(0) - 0.3).abs().max()) < 0.03


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 12))
@settings(max_examples=25)
def test_cells_are_all_there_and_of_about_one_size(height: int, width: int, grid: int) -> None:
    cells = cell_of_each(torch.empty(1, 1, height, width), grid)
    counts = cells.flatten().bincount()
    assert len(counts) == min(grid, height) * min(grid, width)
    assert int(counts.min()) >= 1
    sides = [
        torch.arange(side).mul(min(grid, side)).div(side, rounding_mode="floor").bincount()
        for side in (height, width)
    ]
    assert all(int(side.max() - side.min()) <= 1 for side in sides)


@given(factor=st.floats(1e-3, 1e3))
@settings(max_examples=15)
def test_the_scale_of_a_map_does_not_matter(
    curved: fs.Classifier, images: Tensor, factor: float
) -> None:
    maps = drawn(2, 3, SIDE, SIDE, seed=10).double()
    for name, options in {
        "faithfulness-correlation": {"runs": 10},
        "mufidelity": {"samples": 10},
        "infidelity": {"samples": 10},
    }.items():
        found = [
            METRICS[name](curved, images[:2], 1, each, **options) for each in (maps, factor * maps)
        ]
        assert torch.allclose(*found, rtol=1e-6)


@pytest.mark.parametrize("behind", ["black", "blur", "noise", "each", "set"])
def test_completeness(linear: fs.Classifier, images: Tensor, behind: str) -> None:
    setting = Setting.of(linear, images, LABELS, seed=4)
    baseline = {"each": one_each(images.flip(0)), "set": images.flip(0)}.get(behind, behind)
    known = as_baseline(baseline)
    other = torch.stack([known.of(setting.samples, i) for i in range(known.count)]).mean(0)
    right = weights(linear) * (images - other)
    call = metric("completeness")
    options = {"baseline": baseline, "seed": 4}
    assert float(call(linear, images, LABELS, right, **options).max()) < 1e-12
    more = call(linear, images, LABELS, 1.5 * right, **options)
    difference = right.flatten(1).sum(1).abs()
    floor = 1e-3 * 1.5 * right.abs().flatten(1).sum(1)
    assert torch.allclose(more, 0.5 * difference / torch.maximum(difference, floor))


def test_completeness_where_nothing_differs(linear: fs.Classifier, images: Tensor) -> None:
    call = metric("completeness")
    nothing = call(linear, images, LABELS, torch.zeros(4, SIDE, SIDE), baseline=one_each(images))
    assert torch.equal(nothing, torch.zeros(4, dtype=torch.double))
    # Of a difference of zero the size of the relevances is the scale.
    maps = torch.ones(4, SIDE, SIDE)
    off = call(linear, images, LABELS, maps, baseline=one_each(images))
    assert torch.allclose(off, torch.full((4,), 1000.0, dtype=torch.double))
