"""Corruptions against the authors' formulas, written anew with NumPy; and a slow count."""

from io import BytesIO
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import nn

import fluoroscope as fs
from fluoroscope.evaluation.corruption import (
    CORRUPTIONS,
    SEVERITIES,
    Scale,
    corrupt,
    corruption_figure,
    corruption_strip,
    strengths,
    suitable_scale,
)

NAMES = st.sampled_from(list(CORRUPTIONS))
LEVEL = 1 / 255
NOISES = ("gaussian-noise", "shot-noise", "impulse-noise")


def pictures(count: int, channels: int = 3, side: int = 12, seed: int = 0) -> torch.Tensor:
    """In 8-bit levels, as those that networks see."""
    drawn = torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed))
    return (255 * drawn).round() / 255


@settings(max_examples=25)
@given(NAMES, st.sampled_from(SEVERITIES), st.sampled_from((1, 3)), st.integers(1, 20),
       st.integers(0, 99))  # fmt: skip
def test_pictures_of_any_size_stay_pictures(
    name: str, severity: int, channels: int, side: int, seed: int
) -> None:
    images = pictures(2, channels, side, seed)
    for scale in get_args(Scale):
        changed = corrupt(images, name, severity, scale=scale, seed=seed)
        assert changed.shape == images.shape
        assert changed.dtype == images.dtype
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert torch.equal(changed * 255, (changed * 255).round())


@settings(max_examples=25)
@given(NAMES, st.integers(0, 9))
def test_severity_0_is_clean(name: str, seed: int) -> None:
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(corrupt(images, name, 0, seed=seed), images)


@settings(max_examples=25)
@given(NAMES, st.sampled_from(SEVERITIES), st.permutations(range(6)), st.integers(0, 3))
def test_a_picture_does_not_know_its_neighbours(
    name: str, severity: int, order: list[int], seed: int
) -> None:
    images, numbers = pictures(6), torch.tensor([3, 999, 0, 7, 2**40, 5])
    together = corrupt(images, name, severity, seed=seed, numbers=numbers)
    other = corrupt(images[order], name, severity, seed=seed, numbers=numbers[order])
    assert torch.equal(together[order], other)
    alone = corrupt(images[4:5], name, severity, seed=seed, numbers=numbers[4:5])
    # Of one picture a convolution may round otherwise, by the last level at most.
    assert torch.allclose(together[4:5], alone, atol=1.01 * LEVEL if "blur" in name else 0)


@pytest.mark.parametrize("name", NOISES)
def test_noise_depends_on_the_seed_the_number_and_the_kind(name: str) -> None:
    grey = torch.full((2, 3, 16, 16), 0.5)
    one, two = corrupt(grey, name, 5, seed=0)
    assert not torch.equal(one, two)
    assert not torch.equal(one, corrupt(grey, name, 5, seed=1)[0])
    assert torch.equal(one, corrupt(grey, name, 5, seed=0)[0])
    state = torch.get_rng_state()
    corrupt(grey, name, 5)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("scale", get_args(Scale))
@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_is_as_loud_as_published(scale: Scale, severity: int) -> None:
    grey = torch.full((4, 3, 64, 64), 0.5)
    number = {name: strengths(name, scale)[severity - 1] for name in NOISES}
    of = {name: corrupt(grey, name, severity, scale=scale) for name in NOISES}
    draws = torch.distributions.Normal(0.5, number["gaussian-noise"]).sample((400_000,))
    assert float(of["gaussian-noise"].std()) == pytest.approx(
        float(draws.clamp(0, 1).std()), rel=0.02
    )
    photons = number["shot-noise"]
    draws = torch.poisson(torch.full((400_000,), 0.5 * photons)) / photons
    assert float(of["shot-noise"].mean()) == pytest.approx(
        float(draws.clamp(0, 1).mean()), abs=0.01
    )
    assert float(of["shot-noise"].std()) == pytest.approx(float(draws.clamp(0, 1).std()), rel=0.03)
    flipped = [float((of["impulse-noise"] == end).float().mean()) for end in (0, 1)]
    assert flipped == pytest.approx([number["impulse-noise"] / 2] * 2, abs=0.006)


@pytest.mark.parametrize("scale", get_args(Scale))
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_has_no_chance_is_the_authors(scale: Scale, severity: int, channels: int) -> None:
    [image] = pictures(1, channels, 30)
    array = image.permute(1, 2, 0).double().numpy()
    bytes_ = (array * 255).round().astype(np.uint8).squeeze()
    number = {name: strengths(name, scale)[severity - 1] for name in CORRUPTIONS}

    def ours(name: str) -> np.ndarray:
        changed = corrupt(image[None], name, severity, scale=scale)[0]
        return changed.permute(1, 2, 0).double().numpy()

    mean = array.mean((0, 1), keepdims=True)
    contrast = (array - mean) * number["contrast"] + mean
    assert ours("contrast") == pytest.approx(contrast.clip(0, 1), abs=0.51 * LEVEL)

    sigma = number["gaussian-blur"]
    # scipy's "mirror" is torch's "reflect"; the authors' own goes on with the border.
    blurred = gaussian_filter(array, (sigma, sigma, 0), mode="mirror", truncate=4)
    assert ours("gaussian-blur") == pytest.approx(blurred, abs=0.6 * LEVEL)

    from colorsys import hsv_to_rgb, rgb_to_hsv

    bright = np.empty_like(array)
    for at in np.ndindex(array.shape[:2]):
        rgb = array[at] if channels == 3 else array[at].repeat(3)
        hue, saturation, value = rgb_to_hsv(*rgb)
        lighter = hsv_to_rgb(hue, saturation, min(1, value + number["brightness"]))
        bright[at] = lighter[:channels]
    assert ours("brightness") == pytest.approx(bright, abs=0.51 * LEVEL)

    side = int(30 * number["pixelate"])
    small = Image.fromarray(bytes_).resize((side, side), Image.Resampling.BOX)
    blocks = np.asarray(small.resize((30, 30), Image.Resampling.BOX)) / 255
    assert ours("pixelate").squeeze() == pytest.approx(blocks, abs=1e-6)

    file = BytesIO()
    Image.fromarray(bytes_).save(file, "JPEG", quality=int(number["jpeg"]))
    assert ours("jpeg").squeeze() == pytest.approx(np.asarray(Image.open(file)) / 255, abs=1e-6)


def test_black_turns_grey_in_brightness() -> None:
    black = torch.zeros(1, 3, 4, 4)
    assert torch.allclose(
        corrupt(black, "brightness", 3, scale="imagenet-c"), black + 76 / 255, atol=1e-6
    )


def test_the_scale_goes_by_the_size() -> None:
    assert suitable_scale((28, 28)) == suitable_scale((63, 224)) == "cifar-10-c"
    assert suitable_scale((64, 64)) == suitable_scale((224, 224)) == "imagenet-c"
    image = pictures(1)
    small = corrupt(image, "contrast", 1)
    assert torch.equal(small, corrupt(image, "contrast", 1, scale="cifar-10-c"))
    assert not torch.equal(small, corrupt(image, "contrast", 1, scale="imagenet-c"))


@pytest.fixture(scope="module")
def reader() -> fs.Classifier:
    """Reads noisy pictures well and sometimes wrong."""
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 4)
    )
    return fs.Classifier(module, channels=1, input_size=12, labels=tuple("abcd"))


@settings(max_examples=25)
@given(count=st.integers(1, 9), batch_size=st.integers(1, 5), seed=st.integers(0, 5))
def test_a_slow_count(reader: fs.Classifier, count: int, batch_size: int, seed: int) -> None:
    images = pictures(count, 1)
    labels = fs.predict(reader, images).winners.roll(1)
    names = ("impulse-noise", "contrast")
    calls: list[tuple[int, int]] = []
    table = fs.corruption_accuracy(
        reader, images, labels, corruptions=names, seed=seed, batch_size=batch_size,
        at_chance=True, on_progress=lambda *at: calls.append(at),
    )  # fmt: skip
    rights = 0
    for row, name in zip(table.rows, names, strict=True):
        assert row.corruption == name
        for severity in SEVERITIES:
            seen = [
                corrupt(images[i : i + 1], name, severity, seed=seed, numbers=torch.tensor([i]))
                for i in range(count)
            ]
            right = sum(
                int(reader(image).argmax(1) == label)
                for image, label in zip(seen, labels, strict=True)
            )
            assert row.right[severity - 1] == right
            assert row.accuracy[severity - 1] == right / count
            low, high = row.intervals[severity - 1]
            assert low <= right / count <= high
            rights += right
    assert table.mean_accuracy == pytest.approx(rights / (10 * count))
    assert table.mean_interval[0] <= table.mean_accuracy <= table.mean_interval[1]
    assert table.clean_accuracy == float(
        (fs.predict(reader, images).winners == labels).double().mean()
    )
    assert table.complete
    assert table.count == count
    assert table.forwards == 11 * count
    assert calls[-1] == (11 * count, 11 * count)
    assert calls == sorted(calls)
    assert len(set(calls)) == len(calls)


def test_a_data_set_keeps_its_numbers(reader: fs.Classifier) -> None:
    images = pictures(8, 1)
    labels = fs.predict(reader, images).winners
    data = fs.load_images(list(images), channels=1)
    whole = fs.corruption_accuracy(reader, images, labels, at_chance=True)
    assert whole.record["scale"] == "cifar-10-c"
    assert whole.describe()["count"] == 8
    with pytest.raises(fs.FluoroscopeError, match="has no labels"):
        fs.corruption_accuracy(reader, data)


def test_stopping_leaves_whole_pictures(reader: fs.Classifier) -> None:
    images, asked = pictures(6, 1), 0
    labels = fs.predict(reader, images).winners

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 15

    table = fs.corruption_accuracy(
        reader, images, labels, corruptions=["jpeg"], batch_size=2, at_chance=True, cancelled=stop
    )
    assert not table.complete
    assert table.count == 4
    nothing = fs.corruption_accuracy(
        reader, images, labels, corruptions=["jpeg"], cancelled=lambda: True
    )
    assert nothing.count == 0
    assert nothing.clean_interval == (0, 1)
    assert not nothing.complete


def test_pictures_of_the_table(reader: fs.Classifier) -> None:
    images = pictures(3, 1)
    table = fs.corruption_accuracy(reader, images, fs.predict(reader, images).winners)
    assert len(corruption_figure(table).axes) == 8
    assert len(corruption_strip(images[0], table).axes) == 8 * 6


def test_bad_input(reader: fs.Classifier) -> None:
    images = pictures(2, 1)
    labels = torch.tensor([0, 1])
    for options, words in (
        ({"corruptions": ["fog"]}, "'fog'; expected one of gaussian-noise"),
        ({"corruptions": []}, "no corruption was chosen"),
        ({"scale": "mnist-c"}, "scale is 'mnist-c'; expected 'cifar-10-c' or"),
        ({"batch_size": 0}, "batch_size is 0"),
    ):
        with pytest.raises(fs.FluoroscopeError, match=words):
            fs.corruption_accuracy(reader, images, labels, **options)
    with pytest.raises(fs.FluoroscopeError, match="severity is 6; expected a whole number"):
        corrupt(images, "jpeg", 6)
    with pytest.raises(fs.FluoroscopeError, match="has the label 7"):
        fs.corruption_accuracy(reader, images, torch.tensor([0, 7]))
    many = pictures(40, 1)
    wrong = (fs.predict(reader, many).winners + 1) % 4
    with pytest.raises(fs.FluoroscopeError, match="no better than chance"):
        fs.corruption_accuracy(reader, many, wrong)
