"""What is no batch of images, and the advice that goes with it."""

import pytest
import torch
from torch import Tensor

from fluoroscope.errors import InvalidImagesError
from fluoroscope.pictures.checks import check_images

IMAGES = torch.linspace(0, 1, 32).view(2, 1, 4, 4)


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        ((IMAGES - 0.13) / 0.31, "leave normalisation to the model"),
        (IMAGES / 0.31, "leave normalisation to the model"),
        (255 * IMAGES - 33, "leave normalisation to the model"),
        (255 * IMAGES, "divide 8-bit values by 255"),
        ((4 * IMAGES).round(), "divide 8-bit values by 255"),
    ],
)
def test_advice_for_pixels_out_of_range(images: Tensor, advice: str) -> None:
    with pytest.raises(InvalidImagesError, match=rf"expected \[0, 1\]: {advice}"):
        check_images(images, 1)


def test_an_array_is_sent_to_the_door_that_takes_it() -> None:
    with pytest.raises(InvalidImagesError, match=r"a ndarray; .*: fs.load_images\(x, labels=y\)"):
        check_images(IMAGES.numpy(), 1)  # type: ignore[arg-type]


def test_other_channels_than_the_networks_say_how_to_state_them() -> None:
    advice = r"expected \(N, 3, H, W\); .* 1 channel, .* fs.Classifier\(module, channels=1\)"
    with pytest.raises(InvalidImagesError, match=advice):
        check_images(torch.rand(6, 1, 28, 28), 3)
