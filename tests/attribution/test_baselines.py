"""Baselines, each held against its definition written out."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attribution.baselines import NAMED, as_baseline, one_each
from fluoroscope.engine.stream import Samples, feed, take

IMAGES = torch.linspace(0, 1, 5 * 3 * 10 * 6).view(5, 3, 10, 6).mul(40).sin().abs()
PICTURE, SET = IMAGES[4], IMAGES[1:4]


def samples(seed: int = 0) -> Samples:
    found = feed(IMAGES, torch.zeros(5, dtype=torch.long), seed=seed)(5)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("black", 0 * IMAGES),
        ("white", 0 * IMAGES + 1),
        (0.25, 0 * IMAGES + 0.25),
        (1, 0 * IMAGES + 1),
        (np.float64(0.5), 0 * IMAGES + 0.5),
        (PICTURE, PICTURE.expand_as(IMAGES)),
        (PICTURE[None].double(), PICTURE.expand_as(IMAGES)),
        (one_each(IMAGES.flip(0)), IMAGES.flip(0)),
    ],
)
def test_each_is_what_it_says(given: Any, expected: Tensor) -> None:
    baseline = as_baseline(given)
    found = baseline.of(samples())
    assert torch.equal(found, expected)
    assert (baseline.count, baseline.is_set) == (1, False)
    # Rows are those of their pictures, whichever are asked about and in whatever order.
    rows = torch.tensor([3, 3, 1])
    assert torch.equal(baseline.of(take(samples(), rows), torch.tensor([4, 0, 1])), expected[rows])


def test_the_mean_is_that_of_each_channel() -> None:
    found = as_baseline("mean").of(samples())
    for image, mean in zip(IMAGES.numpy(), found.numpy(), strict=True):
        for channel, value in zip(image, mean, strict=True):
            np.testing.assert_allclose(value, channel.mean(), rtol=1e-5)


def test_the_blur_is_a_gaussian_of_a_tenth_of_the_longer_side() -> None:
    found = as_baseline("blur").of(samples())
    for image, blurred in zip(IMAGES.numpy(), found.numpy(), strict=True):
        slow = [gaussian_filter(channel, 1.0, mode="nearest") for channel in image]
        np.testing.assert_allclose(blurred, slow, atol=1e-6)


def test_noise_is_each_pictures_own() -> None:
    noise, drawn = as_baseline("noise"), samples()
    found = noise.of(drawn)
    assert 0 <= found.min() < 0.05
    assert 0.95 < found.max() < 1
    assert abs(found.mean() - 0.5) < 0.05
    assert len({tuple(row.flatten().tolist()) for row in found}) == 5
    rows = torch.tensor([2, 0])
    assert torch.equal(noise.of(take(drawn, rows)), found[rows])
    assert not torch.equal(noise.of(drawn, 1), found)
    assert not torch.equal(noise.of(samples(seed=1)), found)


def test_a_set_is_indexed_by_number() -> None:
    baseline = as_baseline(SET)
    assert (baseline.count, baseline.is_set) == (3, True)
    assert torch.equal(baseline.of(samples(), torch.tensor([0, 2, 1, 1, 0])), SET[[0, 2, 1, 1, 0]])


def test_the_type_is_that_of_the_image_and_what_was_given_stays() -> None:
    double = replace(samples(), images=IMAGES.double())
    for given in (*NAMED, 0.5, PICTURE, SET):
        assert as_baseline(given).of(double).dtype == torch.float64
    given = PICTURE.clone()
    baseline = as_baseline(given)
    given.zero_()
    assert torch.equal(baseline.of(samples())[0], PICTURE)


def test_records_tell_them_apart() -> None:
    others = [SET, SET.flip(0), PICTURE, one_each(SET)]
    plain = [json.dumps(as_baseline(given).describe()) for given in (*NAMED, 0.5, *others)]
    assert len(set(plain)) == len(plain) == len(NAMED) + 5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("blakc", "baseline is 'blakc'; did you mean black"),
        (1.5, "expected a number in"),
        (float("nan"), "expected a number in"),
        (True, "is a bool"),
        ([PICTURE], "is a list"),
        (IMAGES.numpy(), "is a ndarray"),
        (PICTURE[0], r"shape \(10, 6\)"),
        (SET[:0], r"shape \(0, 3, 10, 6\)"),
        (PICTURE + 0.5, "holds values from .* expected"),
        (PICTURE * torch.nan, "holds NaN"),
        ((PICTURE * 255).byte(), "holds uint8"),
    ],
)
def test_what_is_none_is_refused(given: Any, words: str) -> None:
    with pytest.raises(fs.FluoroscopeError, match=words) as caught:
        as_baseline(given)
    assert "\n" not in str(caught.value)


def test_a_wrong_shape_or_number_is_refused() -> None:
    with pytest.raises(fs.FluoroscopeError, match=r"\(3, 9, 6\); expected \(3, 10, 6\)"):
        as_baseline(PICTURE[:, 1:]).check(IMAGES)
    with pytest.raises(fs.FluoroscopeError, match="3 pictures, one for each; expected 5"):
        one_each(SET).check(IMAGES)
    for fine in ("noise", 0.5, PICTURE, SET, one_each(IMAGES)):
        as_baseline(fine).check(IMAGES)
