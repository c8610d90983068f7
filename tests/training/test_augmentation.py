"""Digits rewritten in another hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fluoroscope.training.job import augmentation
from fluoroscope.training.job.augmentation import rewrite


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def bar(lean: float) -> Tensor:
    """A pen stroke from row 4 to 23 that moves by ``lean`` columns for each row."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    ink = (2 - (x - 13.5 - lean * (y - 13.5)).abs()).clamp(0, 1)
    return (ink * (y > 3) * (y < 24)).view(1, 1, 28, 28)


def centre(images: Tensor) -> Tensor:
    ink = images.sum((1, 2, 3))
    y = (images.sum((1, 3)) * torch.arange(28)).sum(1) / ink
    x = (images.sum((1, 2)) * torch.arange(28)).sum(1) / ink
    return torch.stack((y, x), 1)


def lean_of(image: Tensor) -> float:
    """Least-squares slope of the ink's column over its row, pixel by pixel."""
    cy, cx = centre(image)[0].tolist()
    pixels = [(i, j, float(image[0, 0, i, j])) for i in range(28) for j in range(28)]
    covariance = sum(ink * (i - cy) * (j - cx) for i, j, ink in pixels)
    return covariance / sum(ink * (i - cy) ** 2 for i, _, ink in pixels)


def slow_transform(
    image: Tensor, shear: float, width: float, height: float, down: float, right: float
) -> Tensor:
    cy, cx = centre(image[None])[0].tolist()
    result = torch.zeros(28, 28)
    for i in range(28):
        for j in range(28):
            y, x = i - (14 + down), j - (14 + right)
            at_y, at_x = cy + y / height, cx + x / width + shear * y
            for k in (math.floor(at_y), math.floor(at_y) + 1):
                for m in (math.floor(at_x), math.floor(at_x) + 1):
                    if 0 <= k < 28 and 0 <= m < 28:
                        share = (1 - abs(at_y - k)) * (1 - abs(at_x - m))
                        result[i, j] += share * image[0, k, m]
    return result[None]


def test_stays_an_image_and_leaves_its_input_alone() -> None:
    images = torch.cat([bar(lean) for lean in torch.linspace(-0.5, 0.5, 40).tolist()])
    labels = torch.arange(40) % 10
    before = images.clone()
    result = rewrite(images, labels, coarse=0.5, shake=1.0)
    assert torch.equal(images, before)
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 1
    assert (result.sum((1, 2, 3)) > 20).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rewrites_just_the_share(share: float) -> None:
    images = bar(0.4).repeat(20, 1, 1, 1)
    result = rewrite(images, torch.zeros(20, dtype=torch.int64), share)
    assert int((result != images).flatten(1).any(1).sum()) == 20 * share


def test_a_batch_of_one() -> None:
    for digit in range(10):
        assert rewrite(bar(0.2), torch.tensor([digit]), coarse=0.5, shake=0.5).shape[0] == 1


def test_chance_is_torchs_own() -> None:
    images, labels = bar(0.2).repeat(8, 1, 1, 1), torch.arange(8)
    first = rewrite(images, labels, coarse=0.5, shake=0.5)
    torch.manual_seed(0)
    assert torch.equal(rewrite(images, labels, coarse=0.5, shake=0.5), first)
    assert not torch.equal(rewrite(images, labels, coarse=0.5, shake=0.5), first)


def test_transform_is_the_lookup_that_it_says() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, 1, 28, 28, generator=generator)
    settings = [(0.2, 0.9, 1.1, 0.0, 0.0), (-0.3, 1.2, 0.8, 1.5, -2.0), (0.0, 1.0, 1.0, 0.0, 3.0)]
    result = augmentation._transform(images, *torch.tensor(settings).T)
    for image, setting, found in zip(images, settings, result, strict=True):
        torch.testing.assert_close(found, slow_transform(image, *setting), atol=1e-4, rtol=0)


def test_leaning_digits_are_set_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "SLANT", 0.0)
    for lean in (-0.5, 0.3):
        assert lean_of(bar(lean)) == pytest.approx(lean, abs=0.05)
        assert lean_of(augmentation._slant(bar(lean))) == pytest.approx(0, abs=0.02)


def test_digits_fill_the_frame_as_in_mnist() -> None:
    images = torch.nn.functional.pad(bar(0.2)[..., ::2, ::2], (3, 11, 1, 13))
    framed = augmentation._frame(images)
    torch.testing.assert_close(centre(framed), torch.full((1, 2), 14.0), atol=0.1, rtol=0)
    rows = (framed[0, 0].amax(1) > 0.3).nonzero()
    assert 18 <= rows.max() - rows.min() + 1 <= 21


@pytest.mark.parametrize(
    ("digit", "place"),
    [
        (1, (slice(5, 14), slice(6, 11))),  # a flag, left of the top
        (7, (slice(11, 17), slice(17, 21))),  # a bar, right of the middle
        (9, (slice(19, 24), slice(3, 10))),  # a tail, left of the foot
    ],
)
def test_strokes_lie_where_they_belong(
    digit: int, place: tuple[slice, slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    always = {key: replace(stroke, share=1.0) for key, stroke in augmentation.STROKES.items()}
    monkeypatch.setattr(augmentation, "STROKES", always)
    images = bar(0.0).repeat(10, 1, 1, 1)
    drawn = augmentation._add_strokes(images.clone(), torch.full((10,), digit))
    added = drawn - images
    assert added.min() >= 0
    assert (added[:, 0][:, place[0], place[1]].sum((1, 2)) > 1).all()
    others = augmentation._add_strokes(images.clone(), torch.full((10,), 4))
    assert torch.equal(others, images)
