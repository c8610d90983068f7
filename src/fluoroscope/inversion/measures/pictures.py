"""Measures of the pixels alone: no network is asked."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fluoroscope.pictures.write import to_pil

JPEG_QUALITY = 75
"""Pillow's own default, and what pictures on the web mostly have."""
SHIFT = 2
"""Pixels that a picture is moved by."""


def spectrum(images: Tensor) -> Tensor:
    """The logarithm (base 10) of the mean magnitude of each band of frequencies ``(B,)``.

    Bands are as wide as one cycle over the longer side, from there to half a cycle a pixel.
    """
    height, width = images.shape[-2:]
    total = torch.zeros(height, width // 2 + 1, dtype=torch.float64, device=images.device)
    for part in images.split(256):
        total += torch.fft.rfft2(part.double(), norm="ortho").abs().mean(1).sum(0)
    down = torch.fft.fftfreq(height, dtype=torch.float64, device=images.device)[:, None]
    across = torch.fft.rfftfreq(width, dtype=torch.float64, device=images.device)[None]
    longer = max(height, width)
    band = ((down**2 + across**2).sqrt() * longer).round().long()
    there = (band >= 1) & (band <= longer // 2)
    band, power = band[there] - 1, (total / len(images))[there]
    bands = max(1, longer // 2)
    sums = torch.zeros(bands, dtype=torch.float64, device=images.device).scatter_add_(
        0, band, power
    )
    counts = torch.bincount(band, minlength=bands).clamp(min=1)
    return (sums / counts).clamp(min=1e-9).log10()


def spectrum_distance(first: Tensor, second: Tensor) -> float:
    """How far two sets' spectra lie apart, in factors of ten: root mean square over bands.

    0.3 is a factor of two.
    """
    return float((spectrum(first) - spectrum(second)).square().mean().sqrt())


def spread(images: Tensor) -> float:
    """The standard deviation of a pixel over pictures ``(N, C, H, W)``, root of its mean square."""
    return float(images.double().var(0).mean().sqrt())


def rounded(images: Tensor) -> Tensor:
    """As a file of 8 bits has them."""
    return (images * 255).round() / 255


def as_jpeg(images: Tensor, quality: int = JPEG_QUALITY) -> Tensor:
    """Through a JPEG file and back; pictures ``(N, C, H, W)`` of 1 or 3 channels."""
    back = []
    for image in images:
        file = io.BytesIO()
        to_pil(image).save(file, "JPEG", quality=quality)
        with Image.open(file) as opened:
            values = torch.from_numpy(np.array(opened))
        back.append(values[None] if values.dim() == 2 else values.permute(2, 0, 1))
    return torch.stack(back).to(images) / 255


def shifted(images: Tensor, down: int, across: int) -> Tensor:
    """Moved by so many pixels; what comes in is the picture's own edge again."""
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - across).clamp(0, width - 1)
    return images[..., rows, :][..., columns]


SHIFTS = ((SHIFT, 0), (-SHIFT, 0), (0, SHIFT), (0, -SHIFT))
"""Down, up, right and left."""
