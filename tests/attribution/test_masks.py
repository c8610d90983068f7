"""Occlusion, feature ablation and RISE: against the papers written out, closed forms and Captum."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import interpolate

import fluoroscope as fs
from fluoroscope.attribution.baselines import one_each
from fluoroscope.attribution.masks.segments import superpixels
from fluoroscope.engine import randomness
from tests.attribution.zoo import toy

KINDS: dict[str, dict[str, Any]] = {
    "occlusion": {"window": (3, 2), "stride": 2},
    "feature-ablation": {"parts": 6},
    "rise": {"samples": 9, "grid": 3},
}


def slow_occlusion(
    model: fs.Classifier, image: Tensor, base: Tensor, number: int, window: int, stride: int
) -> Tensor:
    """Window by window, the last of a row at the border."""
    height, width = image.shape[1:]
    before = model(image[None])[0, number]
    sums, covers = np.zeros((height, width)), np.zeros((height, width))
    rows = sorted({*range(0, height - window, stride), height - window})
    columns = sorted({*range(0, width - window, stride), width - window})
    for row in rows:
        for column in columns:
            hidden = image.clone()
            part = (slice(None), slice(row, row + window), slice(column, column + window))
            hidden[part] = base[part]
            drop = (before - model(hidden[None])[0, number]).item()
            sums[part[1:]] += drop
            covers[part[1:]] += 1
    return torch.from_numpy(sums / covers)[None]


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (2, 2), (4, 3), (8, 1), (1, 1)])
@pytest.mark.parametrize("baseline", ["black", "white", "each"])
def test_occlusion_is_the_mean_drop_over_the_windows(
    window: int, stride: int, baseline: str
) -> None:
    case = toy("max-pool-after-relu")
    bases = {"black": 0 * case.images, "white": 0 * case.images + 1, "each": case.images.roll(1, 0)}
    base, classes = bases[baseline], [1, 0, 3]
    found = fs.attribute(
        case.model, case.images, classes, method="occlusion", window=window, stride=stride,
        baseline=one_each(base) if baseline == "each" else baseline, batch_size=7,
    )  # fmt: skip
    assert found.maps.shape == (3, 1, 8, 8)
    for row, number in enumerate(classes):
        slow = slow_occlusion(case.model, case.images[row], base[row], number, window, stride)
        torch.testing.assert_close(found.maps[row].double(), slow, atol=2e-6, rtol=1e-4)
        whole = case.model(case.images)[row, number].item()
        assert found.values[row] == pytest.approx(whole, rel=1e-5)
    assert not found.backwards.any()
    places = (-(-(8 - window) // stride) + 1) ** 2
    assert set(found.forwards.tolist()) == {1 + places}


def test_captum_occludes_alike() -> None:
    attr = pytest.importorskip("captum.attr")
    case = toy("gelu")
    found = fs.attribute(case.model, case.images, 2, method="occlusion", window=(4, 2), stride=2)
    expected = attr.Occlusion(case.model).attribute(
        case.images, sliding_window_shapes=(3, 4, 2), strides=(3, 2, 2), target=2
    )
    torch.testing.assert_close(found.maps.expand(-1, 3, -1, -1), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("each", [False, True])
def test_captum_ablates_alike(each: bool) -> None:
    attr = pytest.importorskip("captum.attr")
    case = toy("gelu")
    parts = torch.arange(64).view(8, 8) // 10
    segments = torch.stack([parts, parts.T, parts.flip(0)]) if each else parts
    found = fs.attribute(
        case.model, case.images, (2, 1), method="feature-ablation",
        segments=7 - 3 * segments,  # any numbers will do
    )  # fmt: skip
    assert set(found.forwards.tolist()) == {1 + 7}
    expected = attr.FeatureAblation(lambda x: case.model(x)[:, 2] - case.model(x)[:, 1]).attribute(
        case.images, feature_mask=segments.view(-1, 1, 8, 8)
    )
    torch.testing.assert_close(found.maps.expand(-1, 3, -1, -1), expected, atol=1e-5, rtol=1e-4)


def test_parts_add_up_in_a_linear_network() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    model = fs.Classifier(body, channels=1, input_size=8)
    images = torch.linspace(0, 9, 128).view(2, 1, 8, 8).sin().abs().double()
    parts = superpixels(images, 5)
    weights = body[1].weight.detach()[2].view(1, 8, 8)
    found = fs.attribute(model, images, 2, method="feature-ablation", parts=5)
    for row, image in enumerate(images):
        for part in parts[row].unique():
            inside = parts[row] == part
            expected = (weights * image)[0][inside].sum()
            torch.testing.assert_close(found.maps[row, 0][inside], expected.expand(inside.sum()))


def slow_mask(keys: Tensor, number: int, grid: int, keep: float, side: int) -> Tensor:
    """The authors' recipe: a small mask, made larger than the picture, and cropped at a shift."""
    cells = (randomness.uniform(keys, 2 * number, (grid, grid)) < keep).float()
    cell = -(-side // grid)
    large = interpolate(cells[None], size=(grid + 1) * cell, mode="bilinear")[0, 0]
    down, across = (
        int(cell * shift) for shift in randomness.uniform(keys, 2 * number + 1, (2,))[0]
    )
    return large[down : down + side, across : across + side]


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_rise_is_the_papers(batch_size: int) -> None:
    case = toy("gelu")
    classes, keys = [2, 0, 3], randomness.keys(4, torch.arange(3))
    options: dict[str, Any] = {"method": "rise", "samples": 8, "grid": 3, "keep": 0.4, "seed": 4}
    found = fs.attribute(
        case.model, case.images, classes, centred=False, batch_size=batch_size, **options
    )
    centred = fs.attribute(case.model, case.images, classes, **options)
    for row, number in enumerate(classes):
        masks = [slow_mask(keys[row : row + 1], k, 3, 0.4, 8) for k in range(8)]
        scores = [
            case.model((case.images[row] * mask)[None]).softmax(1)[0, number].item()
            for mask in masks
        ]
        paper = sum(score * mask for score, mask in zip(scores, masks, strict=True)) / (8 * 0.4)
        assert isinstance(paper, Tensor)
        torch.testing.assert_close(found.maps[row, 0], paper, atol=1e-6, rtol=1e-4)
        less = torch.stack(masks).mean(0) / 0.4 * (sum(scores) / 8)
        torch.testing.assert_close(centred.maps[row, 0], paper - less, atol=1e-6, rtol=1e-4)
        whole = case.model(case.images)[row].softmax(0)[number].item()
        assert found.values[row].item() == pytest.approx(whole, rel=1e-4)


def test_rise_finds_the_part_that_matters() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen = x[:, 0, 2:6, 8:12].mean((1, 2))
            return torch.stack([4 * seen - 2, 2 - 4 * seen], 1)

    model = fs.Classifier(Corner(), channels=1, input_size=14)
    found = fs.attribute(model, torch.ones(1, 14, 14), 0, method="rise")
    inside = found.maps[0, 0, 2:6, 8:12].mean()
    rest = found.maps[0, 0, :, :6]
    assert inside > 10 * rest.abs().mean()
    assert found.forwards.tolist() == [501]


@settings(max_examples=20, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)), row=st.integers(0, 2), size=st.integers(1, 40),
    baseline=st.sampled_from(["black", "noise", "blur", "mean", 0.7]),
)  # fmt: skip
def test_a_row_depends_neither_on_its_batch_nor_on_how_many_fit(
    kind: str, row: int, size: int, baseline: Any
) -> None:
    case = toy("batch-norm")
    options = {"method": kind, "baseline": baseline, **KINDS[kind]}
    together = fs.attribute(case.model, case.images, 1, **options)
    alone = fs.attribute(
        case.model, case.images[row], 1, numbers=torch.tensor([row]), batch_size=size, **options
    )
    torch.testing.assert_close(together.maps[row], alone.maps[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_is_needed(kind: str) -> None:
    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0.5).to(x).flatten(1) @ torch.eye(64, 3)

    model = fs.Classifier(Steps(), channels=1, input_size=8)
    found = fs.attribute(model, torch.rand(2, 1, 8, 8), 0, method=kind, **KINDS[kind])
    assert found.maps.isfinite().all()


def test_superpixels_follow_what_is_seen() -> None:
    image = torch.zeros(3, 24, 36)
    image[0, :, 13:] = 1
    image[2, 15:, 13:] = 1
    (parts,) = superpixels(image[None], 12)
    assert 8 <= int(parts.max()) + 1 <= 14
    assert set(parts.unique().tolist()) == set(range(int(parts.max()) + 1))
    for part in parts.unique():
        colours = image[:, parts == part]
        assert torch.equal(colours, colours[:, :1].expand_as(colours))  # no part over an edge
        assert (parts == part).sum() < 24 * 36 / 4
    other = torch.rand(3, 24, 36, generator=torch.Generator().manual_seed(0))
    assert torch.equal(superpixels(torch.stack([other, image]), 12)[1], parts)
    assert superpixels(torch.rand(2, 1, 1, 1), 50).tolist() == [[[0]], [[0]]]
    assert len(superpixels(torch.rand(1, 1, 2, 3), 50).unique()) <= 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 9}, "window is 9; expected no more than the images' 8 × 8"),
        ({"window": (2, 9)}, "window is .2, 9."),
        ({"window": 0}, "window is 0"),
        ({"window": (1, 2, 3)}, "expected a whole number of pixels, or"),
        ({"window": 2, "stride": 3}, "stride is 3 and the window 2"),
        ({"window": "big"}, "window is 'big'"),
        ({"baseline": torch.rand(2, 3, 8, 8)}, "a set of 2 pictures; occlusion shows one thing"),
        ({"baseline": torch.rand(3, 8, 9)}, r"\(3, 8, 9\); expected \(3, 8, 8\)"),
        ({"method": "rise", "samples": 0}, "samples is 0"),
        ({"method": "rise", "grid": 9}, "grid is 9; expected no more cells"),
        ({"method": "rise", "keep": 1}, "keep is 1; expected a number between"),
        ({"method": "rise", "centred": "no"}, "centred is 'no'"),
        ({"method": "feature-ablation", "parts": 0}, "parts is 0"),
        ({"method": "feature-ablation", "segments": torch.ones(8)}, r"shape \(8,\)"),
        ({"method": "feature-ablation", "segments": torch.ones(7, 8)}, r"shape \(1, 7, 8\)"),
        ({"method": "feature-ablation", "segments": torch.ones(2, 8, 8)}, r"or \(3, 8, 8\)"),
        ({"method": "feature-ablation", "segments": torch.rand(8, 8)}, "other than whole"),
        ({"method": "feature-ablation", "segments": "sky"}, "segments are a str"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, Any], words: str) -> None:
    case = toy("gelu")
    with pytest.raises(fs.FluoroscopeError, match=words) as caught:
        fs.attribute(case.model, case.images, 0, **{"method": "occlusion"} | options)
    assert "\n" not in str(caught.value)
