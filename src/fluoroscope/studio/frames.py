"""Pictures as the page receives them: 8-bit values, rows from the top, channels last."""

import base64
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fluoroscope.pictures.display import shown

MOST_SIDE = 224
"""The longer side of a frame; larger pictures are averaged down."""


def frame(image: Tensor, most_side: int = MOST_SIDE) -> dict[str, Any]:
    """A picture ``(C, H, W)`` in ``[0, 1]`` as ``{width, height, channels, pixels}``.

    Grey has one channel, colour three; of any other number some are shown, see :mod:`.display`.
    """
    small = _small(image, most_side)
    return _packed((small.clamp(0, 1) * 255).round().to(torch.uint8))


def difference(image: Tensor, original: Tensor) -> dict[str, Any]:
    """What was added ``(C, H, W)``, as signed 8-bit values with the ``scale`` of their unit.

    A value ``v`` is a change of ``v * scale`` in pixel values; ``scale`` is a 127th of the largest
    change, so that differences far below a level of 8 bits are seen too.
    """
    change = _small(image - original, MOST_SIDE)
    scale = float(change.abs().max()) / 127
    values = (change / scale).round() if scale > 0 else change
    return {**_packed(values.to(torch.int8)), "scale": scale}


def _small(image: Tensor, most_side: int) -> Tensor:
    if image.shape[0] not in (1, 3):
        image = shown(image)
    height, width = image.shape[1:]
    longest = max(height, width)
    if longest <= most_side:
        return image
    rows, columns = (max(1, round(side * most_side / longest)) for side in (height, width))
    return F.adaptive_avg_pool2d(image[None], (rows, columns))[0]


def _packed(values: Tensor) -> dict[str, Any]:
    planes = values.numpy()
    channels, height, width = planes.shape
    pixels = np.empty((height, width, channels), planes.dtype)
    for channel, plane in enumerate(planes):  # several times faster than to permute and copy
        pixels[..., channel] = plane
    return {
        "width": width,
        "height": height,
        "channels": channels,
        "pixels": pixels.tobytes(),
    }


def floats(values: Tensor) -> str:
    """Numbers as little-endian float32 in base64: what many probabilities are sent as."""
    return base64.b64encode(values.to(torch.float32).contiguous().numpy().tobytes()).decode("ascii")
