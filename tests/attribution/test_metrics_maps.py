"""What is said of maps themselves and of two of them; metrics that run a method again."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution.metrics import (
    METRICS,
    Setting,
    denoised,
    entropy,
    entropy_rise,
    mean_similarity,
    metric,
    similarity,
)
from fluoroscope.attribution.metrics.of_the_map import complexity, sparseness

SIDE = 12


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return drawn(3, 1, SIDE, SIDE).sigmoid()


@pytest.fixture(scope="module")
def network() -> fs.Classifier:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 5))
    return fs.Classifier(module, channels=1, input_size=SIDE)


def gradient(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
    return fs.attribute(model, images, classes, method="gradient").maps


def edges(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """A method that looks at the picture alone."""
    return fs.attribution.metrics.controls(images)["edges"]


def test_gini_in_closed_form() -> None:
    one = torch.zeros(1, 4, 5)
    one[0, 1, 2] = -7
    assert sparseness(one).item() == pytest.approx(1 - 1 / 20)
    assert sparseness(torch.full((1, 4, 5), -3.0)).item() == pytest.approx(0)
    assert sparseness(torch.zeros(1, 4, 5)).item() == 0
    half = torch.tensor([[[0.0, 0, 1, -1]]])
    assert sparseness(half).item() == pytest.approx(0.5)


def test_gini_is_half_the_relative_mean_difference() -> None:
    maps = drawn(3, 2, 5, 4)
    sizes = maps.double().sum(1).abs().flatten(1)
    apart = (sizes[:, :, None] - sizes[:, None]).abs().mean((1, 2))
    assert torch.allclose(sparseness(maps), apart / (2 * sizes.mean(1)))


def test_complexity_in_closed_form() -> None:
    one = torch.zeros(1, 4, 5)
    one[0, 1, 2] = -7
    assert complexity(one).item() == 0
    for flat in (torch.full((1, 4, 5), -3.0), torch.zeros(1, 4, 5)):
        assert complexity(flat).item() == pytest.approx(np.log(20))
    maps = drawn(3, 2, 5, 4)
    wanted = stats.entropy(maps.double().sum(1).abs().flatten(1).numpy(), axis=1)
    assert complexity(maps).numpy() == pytest.approx(wanted)


def test_rank_correlations_against_scipy() -> None:
    one, other = drawn(4, 3, 5, 6), drawn(4, 3, 5, 6, seed=1)
    other[0] = one[0] ** 3  # ranks of sums are not sums of ranks
    for kind, flat in {
        "spearman": lambda maps: maps.double().sum(1).flatten(1),
        "spearman-abs": lambda maps: maps.double().abs().sum(1).flatten(1),
    }.items():
        wanted = [stats.spearmanr(a, b)[0] for a, b in zip(flat(one), flat(other), strict=True)]
        assert similarity(one, other, kind).tolist() == pytest.approx(wanted)
    assert float(similarity(one, -one).max()) == pytest.approx(-1)
    assert float(similarity(one, -one, "spearman-abs").min()) == pytest.approx(1)
    assert float(similarity(one, torch.ones_like(one)).abs().max()) == 0


@pytest.mark.parametrize("side", [11, 32])
def test_structural_similarity_against_scikit_image(side: int) -> None:
    measure = pytest.importorskip("skimage.metrics").structural_similarity
    one, other = drawn(3, 2, side, side), drawn(3, 2, side, side, seed=1)
    other = one + 0.5 * other

    def scaled(maps: Tensor) -> np.ndarray:
        size = maps.double().abs().sum(1).numpy()
        low, high = size.min((1, 2), keepdims=True), size.max((1, 2), keepdims=True)
        return (size - low) / (high - low)

    wanted = [
        measure(a, b, gaussian_weights=True, use_sample_covariance=False, data_range=1.0)
        for a, b in zip(scaled(one), scaled(other), strict=True)
    ]
    assert similarity(one, other, "ssim").tolist() == pytest.approx(wanted, abs=1e-6)


def test_structural_similarity_takes_sizes_first_and_scales_then() -> None:
    maps = drawn(2, 1, SIDE, SIDE)
    ones = torch.ones(2, dtype=torch.double)
    assert torch.allclose(similarity(maps, -maps, "ssim"), ones)
    assert torch.allclose(similarity(maps, 5 * maps, "ssim"), ones)
    # The other way round a map and its negative would be two different pictures.
    assert float(similarity(maps.abs(), maps.max() - maps, "ssim").max()) < 0.9


def test_entropy_against_scipy() -> None:
    maps = drawn(3, 2, 20, 20)
    flat = maps.double().sum(1).flatten(1).numpy()
    for bins in (10, 100):
        wanted = [stats.entropy(np.histogram(row, bins=bins)[0]) for row in flat]
        assert entropy(maps, bins).numpy() == pytest.approx(wanted, rel=1e-3)


def test_entropy_rise() -> None:
    lone = torch.zeros(1, 10, 10)
    lone[0, 0, 0] = 1
    spread = torch.arange(100.0).view(1, 10, 10)
    before = -(0.99 * np.log(0.99) + 0.01 * np.log(0.01))
    assert entropy_rise(lone, spread).item() == pytest.approx((np.log(100) - before) / before)
    assert entropy_rise(spread, lone).item() == pytest.approx((before - np.log(100)) / np.log(100))
    flat = torch.ones(1, 10, 10)
    assert entropy_rise(flat, 2 * flat).item() == 0
    assert entropy_rise(flat, spread).item() == np.inf


def test_the_mean_over_stages_leaves_the_original_out() -> None:
    maps = drawn(3, 1, SIDE, SIDE)
    stages = [drawn(3, 1, SIDE, SIDE, seed=seed) for seed in (1, 2, 3)]
    wanted = sum(similarity(maps, stage) for stage in stages) / 3
    assert torch.allclose(mean_similarity(maps, stages), wanted)
    assert float(mean_similarity(maps, stages).abs().max()) < 0.2


@given(factor=st.floats(1e-6, 1e6), kind=st.sampled_from(["spearman", "spearman-abs", "ssim"]))
@settings(max_examples=25)
def test_scales_do_not_matter(factor: float, kind: str) -> None:
    maps, other = drawn(2, 1, SIDE, SIDE).double(), drawn(2, 1, SIDE, SIDE, seed=1).double()
    scaled = factor * maps
    assert torch.allclose(similarity(scaled, other, kind), similarity(maps, other, kind))
    assert torch.allclose(sparseness(scaled), sparseness(maps))
    assert torch.allclose(complexity(scaled), complexity(maps))
    assert torch.allclose(entropy(scaled), entropy(maps), rtol=1e-2)


def test_max_sensitivity_is_relative_to_the_map(network: fs.Classifier, images: Tensor) -> None:
    seen: list[Tensor] = []

    def affine(model: fs.Classifier, pictures: Tensor, classes: Tensor) -> Tensor:
        seen.append(pictures)
        return 3 * pictures + 2

    maps = affine(network, images, torch.zeros(3))
    found = metric("max-sensitivity")(
        network, images, 0, maps, explain=affine, samples=6, radius=0.05
    )
    moved = torch.stack(seen[1:]).double() - images.double()
    assert len(moved) == 6
    assert 0.04 < float(moved.max()) <= 0.05 + 1e-6
    assert 0.04 < float(-moved.min()) <= 0.05 + 1e-6
    lengths = (3 * moved).flatten(2).norm(dim=2) / maps.double().flatten(1).norm(dim=1)
    assert torch.allclose(found, lengths.amax(0), rtol=1e-5)
    assert len({tuple(row.flatten().tolist()) for part in moved for row in part}) == 18


def test_a_map_that_never_moves_is_not_sensitive(network: fs.Classifier, images: Tensor) -> None:
    def constant(*_: object) -> Tensor:
        return torch.ones(3, SIDE, SIDE)

    call = metric("max-sensitivity")
    assert call(network, images, 0, constant(), explain=constant).tolist() == [0] * 3
    zeros = torch.zeros(3, SIDE, SIDE)
    assert call(network, images, 0, zeros, explain=constant).tolist() == [np.inf] * 3


@pytest.mark.parametrize("classes", [[0, 1, 4], (3, 1)])
def test_random_logit_asks_for_another_class(
    network: fs.Classifier, images: Tensor, classes: list[int] | tuple[int, int]
) -> None:
    asked: list[Tensor] = []

    def recording(model: fs.Classifier, pictures: Tensor, labels: Tensor) -> Tensor:
        assert isinstance(labels, Tensor) == isinstance(classes, list)
        asked.append(torch.as_tensor(labels))
        return gradient(model, pictures, labels)

    maps = fs.attribute(network, images, classes).maps
    for seed in range(40):
        found = metric("random-logit")(network, images, classes, maps, explain=recording, seed=seed)
    others = gradient(network, images, asked[-1])
    assert torch.allclose(found, similarity(maps, others))
    rows = torch.stack(asked)
    if rows.dim() == 3:
        assert set(rows[..., 1].flatten().tolist()) == {1}
        assert set(rows[..., 0].flatten().tolist()) == {0, 2, 4}
        return
    for own, column in zip([0, 1, 4], rows.unbind(1), strict=True):
        assert set(column.tolist()) == {0, 1, 2, 3, 4} - {own}


def test_random_logit_of_two_classes_turns_a_pair_round(images: Tensor) -> None:
    two = fs.Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 2)), channels=1, input_size=SIDE
    )
    maps = fs.attribute(two, images, (0, 1)).maps
    found = metric("random-logit")(two, images, (0, 1), maps, explain=gradient)
    assert torch.allclose(found, torch.full((3,), -1.0, dtype=torch.double))


def test_what_ignores_class_and_weights_is_found_out(
    network: fs.Classifier, images: Tensor
) -> None:
    ones = torch.ones(3, dtype=torch.double)
    classes = torch.tensor([0, 1, 2])
    blind = edges(network, images, classes)
    own = gradient(network, images, classes)
    for name in ("random-logit", "parameter-randomisation"):
        assert torch.allclose(METRICS[name](network, images, classes, blind, explain=edges), ones)
        seeing = METRICS[name](network, images, classes, own, explain=gradient)
        assert float(seeing.max()) < 0.6
    rise = metric("entropy-rise")(network, images, classes, blind, explain=edges)
    assert rise.tolist() == [0] * 3
    other = gradient(network, images, torch.tensor([3, 3, 3]))

    def of_the_twin(model: fs.Classifier, *_: object) -> Tensor:
        assert model.module is not network.module
        return other

    rise = metric("entropy-rise")(network, images, classes, own, explain=of_the_twin)
    assert torch.allclose(rise, entropy_rise(own, other))


def test_denoised_maps_are_means_over_noisy_pictures(
    images: Tensor, network: fs.Classifier
) -> None:
    seen: list[Tensor] = []

    def itself(model: fs.Classifier, pictures: Tensor, classes: Tensor) -> Tensor:
        seen.append(pictures)
        return pictures

    flat = images.clone()
    flat[1] = 0.5 + 0.1 * (flat[1] - flat[1].mean()) / (flat[1].max() - flat[1].min())
    setting = Setting.of(network, flat, 0, explain=itself)
    found = denoised(setting, samples=30, sigma=0.2)
    noisy = torch.stack(seen).double()
    assert torch.allclose(found, noisy.mean(0))
    # Noise is a share of the picture's own range: here a tenth of the whole.
    away = (noisy[:, 1] - flat[1]).std()
    assert float(away) == pytest.approx(0.02, rel=0.05)
    assert len(noisy) == 30
