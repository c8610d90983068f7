"""Randomness that belongs to the image: what a wrapper of a network draws for each row it is shown.

A network knows no samples, only images; so the numbers follow from the pixels and a seed. Other
pixels, as after a step of a search, are other draws; the same pixels are the same draws, whatever
lies beside them in the batch.
"""

import torch
from torch import Tensor

from fluoroscope.hashing import GOLDEN, mix, uniform

_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def row_keys(images: Tensor, seed: int) -> Tensor:
    """One key ``(N,)`` int64 for each image ``(N, ...)``, from all its bits and the seed."""
    flat = images.detach().flatten(1).contiguous()
    flat = flat.view(_WHOLE[flat.element_size()]).long()
    weights = mix(torch.arange(1, flat.shape[1] + 1, device=flat.device) * GOLDEN)
    return mix((flat * weights).sum(1) + mix(torch.full_like(flat[:, 0], seed) + GOLDEN))


def row_uniform(images: Tensor, seed: int, draw: int, shape: tuple[int, ...]) -> Tensor:
    """Float32 numbers in ``[0, 1)``, ``(N, *shape)``: the draw of that number for each image."""
    return uniform(row_keys(images, seed), draw, shape)
