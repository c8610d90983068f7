"""Every corruption against its definition, written anew and slowly with the same random draws."""

from collections.abc import Callable
from io import BytesIO
from math import ceil, cos, radians, sin
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter, map_coordinates, zoom

import fluoroscope as fs
from fluoroscope.engine import randomness
from fluoroscope.evaluation.corruptions.catalogue import (
    CORRUPTIONS,
    FIFTEEN,
    SEVERITIES,
    Scale,
    corrupt,
    strengths,
    suitable_scale,
)
from fluoroscope.evaluation.corruptions.frost import Frost

Array = NDArray[Any]

NAMES = st.sampled_from(list(CORRUPTIONS))
LEVEL = 1 / 255
NOISES = ("gaussian-noise", "shot-noise", "impulse-noise")
SEED = 3

# The numbers as the authors' code has them: ImageNet-C's, then CIFAR-10-C's.
PUBLISHED: dict[str, tuple[list[Any], list[Any]]] = {
    "gaussian-noise": ([0.08, 0.12, 0.18, 0.26, 0.38], [0.04, 0.06, 0.08, 0.09, 0.10]),
    "shot-noise": ([60, 25, 12, 5, 3], [500, 250, 100, 75, 50]),
    "impulse-noise": ([0.03, 0.06, 0.09, 0.17, 0.27], [0.01, 0.02, 0.03, 0.05, 0.07]),
    "defocus-blur": (
        [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    ),
    "glass-blur": (
        [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
        [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
    ),
    "motion-blur": (
        [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
        [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
    ),
    "zoom-blur": (
        [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
        [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
    ),
    "snow": (
        [
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ],
        [
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ],
    ),
    "frost": (
        [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
        [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
    ),
    "fog": (
        [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
        [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
    ),
    "brightness": ([0.1, 0.2, 0.3, 0.4, 0.5], [0.05, 0.1, 0.15, 0.2, 0.3]),
    "contrast": ([0.4, 0.3, 0.2, 0.1, 0.05], [0.75, 0.5, 0.4, 0.3, 0.15]),
    "elastic-transform": (
        # In pixels of pictures of 224, and of 32.
        [
            (244 * 2, 244 * 0.7, 244 * 0.1), (244 * 2, 244 * 0.08, 244 * 0.2),
            (244 * 0.05, 244 * 0.01, 244 * 0.02), (244 * 0.07, 244 * 0.01, 244 * 0.02),
            (244 * 0.12, 244 * 0.01, 244 * 0.02),
        ],
        [
            (0, 0, 32 * 0.08), (32 * 0.05, 32 * 0.2, 32 * 0.07),
            (32 * 0.08, 32 * 0.06, 32 * 0.06), (32 * 0.1, 32 * 0.04, 32 * 0.05),
            (32 * 0.1, 32 * 0.03, 32 * 0.03),
        ],
    ),
    "pixelate": ([0.6, 0.5, 0.4, 0.3, 0.25], [0.95, 0.9, 0.85, 0.75, 0.65]),
    "jpeg": ([25, 18, 15, 10, 7], [80, 65, 58, 50, 40]),
    "gaussian-blur": ([1, 2, 3, 4, 6], [0.4, 0.6, 0.7, 0.8, 1]),
}  # fmt: skip


def pictures(count: int, channels: int = 3, side: int = 12, seed: int = 0) -> torch.Tensor:
    """In 8-bit levels, as those that networks see."""
    drawn = torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed))
    return (255 * drawn).round() / 255


def smooth(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Like photographs: near pixels are alike."""
    coarse = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    return (255 * large.clamp(0, 1)).round() / 255


def numbers(name: str, severity: int, scale: Scale) -> Any:
    return PUBLISHED[name][scale == "cifar-10-c"][severity - 1]


def keys(name: str) -> torch.Tensor:
    """Of the picture number 0."""
    return randomness.keys(SEED, torch.tensor([0]), list(CORRUPTIONS).index(name))


def blurred(image: Array, sigma: float) -> Array:
    return gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=4)


def zoomed(image: Array, factor: float) -> Array:
    height, width = image.shape[:2]
    rows, columns = ceil(height / factor), ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = image[top : top + rows, left : left + columns]
    large = zoom(middle, (factor, factor, 1), order=1)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]


def smeared(image: Array, radius: float, sigma: float, angle: float) -> Array:
    """Pixel by pixel, as ImageMagick documents it."""
    height, width = image.shape[:2]
    steps = np.arange(2 * ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    found = np.zeros_like(image)
    for row, column in np.ndindex(height, width):
        for step, weight in zip(steps, weights, strict=True):
            y = row + ceil(step * sin(radians(angle)) - 0.5)
            x = column + ceil(step * cos(radians(angle)) - 0.5)
            found[row, column] += weight * image[min(max(y, 0), height - 1),
                                                 min(max(x, 0), width - 1)]  # fmt: skip
    return found


def defocus(image: Array, radius: float, blur: float) -> Array:
    reach, side = (8, 3) if radius <= 8 else (int(radius), 5)
    kernel = np.zeros((2 * reach + 1,) * 2)
    for y, x in np.ndindex(kernel.shape):
        kernel[y, x] = (y - reach) ** 2 + (x - reach) ** 2 <= radius**2
    kernel /= kernel.sum()
    row = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * blur**2))
    row /= row.sum()
    kernel = convolve(kernel, row[:, None] * row, mode="mirror")
    return np.stack([convolve(plane, kernel, mode="mirror") for plane in image.transpose(2, 0, 1)],
                    2)  # fmt: skip


def glass(image: Array, sigma: float, far: int, rounds: int) -> Array:
    height, width = image.shape[:2]
    draws = randomness.uniform(keys("glass-blur"), 0, (3, 2, height, width))[0].double().numpy()
    levels = (blurred(image, sigma) * 255 + 1e-9).astype(np.uint8)
    for n in range(rounds):
        for row in range(height - far, far, -1):
            for column in range(width - far, far, -1):
                across, down = (int(2 * far * draws[n, k, row, column]) - far for k in (0, 1))
                # What "a, b = b, a" does to two parts of one array.
                levels[row, column] = levels[row + down, column + across]
    return blurred(levels / 255, sigma)


def motion(image: Array, radius: float, sigma: float) -> Array:
    angle = 90 * float(randomness.uniform(keys("motion-blur"), 0, (1,))) - 45
    return smeared(image, radius, sigma, angle)


def zooms(image: Array, stop: float, step: float) -> Array:
    factors = np.arange(1, stop, step)
    return (image + sum(zoomed(image, float(one)) for one in factors)) / (len(factors) + 1)


def snow(image: Array, mean: float, deviation: float, factor: float, threshold: float,
         radius: float, sigma: float, own: float) -> Array:  # fmt: skip
    height, width = image.shape[:2]
    drawn = randomness.normal(keys("snow"), 0, (height, width))[0].double().numpy()
    layer = zoomed((mean + deviation * drawn)[:, :, None], factor)
    layer = np.where(layer < threshold, 0, layer).clip(0, 1)
    angle = 90 * float(randomness.uniform(keys("snow"), 1, (1,))) - 135
    layer = smeared(np.floor(layer * 255) / 255, radius, sigma, angle)
    layer = np.round(layer * 255) / 255
    grey = image if image.shape[2] == 1 else image @ np.array([[0.299], [0.587], [0.114]])
    paler = own * image + (1 - own) * np.maximum(image, 1.5 * grey + 0.5)
    return paler + layer + np.rot90(layer, 2)


def cloud(draws: Array, decay: float) -> Array:
    """Diamonds and squares, place by place."""
    side = len(draws)
    found = np.zeros((side, side))
    step, wibble = side, 100.0
    while step > 1:
        half = step // 2
        around = [(-half, -half), (-half, half), (half, -half), (half, half)]
        beside = [(-half, 0), (half, 0), (0, -half), (0, half)]
        for first, second, near in ((half, half, around), (0, half, beside), (half, 0, beside)):
            for row in range(first, side, step):
                for column in range(second, side, step):
                    mean = sum(found[(row + y) % side, (column + x) % side] for y, x in near) / 4
                    found[row, column] = mean + wibble**2 * draws[row, column]
        step, wibble = half, wibble / decay
    found -= found.min()
    return found / found.max()


def fog(image: Array, thick: float, decay: float) -> Array:
    side = 1
    while side < max(image.shape[:2]):
        side *= 2
    draws = 2 * randomness.uniform(keys("fog"), 0, (side, side))[0].double().numpy() - 1
    veil = cloud(draws, decay)[: image.shape[0], : image.shape[1], None]
    brightest = image.max()
    return (image + thick * veil) * brightest / (brightest + thick)


def bright(image: Array, more: float) -> Array:
    from colorsys import hsv_to_rgb, rgb_to_hsv

    found = np.empty_like(image)
    for at in np.ndindex(image.shape[:2]):
        colour = image[at] if image.shape[2] == 3 else image[at].repeat(3)
        hue, saturation, value = rgb_to_hsv(*colour)
        found[at] = hsv_to_rgb(hue, saturation, min(1, value + more))[: image.shape[2]]
    return found


def elastic(image: Array, far: float, sigma: float, moved: float) -> Array:
    side = image.shape[0]
    corners, drawn = (
        2 * randomness.uniform(keys("elastic-transform"), n, shape)[0].double().numpy() - 1
        for n, shape in enumerate(((3, 2), (2, side, side)))
    )
    centre, third = side // 2, side // 3
    before = np.array([[centre + third] * 2, [centre + third, centre - third],
                       [centre - third] * 2])  # fmt: skip
    after = np.hstack([before + moved * corners, np.ones((3, 1))])
    back = np.linalg.solve(after, before)
    rows, columns = np.mgrid[:side, :side]
    x, y = (columns * back[0, k] + rows * back[1, k] + back[2, k] for k in (0, 1))
    planes = image.transpose(2, 0, 1)
    warped = [map_coordinates(plane, [y, x], order=1, mode="mirror") for plane in planes]
    right, down = (far * gaussian_filter(one, sigma, mode="reflect", truncate=3) for one in drawn)
    places = [rows + down, columns + right]
    return np.stack([map_coordinates(one, places, order=1, mode="reflect") for one in warped], 2)


def by_pillow(change: Callable[[Image.Image], Image.Image]) -> Callable[..., Array]:
    def of(image: Array) -> Array:
        levels = (image * 255).round().astype(np.uint8)
        return np.asarray(change(Image.fromarray(levels.squeeze()))).reshape(levels.shape) / 255

    return of


def pixelate(image: Array, share: float) -> Array:
    side = int(image.shape[0] * share)

    def change(picture: Image.Image) -> Image.Image:
        small = picture.resize((side, side), Image.Resampling.BOX)
        return small.resize(picture.size, Image.Resampling.BOX)

    return by_pillow(change)(image)


def jpeg(image: Array, quality: float) -> Array:
    def change(picture: Image.Image) -> Image.Image:
        file = BytesIO()
        picture.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return by_pillow(change)(image)


def gaussian(image: Array, deviation: float) -> Array:
    shape = (image.shape[2], *image.shape[:2])
    drawn = randomness.normal(keys("gaussian-noise"), 0, shape)[0].double().numpy()
    return image + deviation * drawn.transpose(1, 2, 0)


def impulse(image: Array, share: float) -> Array:
    shape = (image.shape[2], *image.shape[:2])
    hit, salt = (
        randomness.uniform(keys("impulse-noise"), n, shape)[0].numpy().transpose(1, 2, 0)
        for n in (0, 1)
    )
    return np.where(hit < share, (salt < 0.5) * 1.0, image)


def contrast(image: Array, share: float) -> Array:
    mean = image.mean((0, 1), keepdims=True)
    return (image - mean) * share + mean


SLOWLY: dict[str, Callable[..., Array]] = {
    "gaussian-noise": gaussian, "impulse-noise": impulse, "defocus-blur": defocus,
    "glass-blur": glass, "motion-blur": motion, "zoom-blur": zooms, "snow": snow, "fog": fog,
    "brightness": bright, "contrast": contrast, "elastic-transform": elastic,
    "pixelate": pixelate, "jpeg": jpeg, "gaussian-blur": blurred,
}  # fmt: skip


@pytest.mark.parametrize("scale", get_args(Scale))
@pytest.mark.parametrize("name", SLOWLY)
def test_it_is_what_the_authors_define(name: str, scale: Scale) -> None:
    for severity in SEVERITIES:
        channels = 3 if severity % 2 else 1
        image = smooth(1, channels, 18, 18)
        given = numbers(name, severity, scale)
        given = given if isinstance(given, tuple) else (given,)
        if name == "elastic-transform":  # multiples of the side
            given = tuple(18 * one / (32 if scale == "cifar-10-c" else 224) for one in given)
        array = image[0].permute(1, 2, 0).double().numpy()
        expected = SLOWLY[name](array, *given).clip(0, 1)
        found = corrupt(image, name, severity, scale=scale, seed=SEED)[0].permute(1, 2, 0).numpy()
        off = np.abs(found - expected)
        assert off.max() < 0.501 * LEVEL, severity


def test_the_numbers_are_the_published_ones() -> None:
    assert list(PUBLISHED) == list(CORRUPTIONS)
    assert len(FIFTEEN) == 15
    for name in CORRUPTIONS:
        for scale, side in zip(get_args(Scale), (32, 224), strict=True):
            for severity in SEVERITIES:
                found = strengths(name, scale)[severity - 1]
                if name == "elastic-transform":
                    found = tuple(side * number for number in found)
                given = numbers(name, severity, scale)
                assert found == pytest.approx(given if isinstance(given, tuple) else (given,))


@settings(max_examples=40)
@given(NAMES, st.sampled_from(SEVERITIES), st.sampled_from((1, 2, 3, 13)), st.integers(1, 20),
       st.integers(1, 20), st.integers(0, 99))  # fmt: skip
def test_pictures_of_any_size_stay_pictures(
    name: str, severity: int, channels: int, height: int, width: int, seed: int
) -> None:
    if name == "jpeg" and channels not in (1, 3):
        return
    images = torch.rand(2, channels, height, width)
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


@settings(max_examples=40)
@given(NAMES, st.sampled_from(SEVERITIES), st.permutations(range(6)), st.integers(0, 3),
       st.sampled_from(get_args(Scale)))  # fmt: skip
def test_a_picture_does_not_know_its_neighbours(
    name: str, severity: int, order: list[int], seed: int, scale: Scale
) -> None:
    images, which = pictures(6), torch.tensor([3, 999, 0, 7, 2**40, 5])
    together = corrupt(images, name, severity, seed=seed, numbers=which, scale=scale)
    other = corrupt(images[order], name, severity, seed=seed, numbers=which[order], scale=scale)
    assert torch.equal(together[order], other)
    alone = corrupt(images[4:5], name, severity, seed=seed, numbers=which[4:5], scale=scale)
    assert torch.equal(together[4:5], alone)


@pytest.mark.parametrize(
    "name", [*NOISES, "glass-blur", "motion-blur", "snow", "frost", "fog", "elastic-transform"]
)
def test_what_is_random_depends_on_the_seed_the_number_and_the_kind(name: str) -> None:
    image = smooth(1, 3, 24, 24)
    one, two = corrupt(image.expand(2, -1, -1, -1), name, 5, seed=0)
    assert not torch.equal(one, two)
    assert not torch.equal(one, corrupt(image, name, 5, seed=1)[0])
    assert torch.equal(one, corrupt(image, name, 5, seed=0)[0])
    state = torch.get_rng_state()
    corrupt(image, name, 5)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("scale", get_args(Scale))
@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_is_as_loud_as_published(scale: Scale, severity: int) -> None:
    grey = torch.full((4, 3, 64, 64), 0.5)
    number = {name: numbers(name, severity, scale) for name in NOISES}
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
def test_more_severe_is_farther_away(scale: Scale) -> None:
    images = smooth(4, 3, 96, 96)
    for name in CORRUPTIONS:
        changed = [corrupt(images, name, severity, scale=scale) for severity in SEVERITIES]
        away = [float((one - images).norm()) for one in changed]
        # Of these two the authors trade one number for another from severity to severity.
        if name in ("glass-blur", "elastic-transform"):
            assert min(away) > 0
        # These trade some too, but the first is the mildest.
        elif name in ("snow", "frost", "fog"):
            assert away[0] == min(away)
        else:
            assert away == sorted(away), name
            assert away[0] < away[-1], name


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


@pytest.fixture
def frost(tmp_path: Path) -> Path:
    """Five photographs, each of its own grey and with a slope, of 80×70 pixels."""
    for number in range(1, 6):
        slope = np.add.outer(np.arange(70), np.arange(80)) % 20
        levels = np.stack([slope + 40 * number + k for k in range(3)], 2).astype(np.uint8)
        Image.fromarray(levels).save(tmp_path / f"frost{number}.png")
    return tmp_path


@pytest.mark.parametrize("scale", get_args(Scale))
@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_of_photographs(frost: Path, scale: Scale, severity: int) -> None:
    images = smooth(6, 3, 12, 12)
    found = corrupt(images, "frost", severity, scale=scale, seed=SEED, frost=frost)
    own, laid = numbers("frost", severity, scale)
    for n, image in enumerate(images):
        key = randomness.keys(SEED, torch.tensor([n]), list(CORRUPTIONS).index("frost"))
        which, top, left = randomness.uniform(key, 0, (3,))[0].double().tolist()
        picture = np.asarray(Image.open(frost / f"frost{int(5 * which) + 1}.png")) / 255
        if scale == "cifar-10-c":
            picture = picture[2::5, 2::5]
        down = int(top * (picture.shape[0] - 12))
        across = int(left * (picture.shape[1] - 12))
        part = picture[down : down + 12, across : across + 12]
        expected = (own * image.permute(1, 2, 0).numpy() + laid * part).clip(0, 1)
        assert found[n].permute(1, 2, 0).numpy() == pytest.approx(expected, abs=0.501 * LEVEL)


def test_frost_for_any_picture(frost: Path) -> None:
    loaded = Frost.load(frost)
    for channels, side in ((1, 28), (4, 12), (3, 100)):
        images = smooth(2, channels, side, side)
        found = corrupt(images, "frost", 3, frost=loaded)
        assert found.shape == images.shape
        drawn = corrupt(images, "frost", 3)
        assert not torch.equal(found, drawn)


def test_a_folder_without_frost(frost: Path) -> None:
    image = pictures(1)
    (frost / "frost4.png").unlink()
    with pytest.raises(fs.FluoroscopeError, match=r"has no frost4\.png or \.jpg"):
        corrupt(image, "frost", 1, frost=frost)
    (frost / "frost4.jpg").write_bytes(b"no picture")
    with pytest.raises(fs.FluoroscopeError, match="is no picture"):
        corrupt(image, "frost", 1, frost=frost)
    with pytest.raises(fs.FluoroscopeError, match="is no folder"):
        corrupt(image, "frost", 1, frost=frost / "frost1.png")


def test_mistakes() -> None:
    image = pictures(1)
    for severity in (6, -1, 1.5):
        with pytest.raises(fs.FluoroscopeError, match=f"severity is {severity}; expected a whole"):
            corrupt(image, "jpeg", severity)  # type: ignore[arg-type]
    with pytest.raises(fs.FluoroscopeError, match="'rain'; expected one of gaussian-noise"):
        corrupt(image, "rain", 1)
