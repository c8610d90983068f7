"""The one check that a tensor is a batch of images, for every public door."""

import numpy as np
import torch
from torch import Tensor

from fluoroscope.errors import InvalidImagesError
from fluoroscope.words import count

# A resize in float32 overshoots white by a few units in the last place.
_NOISE = 1e-5
# Normalised pixels lie below this, and the brightest of 8-bit ones above.
_BRIGHT = 16.0
# What is said of integers whose white nobody can know: 16 bits may be 12, or reflectances × 10000.
OTHER_NUMBERS = "expected 8-bit values or floats in [0, 1]: divide them by the top of their scale"


def check_images(images: Tensor, channels: int) -> Tensor:
    """The images as a detached batch ``(N, C, H, W)``; a single ``(C, H, W)`` becomes one of 1.

    Raises:
        InvalidImagesError: wrong shape, channels, dtype or range, NaN, or no pixels.
    """
    if not isinstance(images, Tensor):
        way = ": fs.load_images(x, labels=y) takes them" if isinstance(images, np.ndarray) else ""
        raise InvalidImagesError(
            f"images are a {type(images).__name__}; expected a float tensor (N, {channels}, H, W)"
            + way
        )
    batch = images.detach()
    if batch.dim() == 3:
        batch = batch.unsqueeze(0)
    shape = tuple(images.shape)
    if batch.dim() != 4 or batch.shape[1] != channels:
        has = batch.shape[1] if batch.dim() == 4 else 0
        mend = (
            f"; if it is the network that takes {count(has, 'channel')}, say so by "
            f"fs.Classifier(module, channels={has})"
        )
        raise InvalidImagesError(
            f"images have shape {shape}; expected (N, {channels}, H, W){mend if has else ''}"
        )
    if batch.numel() == 0:
        raise InvalidImagesError(f"images have shape {shape}: no pixels; expected at least one")
    if not batch.is_floating_point():
        raise InvalidImagesError(
            "images are torch.uint8; expected floats in [0, 1]: divide 8-bit values by 255"
            if batch.dtype == torch.uint8
            else f"images hold {str(batch.dtype).removeprefix('torch.')}; {OTHER_NUMBERS}"
        )
    low, high = (bound.item() for bound in torch.aminmax(batch))
    if not (low >= -_NOISE and high <= 1 + _NOISE):  # NaN fails both comparisons
        given = "NaN" if low != low or high != high else f"values from {low:.6g} to {high:.6g}"
        whole = bool((batch == batch.round()).all())
        eight_bit = low >= 0 and (high > _BRIGHT or whole)
        raise InvalidImagesError(
            f"images hold {given}; expected [0, 1]: "
            + ("divide 8-bit values by 255" if eight_bit else "leave normalisation to the model")
        )
    return batch.clamp(0, 1) if low < 0 or high > 1 else batch
