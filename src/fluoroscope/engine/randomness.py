"""Counter-based random numbers: what a sample draws belongs to the sample alone.

A number is a hash of (seed, sample, restart, draw, position). So what a sample draws depends
neither on its batch-mates nor on its slot, the order or the number of machines, and the global
generator is never touched.
"""

import math

import torch
from torch import Tensor

from fluoroscope.hashing import GOLDEN, bits, mix
from fluoroscope.hashing import as_seed as as_seed
from fluoroscope.hashing import uniform as uniform


def keys(seed: int, samples: Tensor, restart: int | Tensor = 0) -> Tensor:
    """One key for each sample ``(n,)`` int64: what all its draws are hashed from."""
    key = mix(torch.full_like(samples, as_seed(seed)) + GOLDEN)
    key = mix(key ^ mix(samples + 1))
    return mix(key + mix(torch.zeros_like(samples) + restart + 2) * GOLDEN)


def normal(keys: Tensor, draw: int | Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 numbers ``(n, *shape)``, by Box and Muller (1958)."""
    found = bits(keys, draw, math.prod(shape))
    radius = ((found >> 40) & 0xFFFFFF).float().add_(1).mul_(2.0**-24).log_().mul_(-2).sqrt_()
    angle = ((found >> 16) & 0xFFFFFF).float().mul_(2 * math.pi * 2.0**-24).cos_()
    return (radius * angle).view(len(keys), *shape)


def integers(keys: Tensor, draw: int | Tensor, high: int | Tensor, count: int = 1) -> Tensor:
    """Whole numbers from 0 up to, not including, ``high``, ``(n, count)`` int64."""
    below = torch.as_tensor(high, device=keys.device)
    return (uniform(keys, draw, (count,)).double() * below.view(-1, 1)).long()
