"""From a picture to what a network sees."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torchvision.transforms import v2 as transforms

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.preprocessing import Preprocessing

SIZES = [(331, 487), (480, 301), (300, 300), (225, 229), (49, 97)]


def picture(height: int, width: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(1, channels, height, width, generator=generator)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (7, 5), (224, 224)])
def test_shorter_side_then_centre_crop_is_torchvisions(
    size: tuple[int, int], interpolation: Any, resize: int, crop: int
) -> None:
    mode = "nearest-exact" if interpolation == "nearest" else interpolation
    reference = transforms.Compose(
        [
            transforms.Resize(resize, transforms.InterpolationMode(mode)),
            transforms.CenterCrop(crop),
        ]
    )
    ours = Preprocessing(input_size=(crop, crop), resize=resize, interpolation=interpolation)
    images = picture(*size)
    assert torch.equal(ours.resample(images), reference(images).clamp(0, 1))


def test_without_a_resize_the_picture_is_stretched() -> None:
    images = picture(30, 50)
    fitted = Preprocessing(input_size=(20, 40)).resample(images)
    assert torch.equal(fitted, transforms.Resize((20, 40))(images))


def test_stretch_then_crop() -> None:
    images = picture(30, 50)
    fitted = Preprocessing(input_size=(20, 40), resize=(24, 48)).resample(images)
    assert torch.equal(fitted, transforms.Resize((24, 48))(images)[..., 2:22, 4:44])


@pytest.mark.parametrize(
    ("size", "corner"), [((20, 31), (0, -4)), ((20, 48), (0, 4)), ((33, 20), (6, -10))]
)
def test_a_crop_may_reach_over_the_edge(size: tuple[int, int], corner: tuple[int, int]) -> None:
    images = picture(*size)
    fitted = Preprocessing(input_size=(20, 40), resize=20).resample(images)
    assert torch.equal(fitted, transforms.functional.crop(images, *corner, 20, 40))


@pytest.mark.parametrize("kind", [torch.float16, torch.float64, torch.uint8])
def test_other_types_are_resized_as_torchvision_does(kind: torch.dtype) -> None:
    images = (255 * picture(30, 50)).to(kind)
    fitted = Preprocessing(input_size=(20, 40)).resample(images)
    assert fitted.dtype == kind
    reference = transforms.functional.resize(images, [20, 40])
    assert torch.equal(fitted, reference.clamp(0, 1))


def test_the_crop_leans_as_the_source_says() -> None:
    images = picture(8, 11)  # a margin of 3: half of it is 1.5
    even = Preprocessing(input_size=(8, 8), resize=8)
    down = replace(even, half_pixel="down")
    assert torch.equal(even.resample(images), images[..., 2:10])
    assert torch.equal(down.resample(images), images[..., 1:9])


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 3, 8, 8)])
def test_a_picture_of_the_input_size_is_not_touched(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    assert Preprocessing(input_size=(8, 8), resize=10).resample(images) is images
    assert Preprocessing().resample(images) is images


def test_a_resize_keeps_the_range_and_lets_gradients_through() -> None:
    images = picture(40, 60).round().requires_grad_()
    for interpolation in ("bilinear", "bicubic"):
        ours = Preprocessing(input_size=(24, 24), resize=28, interpolation=interpolation)
        fitted = ours.resample(images)
        assert fitted.min() >= 0
        assert fitted.max() <= 1
        assert torch.autograd.grad(fitted.sum(), images)[0].abs().sum() > 0


def test_normalisation_is_channel_order_then_mean_and_std() -> None:
    images = picture(2, 2)
    ours = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0), channel_order="bgr")
    blue = (images[0, 2] - 0.1) / 0.5
    assert torch.allclose(ours.normalize(images)[0, 0], blue)
    assert torch.equal(Preprocessing().normalize(images), images)


def test_normalisation_keeps_double_precision() -> None:
    images = picture(2, 2).double()
    ours = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    expected = (images[0, 0] - 0.485) / 0.229
    assert torch.equal(ours.normalize(images)[0, 0], expected)


def test_overrides_replace_what_is_given_and_say_so() -> None:
    stated = Preprocessing(mean=(0.1,) * 3, std=(0.2,) * 3, stated_by="its file")
    assert stated.overridden(mean=None, std=None) is stated
    changed = stated.overridden(mean=(0.5,) * 3)
    assert (changed.mean, changed.std) == ((0.5,) * 3, (0.2,) * 3)
    assert changed.stated_by == "its file, changed by the caller"


def test_a_new_input_size_keeps_the_proportion_of_the_crop() -> None:
    stated = Preprocessing(input_size=(224, 224), resize=256)
    assert stated.overridden(input_size=(112, 112)).resize == 128
    assert stated.overridden(input_size=(112, 112), resize=120).resize == 120
    stretched = replace(stated, resize=(256, 320))
    assert stretched.overridden(input_size=(112, 112)).resize == (128, 160)
    assert Preprocessing().overridden(input_size=(9, 9)).resize is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"mean": (0.5,)}, "one finite number for each of the 3"),
        ({"mean": (0.5, float("nan"), 0.5)}, "one finite number"),
        ({"std": (1.0, 0.0, 1.0)}, "numbers above 0"),
        ({"input_size": (0, 4)}, "input_size"),
        ({"input_size": (4, 4, 4)}, "input_size"),
        ({"resize": 4}, "without an input_size"),
        ({"input_size": (8, 8), "resize": 7}, "at least the input size"),
        ({"input_size": (8, 8), "resize": (9, 7)}, "at least the input size"),
        ({"interpolation": "lanczos"}, "expected one of nearest, bilinear, bicubic"),
        ({"channel_order": "gbr"}, "expected 'rgb' or 'bgr'"),
    ],
)
def test_impossible_numbers_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        Preprocessing(**options)


def test_the_description_is_plain_json() -> None:
    described = Preprocessing(mean=(0.5,) * 3, input_size=(4, 5), resize=(6, 7)).describe()
    assert json.loads(json.dumps(described)) == described
    assert described["input_size"] == [4, 5]


def test_pictures_come_out_in_eight_bits_and_calls_stay_differentiable() -> None:
    preprocessing = Preprocessing(input_size=(8, 8), resize=9)
    picture = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    fitted = preprocessing.fit(picture)
    assert torch.equal(torch.round(fitted * 255) / 255, fitted)
    assert (fitted - preprocessing.resample(picture)).abs().max() <= 0.5 / 255 + 1e-6
    same = torch.rand(3, 8, 8)
    assert preprocessing.fit(same) is same
    large = picture.clone().requires_grad_()
    preprocessing.resample(large).sum().backward()
    assert large.grad is not None
    assert large.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"mean": (33.3,), "std": (78.5,)}, r"mean is \[33.3\]; .* 0 to 255, \[0.1306\]"),
        ({"mean": (0.5,), "std": (58.4,)}, r"std is \[58.4\]; .* 0 to 255, \[0.229\]"),
    ],
)
def test_numbers_for_8_bit_pixels_are_refused(stated: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        Preprocessing(channels=1, **stated)
    Preprocessing(channels=1, mean=(-1.0,), std=(2.0,))  # of pixels in [-1, 1] or [0, 2]
