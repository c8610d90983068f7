"""Integrated and expected gradients, against the papers written out, closed forms and Captum."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution.baselines import one_each
from tests.attribution.zoo import toy

IG, EG = "integrated-gradients", "expected-gradients"


def double(name: str) -> tuple[fs.Classifier, Tensor]:
    case = toy(name)
    return case.model.to(dtype=torch.float64), case.images.double()


@pytest.fixture(scope="module")
def linear() -> fs.Classifier:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(27, 4)).double()
    return fs.Classifier(body, channels=3, input_size=3, mean=[0.4] * 3, std=[0.3] * 3)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.linspace(0, 40, 7 * 27).view(7, 3, 3, 3).sin().abs().double()


def slow(model: fs.Classifier, image: Tensor, base: Tensor, number: int, points: int) -> Tensor:
    """Equation 1 of the paper, point by point; NumPy's nodes lie from -1 to 1."""
    total = torch.zeros_like(image)
    for place, weight in zip(*np.polynomial.legendre.leggauss(points), strict=True):
        at = (base + (place + 1) / 2 * (image - base))[None].requires_grad_()
        (found,) = torch.autograd.grad(model(at)[0, number], at)
        total += weight / 2 * found[0]
    return (image - base) * total


@pytest.mark.parametrize("points", [1, 2, 7])
@pytest.mark.parametrize("baseline", ["black", "noise", "mean", 0.3, "set"])
def test_a_linear_network_is_exact_with_any_number_of_points(
    linear: fs.Classifier, pictures: Tensor, points: int, baseline: Any
) -> None:
    baseline = pictures[3:6] if baseline == "set" else baseline
    images, classes = pictures[:3], [0, 3, 1]
    found = fs.attribute(linear, images, classes, method=IG, points=points, baseline=baseline)
    assert found.error.max() < 1e-12
    weights = linear.module[1].weight.detach().view(4, 3, 3, 3) / 0.3
    if not isinstance(baseline, str):
        away = baseline.mean(0) if isinstance(baseline, Tensor) else baseline
        torch.testing.assert_close(found.maps, weights[classes] * (images - away))
    drawn = fs.attribute(linear, images, classes, method=EG, samples=points, baseline=baseline)
    assert drawn.error.max() < 1e-12


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("baseline", ["black", "blur", "each", "set"])
def test_maps_are_the_papers(batch_size: int, baseline: str) -> None:
    model, images = double("silu")
    others = images.roll(1, 0)
    bases = {"each": others[:, None], "set": others[None, :2].expand(len(images), -1, -1, -1, -1)}
    given_as = {"each": one_each(others), "set": others[:2]}
    if baseline == "black":
        bases["black"] = torch.zeros_like(images)[:, None]
    if baseline == "blur":
        from scipy.ndimage import gaussian_filter

        deviation = (0, 0, 0.1 * images.shape[2], 0.1 * images.shape[3])
        bases["blur"] = torch.from_numpy(gaussian_filter(images, deviation, mode="nearest"))[
            :, None
        ]
    found = fs.attribute(
        model,
        images,
        [row % 3 for row in range(len(images))],
        method=IG,
        points=5,
        baseline=given_as.get(baseline, baseline),
        batch_size=batch_size,
    )
    for row, image in enumerate(images):
        ways = [slow(model, image, base, row % 3, 5) for base in bases[baseline][row]]
        torch.testing.assert_close(found.maps[row], torch.stack(ways).mean(0), check_dtype=False)
        ends = [model(torch.stack([image, base]))[:, row % 3] for base in bases[baseline][row]]
        expected = torch.stack([above - below for above, below in ends]).mean()
        error = (found.maps[row].sum() - expected).abs() / expected.abs()
        assert found.error[row].item() == pytest.approx(error.item(), rel=1e-4)
        assert found.values[row].item() == pytest.approx(ends[0][0].item())
    width = 2 if baseline == "set" else 1
    assert set(found.forwards.tolist()) == {1 + width + 5 * width}
    assert set(found.backwards.tolist()) == {5 * width}


def test_points_are_doubled_until_the_map_is_complete() -> None:
    model, images = double("relu-module")
    loose = fs.attribute(model, images, 0, method=IG, tolerance=0.02)
    tight = fs.attribute(model, images, 0, method=IG, tolerance=1e-4, max_points=512)
    assert loose.error.max() <= 0.02 < 1
    assert not loose.notes
    rounds = torch.tensor([16, 48, 112, 240, 496, 1008])
    assert set(tight.backwards.tolist()) <= set(rounds.tolist())
    assert bool((tight.backwards >= loose.backwards).all())
    assert tight.backwards.max() > 48
    for row, spent in enumerate(tight.backwards.tolist()):
        points = 2 ** (4 + rounds.tolist().index(spent))
        expected = slow(model, images[row], torch.zeros_like(images[row]), 0, points)
        torch.testing.assert_close(tight.maps[row], expected)
        fewer = fs.attribute(model, images[row], 0, method=IG, points=max(points // 2, 8))
        assert points == 16 or fewer.error[0] > 1e-4
    reached = tight.error <= 1e-4
    assert bool((tight.backwards[~reached] == 1008).all())


def test_a_note_says_where_the_tolerance_was_not_reached() -> None:
    model, images = double("relu-module")
    few = fs.attribute(model, images, 0, method=IG, tolerance=1e-9, max_points=8)
    assert few.backwards.tolist() == [8] * len(images)
    assert any("with 8 points" in note and "raise max_points" in note for note in few.notes)
    fixed = fs.attribute(model, images, 0, method=IG, tolerance=1e-9, points=1)
    assert any("with 1 point " in note and "raise points" in note for note in fixed.notes)
    drawn = fs.attribute(model, images, 0, method=EG, samples=2, tolerance=1e-9)
    assert any("with 2 samples" in note and "raise samples" in note for note in drawn.notes)


@pytest.mark.parametrize("name", ["gelu", "attention-fused", "max-pool-after-relu", "batch-norm"])
def test_completeness_in_single_precision(name: str) -> None:
    case = toy(name)
    # Where there are kinks the error falls with the number of points alone.
    tolerance = 1e-4 if name in ("gelu", "attention-fused") else 1e-3
    options = {"tolerance": tolerance, "max_points": 1024}
    found = fs.attribute(case.model, case.images, 0, method=IG, **options)
    assert found.error.max() <= tolerance
    pair = fs.attribute(case.model, case.images, (0, 1), method=IG, points=32)
    one, other = (
        fs.attribute(case.model, case.images, number, method=IG, points=32).maps
        for number in (0, 1)
    )
    torch.testing.assert_close(pair.maps, one - other, atol=1e-5, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(
    points=st.integers(12, 30),
    level=st.floats(0, 1),
    number=st.integers(0, 3),
    size=st.integers(1, 70),
    seed=st.integers(0, 2**32),
)
def test_completeness_and_batch_of_smooth_networks(
    points: int, level: float, number: int, size: int, seed: int
) -> None:
    model, images = double("silu")
    images = (images + torch.rand(1, generator=torch.Generator().manual_seed(seed)).double()) / 2
    found = fs.attribute(
        model, images, number, method=IG, points=points, baseline=level, batch_size=size
    )
    ends = model(images)[:, number] - model(torch.full_like(images, level))[:, number]
    off = (found.maps.sum((1, 2, 3)) - ends).abs()
    assert bool((off <= 1e-6 * found.maps.abs().sum((1, 2, 3))).all())
    alone = fs.attribute(model, images[1:2], number, method=IG, points=points, baseline=level)
    torch.testing.assert_close(found.maps[1], alone.maps[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("points", [1, 2, 3, 8, 33, 100])
def test_the_places_are_numpys(points: int) -> None:
    from fluoroscope.attribution.integrated_gradients import _gauss_legendre

    places, weights = np.polynomial.legendre.leggauss(points)
    found = _gauss_legendre(points).numpy()
    np.testing.assert_allclose(found, [(places + 1) / 2, weights / 2], rtol=1e-11)


def test_captum_agrees() -> None:
    attr = pytest.importorskip("captum.attr")
    model, images = double("gelu")
    for base in (torch.zeros_like(images), images.flip(0)):
        found = fs.attribute(model, images, 1, method=IG, points=9, baseline=one_each(base))
        expected = attr.IntegratedGradients(model).attribute(
            images, base, target=1, n_steps=9, method="gausslegendre"
        )
        torch.testing.assert_close(found.maps, expected, check_dtype=False)


def test_expected_gradients_take_the_mean_over_a_set() -> None:
    model, images = double("silu")
    background, images = images.flip(2), images[:2]
    few = fs.attribute(model, images, 0, method=EG, baseline=background, samples=58)
    exact = fs.attribute(model, images, 0, method=IG, baseline=background, points=20)
    assert set(few.forwards.tolist()) == {1 + 3 + 3 * 20}
    torch.testing.assert_close(few.maps, exact.maps)
    # The expectation of the paper: over a set as large as the samples, with a place for each.
    steps = torch.linspace(0, 1, 2000, dtype=torch.double).view(-1, 1, 1, 1)
    large = (background[0] * (1 - steps) + background[1] * steps).clamp(0, 1)
    drawn = fs.attribute(model, images, 0, method=EG, baseline=large, samples=400)
    middle = [(background[0] * (1 - k) + background[1] * k) for k in (0.1127, 0.5, 0.8873)]
    weights = (5 / 18, 8 / 18, 5 / 18)
    expected = sum(
        weight * fs.attribute(model, images, 0, method=IG, baseline=each, points=20).maps
        for weight, each in zip(weights, middle, strict=True)
    )
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(
        drawn.maps, expected, atol=0.03 * expected.abs().max().item(), rtol=0
    )
    # Of a set that is larger than wanted, other pictures by the picture's own counters.
    drawn = [
        fs.attribute(model, images, 0, method=EG, baseline=background, samples=2, **more)
        for more in ({}, {"batch_size": 1}, {"seed": 1})
    ]
    assert set(drawn[0].forwards.tolist()) == {1 + 2 + 2}
    torch.testing.assert_close(drawn[0].maps, drawn[1].maps)
    assert not torch.allclose(drawn[0].maps, drawn[2].maps)


@pytest.mark.parametrize("method", [IG, EG])
def test_random_maps_belong_to_their_picture(method: str) -> None:
    model, images = double("gelu")
    options: dict[str, Any] = {"method": method, "baseline": "noise"}
    options |= {"points": 3} if method == IG else {"samples": 3}
    found = fs.attribute(model, images, 0, **options)
    numbers = torch.arange(len(images))
    for row in (0, len(images) - 1):
        alone = fs.attribute(
            model, images[row], 0, numbers=numbers[row : row + 1], batch_size=2, **options
        )
        torch.testing.assert_close(found.maps[row], alone.maps[0])
    assert not torch.allclose(found.maps, fs.attribute(model, images, 0, seed=3, **options).maps)


def test_a_bar_only_ever_grows() -> None:
    from fluoroscope.attribution.classes import as_targets
    from fluoroscope.attribution.registry import make_method
    from fluoroscope.attribution.search import explain

    model, images = double("relu-module")
    shares: list[float] = []
    explain(
        model,
        make_method(IG, tolerance=1e-4),
        images,
        as_targets(model, 0, images),
        batch_size=16,
        on_share=shares.append,
    )
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == 1
    assert len(shares) > 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"points": 0}, "points is 0; expected a whole number"),
        ({"max_points": 2.5}, "max_points is 2.5"),
        ({"tolerance": 0}, "tolerance is 0; expected a number above 0"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"baseline": torch.rand(3, 4, 4)}, r"shape \(3, 4, 4\); expected \(3, 8, 8\)"),
        ({"baseline": torch.rand(3, 8, 8) + 1}, "expected .0, 1."),
        ({"method": EG, "samples": 0}, "samples is 0"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, Any], words: str) -> None:
    case = toy("gelu")
    with pytest.raises(fs.FluoroscopeError, match=words) as caught:
        fs.attribute(case.model, case.images, 0, **{"method": IG} | options)
    assert "\n" not in str(caught.value)
