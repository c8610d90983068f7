"""What happens to a picture in a machine: contrast, an elastic warp, pixelation and JPEG."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample

from fluoroscope.engine import randomness
from fluoroscope.evaluation.corruptions.noise import Drawn
from fluoroscope.pictures.gaussian import gaussian
from fluoroscope.pictures.write import to_pil


def contrast(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: the share of the contrast that is left, around each channel's own mean."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + numbers[0] * (images - mean)


def draw_elastic(keys: Tensor, shape: tuple[int, ...]) -> Drawn:
    corners = 2 * randomness.uniform(keys, 0, (3, 2)) - 1
    return corners, 2 * randomness.uniform(keys, 1, (2, *shape[1:])) - 1


def elastic_transform(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """A random affine map, and after it a random smooth displacement of every pixel.

    ``numbers``, in sides of the picture: how far pixels are displaced before the smoothing, its
    standard deviation, and how far each of three points is moved by the affine map.
    """
    height, width = images.shape[2:]
    side = min(height, width)
    far, sigma, moved = (side * number for number in numbers)
    corners, field = (one.to(images) for one in drawn)
    rows = torch.arange(height, device=images.device).to(images)[:, None]
    columns = torch.arange(width, device=images.device).to(images)
    centre = torch.tensor([width // 2, height // 2], device=images.device).to(images)
    third = side // 3
    signs = torch.tensor([[1, 1], [1, -1], [-1, -1]], device=images.device).to(images)
    before = centre + third * signs
    # The map that leads back: from what comes out to what went in.
    back = _affine(before + moved * corners, before)
    places = back[:, 0, :, None, None] * columns + back[:, 1, :, None, None] * rows
    places = places + back[:, 2, :, None, None]
    warped = _sampled(images, places, mirror=True)
    shift = far * gaussian(field, sigma, edge="reflect", truncate=3)
    places = torch.stack((columns + shift[:, 0], rows + shift[:, 1]), 1)
    return _sampled(warped, places, mirror=False)


def _affine(start: Tensor, end: Tensor) -> Tensor:
    """The affine maps ``(N, 3, 2)`` that lead three points ``(N, 3, 2)`` to three ``(3, 2)``."""
    ones = torch.ones_like(start[..., :1])
    # Three points in a row have no such map; the least of all is as good as any.
    found: Tensor = torch.linalg.pinv(torch.cat((start, ones), -1)) @ end
    return found


def _sampled(images: Tensor, places: Tensor, *, mirror: bool) -> Tensor:
    """Images at places ``(N, 2, H, W)``, across and down, by bilinear interpolation.

    Past the border a picture is mirrored: about its last pixel, or else about that pixel's edge.
    """
    sides = torch.tensor(images.shape[:1:-1], device=images.device).to(images).view(2, 1, 1)
    about_pixels = 2 * places / (sides - 1).clamp(min=1) - 1
    scaled = about_pixels if mirror else (2 * places + 1) / sides - 1
    found: Tensor = grid_sample(
        images, scaled.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=mirror
    )
    return found


def pixelate(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: the share of the pixels along a side that is left."""

    def change(picture: Image.Image) -> Image.Image:
        width, height = (max(1, int(side * numbers[0])) for side in picture.size)
        coarse = picture.resize((width, height), Image.Resampling.BOX)
        return coarse.resize(picture.size, Image.Resampling.BOX)

    return _by_pillow(images, change)


def jpeg(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: the quality."""

    def change(picture: Image.Image) -> Image.Image:
        file = BytesIO()
        picture.save(file, "JPEG", quality=int(numbers[0]))
        return Image.open(file)

    return _by_pillow(images, change)


def _by_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    count, channels, height, width = images.shape
    # Pillow knows grey and colour; of any other number each channel is a grey picture by itself.
    each = channels if channels in (1, 3) else 1
    pictures = images.reshape(-1, each, height, width)
    shape = (height, width, each)
    changed = [
        torch.from_numpy(np.array(change(to_pil(picture))).reshape(shape)) for picture in pictures
    ]
    whole = torch.stack(changed).permute(0, 3, 1, 2).reshape(count, channels, height, width)
    return whole.to(images) / 255
