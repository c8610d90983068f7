"""Harmless changes of real pictures that are as large as an attack's: noise, and JPEG."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.engine.grid import round_to_grid
from fluoroscope.pictures.write import to_pil

# Halvings of the interval of the noise's size.
_HALVINGS = 12
# Tells these draws from all others of the seed.
_PURPOSE = 23


def noisy(images: Tensor, distance: Tensor, numbers: Tensor, seed: int) -> Tensor:
    """Gaussian noise on each of ``(n, C, H, W)``, so much that it is as far, on the 8-bit grid.

    ``distance`` ``(n,)`` is the root mean square of the change, after it was cut to [0, 1] and
    rounded; ``numbers`` ``(n,)`` tell the pictures' draws apart.
    """
    noise = randomness.normal(
        randomness.keys(seed, numbers, _PURPOSE), 0, tuple(images.shape[1:])
    ).to(images)
    low, high = torch.zeros_like(distance), torch.full_like(distance, 2)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        near = apart(_moved(images, noise, middle), images) < distance
        low, high = torch.where(near, middle, low), torch.where(near, high, middle)
    return _moved(images, noise, high)


def compressed(images: Tensor, distance: Tensor) -> Tensor:
    """Each of ``(n, C, H, W)`` as a JPEG of the quality that changes it most nearly as much."""
    made = []
    for image, far in zip(images, distance.tolist(), strict=True):
        low, high = 1, 100  # the change falls with the quality
        while high - low > 1:
            middle = (low + high) // 2
            larger = float(apart(_jpeg(image, middle)[None], image[None])) > far
            low, high = (middle, high) if larger else (low, middle)
        both = [_jpeg(image, quality) for quality in (low, high)]
        off = [abs(float(apart(each[None], image[None])) - far) for each in both]
        made.append(both[int(np.argmin(off))])
    return torch.stack(made)


def apart(images: Tensor, others: Tensor) -> Tensor:
    """Root mean square of the differences of each, ``(n,)``."""
    found: Tensor = (images - others).double().flatten(1).square().mean(1).sqrt()
    return found


def _moved(images: Tensor, noise: Tensor, size: Tensor) -> Tensor:
    return round_to_grid((images + size.to(images).view(-1, 1, 1, 1) * noise).clamp(0, 1))


def _jpeg(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    to_pil(image).save(file, "JPEG", quality=quality, subsampling=0)  # all colours as fine
    with Image.open(file) as opened:
        array = np.asarray(opened)
    rows = torch.from_numpy(array.copy()).to(image) / 255
    return rows[None] if rows.dim() == 2 else rows.permute(2, 0, 1)
