"""Deletion, insertion, SRG and ROAD against slow versions written from the papers."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution.metrics import METRICS, Flipping, Setting, metric
from fluoroscope.attribution.metrics.linear import noisy_linear
from fluoroscope.attribution.metrics.replacing import blurred
from fluoroscope.engine.randomness import keys

SIDE = 8


class OnePixel(nn.Module):
    """Reads one pixel: class 1 when it is bright."""

    def forward(self, x: Tensor) -> Tensor:
        bright = 20 * (x[:, :, 3, 5].mean(1) - 0.5)
        return torch.stack([-bright, bright], 1)


@pytest.fixture(scope="module")
def network() -> fs.Classifier:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * SIDE**2, 4)
    )
    with torch.no_grad():
        module[-1].weight.mul_(4)
    return fs.Classifier(module, channels=3, input_size=SIDE)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


def slow_curve(
    network: fs.Classifier, image: Tensor, label: int, relevance: Tensor, behind: Tensor, steps: int
) -> list[float]:
    """Probabilities while pixels, the most relevant first, become those behind, one by one."""
    order = sorted(
        itertools.product(range(SIDE), range(SIDE)),
        key=lambda at: -float(relevance[:, at[0], at[1]].double().sum()),
    )
    curve, now, gone = [], image.clone(), 0
    for step in range(steps + 1):
        for row, column in order[gone : round(step / steps * SIDE**2)]:
            now[:, row, column] = behind[:, row, column]
        gone = round(step / steps * SIDE**2)
        with torch.no_grad():
            curve.append(float(network(now[None]).double().softmax(1)[0, label]))
    return curve


def trapezoids(curve: list[float]) -> float:
    return sum((a + b) / 2 for a, b in itertools.pairwise(curve)) / (len(curve) - 1)


@pytest.mark.parametrize(("name", "sign"), [("deletion", 1), ("insertion", -1)])
@pytest.mark.parametrize("steps", [4, 16])
def test_area_as_the_paper_has_it(
    network: fs.Classifier, images: Tensor, maps: Tensor, name: str, sign: int, steps: int
) -> None:
    labels = [0, 1, 2, 3, 0]
    behind = torch.zeros_like(images) if name == "deletion" else blurred(images)
    wanted = []
    for image, label, relevance, other in zip(images, labels, maps, behind, strict=True):
        if name == "deletion":
            curve = slow_curve(network, image, label, relevance, other, steps)
        else:  # the picture comes into the blur
            curve = slow_curve(network, other, label, relevance, image, steps)
        wanted.append(trapezoids(curve))
    found = METRICS[name](network, images, labels, maps, steps=steps, batch_size=7)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(wanted, abs=1e-6)


def test_srg_is_insertion_minus_deletion_from_one_background(
    network: fs.Classifier, images: Tensor, maps: Tensor
) -> None:
    options = {"steps": 8, "replace": "mean"}
    found = METRICS["srg"](network, images, 1, maps, **options)
    parts = [
        METRICS[each](network, images, 1, maps, **options) for each in ("insertion", "deletion")
    ]
    assert torch.allclose(found, parts[0] - parts[1], atol=1e-7)
    # The least relevant first is the order of the map turned over.
    curves = Flipping(Setting.of(network, images, 1), **options)(maps)
    turned = METRICS["deletion"](network, images, 1, -maps, **options)
    assert torch.allclose(curves.insertion, turned, atol=1e-6)
    assert torch.allclose(curves.most[:, 0], curves.least[:, 0])


def test_on_a_network_that_reads_one_pixel() -> None:
    picture = torch.ones(1, 3, SIDE, SIDE)
    right, wrong = torch.zeros(2, 1, SIDE, SIDE).unbind(0)
    right[0, 3, 5], wrong[0, 3, 5] = 1, -1
    flips = Flipping(Setting.of(OnePixel(), picture, 1), steps=SIDE**2, replace="black")
    best, worst = flips(right), flips(wrong)
    step = 1 / SIDE**2
    assert best.deletion.item() == pytest.approx(step / 2, abs=1e-6)
    assert best.insertion.item() == pytest.approx(1 - step / 2, abs=1e-6)
    assert best.srg.item() == pytest.approx(1 - step, abs=1e-6)
    assert worst.srg.item() == pytest.approx(step - 1, abs=1e-6)


def test_a_pair_is_the_sigmoid_of_the_difference(
    network: fs.Classifier, images: Tensor, maps: Tensor
) -> None:
    flips = Flipping(Setting.of(network, images, (2, 0)), steps=1, replace="black")
    with torch.no_grad():
        logits = network(images).double()
    assert torch.allclose(flips(maps).most[:, 0], (logits[:, 2] - logits[:, 0]).sigmoid())


def test_equals_go_in_an_order_of_their_own(images: Tensor) -> None:
    flat = torch.zeros(5, SIDE, SIDE)
    setting = Setting.of(OnePixel(), images, 1)
    ranks = Flipping(setting)._ranks(flat[:, None].double())
    assert all(sorted(row.tolist()) == list(range(SIDE**2)) for row in ranks)
    assert len({tuple(row.tolist()) for row in ranks}) == 5
    assert tuple(ranks[0].tolist()) != tuple(range(SIDE**2))
    other = Flipping(Setting.of(OnePixel(), images, 1, seed=1))._ranks(flat[:, None].double())
    assert not torch.equal(ranks, other)


@settings(max_examples=25)
@given(
    factor=st.floats(1e-3, 1e3),
    name=st.sampled_from(["deletion", "insertion", "srg", "road"]),
)
def test_the_scale_of_a_map_does_not_matter(
    network: fs.Classifier, images: Tensor, maps: Tensor, factor: float, name: str
) -> None:
    options = {"fractions": (0.3, 0.6)} if name == "road" else {"steps": 3}
    scaled = METRICS[name](network, images[:2], 1, maps[:2].double() * factor, **options)
    assert torch.equal(METRICS[name](network, images[:2], 1, maps[:2], **options), scaled)


@settings(max_examples=25)
@given(rows=st.lists(st.integers(0, 4), min_size=1, max_size=6), size=st.integers(1, 9))
def test_a_picture_scores_the_same_in_any_company(
    network: fs.Classifier, images: Tensor, maps: Tensor, rows: list[int], size: int
) -> None:
    options = {"fractions": (0.2, 0.7)}
    alone = METRICS["road"](network, images, [0, 1, 2, 3, 0], maps.abs().round(), **options)
    labels = [[0, 1, 2, 3, 0][row] for row in rows]
    found = METRICS["road"](
        network, images[rows], labels, maps[rows].abs().round(),
        numbers=torch.tensor(rows), batch_size=size, **options,
    )  # fmt: skip
    assert torch.allclose(found, alone[rows], atol=1e-6)


def dense(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Every missing pixel the weighted mean of the neighbours that there are, by a dense solve."""
    channels, height, width = image.shape
    system = np.eye(height * width)
    right = image.reshape(channels, -1).T.astype(float).copy()
    for y, x in zip(*removed.nonzero(), strict=True):
        row = y * width + x
        weights = {
            (y + down, x + across): 1 / 6 if 0 in (down, across) else 1 / 12
            for down in (-1, 0, 1)
            for across in (-1, 0, 1)
            if (down, across) != (0, 0) and 0 <= y + down < height and 0 <= x + across < width
        }
        right[row] = 0
        for (down, across), weight in weights.items():
            system[row, down * width + across] -= weight / sum(weights.values())
    return np.linalg.solve(system, right).T.reshape(image.shape)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("shape", [(3, 7, 5), (1, 2, 9)])
def test_imputation_against_a_dense_solve(share: float, shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(4)
    image = random.random(shape)
    removed = random.random(shape[1:]) < share
    removed[0, 0] = False  # something is left
    own = keys(0, torch.arange(1))
    found = noisy_linear(
        torch.from_numpy(image)[None], torch.from_numpy(removed)[None], own, torch.tensor([0]), 0.0
    )
    assert found[0].numpy() == pytest.approx(dense(image, removed), abs=1e-9)


def test_noise_is_on_imputed_pixels_only_and_as_wide_as_it_says() -> None:
    image = torch.full((1, 1, 64, 64), 0.5)
    removed = torch.zeros(1, 64, 64, dtype=torch.bool)
    removed[:, :, :32] = True
    own = keys(0, torch.arange(1))
    found = noisy_linear(image, removed, own, torch.tensor([3]), 0.01)
    assert torch.equal(found[..., 32:], image[..., 32:])
    assert float(found[..., :32].std()) == pytest.approx(0.01, rel=0.05)
    assert float(found[..., :32].mean()) == pytest.approx(0.5, abs=0.001)
    assert not torch.equal(found, noisy_linear(image, removed, own, torch.tensor([4]), 0.01))


def test_each_step_of_road_has_noise_of_its_own() -> None:
    seen: list[Tensor] = []

    class Watched(OnePixel):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return super().forward(x)

    flat = torch.full((1, 3, SIDE, SIDE), 0.5)
    setting = Setting.of(Watched(), flat, 1, batch_size=1)
    flips = Flipping(setting, fractions=(0.5, 0.75), replace="linear")
    seen.clear()
    flips(torch.arange(64.0).view(1, SIDE, SIDE))
    first, second, *others = (row[0] - 0.5 for row in seen)
    both = (first != 0) & (second != 0)
    assert int(both.sum()) == 3 * 32
    assert float((first[both] == second[both]).double().mean()) < 0.1
    both = (second != 0) & (others[1] != 0)
    assert float((second[both] == others[1][both]).double().mean()) < 0.1


def test_of_a_picture_that_is_gone_grey_is_left() -> None:
    own = keys(0, torch.arange(1))
    gone = torch.ones(1, 4, 4, dtype=torch.bool)
    found = noisy_linear(torch.zeros(1, 3, 4, 4), gone, own, torch.tensor([0]), 0.0)
    assert torch.equal(found, torch.full((1, 3, 4, 4), 0.5))


def test_road_is_the_mean_over_the_tenths(
    network: fs.Classifier, images: Tensor, maps: Tensor
) -> None:
    total, both = SIDE**2, []
    order = maps.double().sum(1).flatten(1).argsort(1, descending=True)
    for sign in ("most", "least"):
        means = []
        for tenth in range(1, 10):
            many = round(tenth / 10 * total)
            away = order[:, :many] if sign == "most" else order[:, total - many :]
            removed = torch.zeros(5, total, dtype=torch.bool).scatter_(1, away, True)
            solved = [
                torch.from_numpy(dense(image.numpy(), mask.view(SIDE, SIDE).numpy()))
                for image, mask in zip(images, removed, strict=True)
            ]
            with torch.no_grad():
                means.append(network(torch.stack(solved).float()).double().softmax(1)[:, 1])
        both.append(torch.stack(means).mean(0))
    options = {"noise": 0.0}
    assert torch.allclose(metric("road-most-first")(network, images, 1, maps, **options), both[0])
    assert torch.allclose(metric("road-least-first")(network, images, 1, maps, **options), both[1])
    road = metric("road")(network, images, 1, maps, **options)
    assert torch.allclose(road, both[1] - both[0], atol=1e-7)


def test_blur_is_the_papers_kernel_with_the_border_going_on() -> None:
    image = torch.rand(1, 2, 9, 7)
    steps = torch.arange(-5, 6).double()
    kernel = torch.exp(-((steps[:, None] ** 2 + steps**2) / (2 * 5.0**2)))
    kernel /= kernel.sum()
    at = (1, 6, 2)
    wanted = sum(
        kernel[down + 5, across + 5]
        * image[0, at[0], min(max(at[1] + down, 0), 8), min(max(at[2] + across, 0), 6)]
        for down in range(-5, 6)
        for across in range(-5, 6)
    )
    assert float(blurred(image)[0][at]) == pytest.approx(float(wanted), abs=1e-6)


def test_memory_that_runs_out_halves_the_batch(images: Tensor, maps: Tensor) -> None:
    sizes: list[int] = []

    class Small(OnePixel):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            if len(x) > 8:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(x)

    small = fs.Classifier(Small(), channels=3, input_size=SIDE)
    with pytest.warns(fs.FluoroscopeWarning, match="memory ran out"):
        found = METRICS["deletion"](small, images, 1, maps, steps=16, batch_size=32)
    assert torch.allclose(found, METRICS["deletion"](OnePixel(), images, 1, maps, steps=16))
    assert max(sizes) == 32
    assert sizes.count(8) > 5
