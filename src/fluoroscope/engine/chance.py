"""Chance that belongs to the sample: counter-based random numbers.

A number is a hash of (seed, sample, restart, draw, position), by the finaliser of SplitMix64
(Steele, Lea, Flood 2014), in whole numbers that are the same on every device. So what a sample
draws depends neither on its batch-mates nor on its slot, the order or the number of machines, and
the global generator is never touched.
"""

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
_MIX = (-4658895280553007687, -7723592293110705685)  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def keys(seed: int, samples: Tensor, restart: int | Tensor = 0) -> Tensor:
    """One key for each sample ``(n,)`` int64: what all its draws are hashed from."""
    key = _mix(torch.full_like(samples, seed) + _GOLDEN)
    key = _mix(key ^ _mix(samples + 1))
    return _mix(key + _mix(torch.zeros_like(samples) + restart + 2) * _GOLDEN)


def uniform(keys: Tensor, draw: int | Tensor, shape: tuple[int, ...]) -> Tensor:
    """Float32 numbers in ``[0, 1)``, ``(n, *shape)``, for the keys ``(n,)``.

    ``draw`` numbers the draws of a sample: one number for all or one for each.
    """
    bits = _bits(keys, draw, math.prod(shape))
    # The upper 24 bits: as many as a float32 holds.
    return ((bits >> 40) & 0xFFFFFF).float().mul_(2.0**-24).view(len(keys), *shape)


def normal(keys: Tensor, draw: int | Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 numbers ``(n, *shape)``, by Box and Muller (1958)."""
    bits = _bits(keys, draw, math.prod(shape))
    radius = ((bits >> 40) & 0xFFFFFF).float().add_(1).mul_(2.0**-24).log_().mul_(-2).sqrt_()
    angle = ((bits >> 16) & 0xFFFFFF).float().mul_(2 * math.pi * 2.0**-24).cos_()
    return (radius * angle).view(len(keys), *shape)


def integers(keys: Tensor, draw: int | Tensor, high: int | Tensor, count: int = 1) -> Tensor:
    """Whole numbers from 0 up to, not including, ``high``, ``(n, count)`` int64."""
    below = torch.as_tensor(high, device=keys.device)
    return (uniform(keys, draw, (count,)).double() * below.view(-1, 1)).long()


def _bits(keys: Tensor, draw: int | Tensor, count: int) -> Tensor:
    start = _mix(keys + (torch.zeros_like(keys) + draw + 1) * _GOLDEN)
    steps = torch.arange(1, count + 1, device=keys.device) * _GOLDEN
    return _mix(start[:, None] + steps)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX[0]
    x = (x ^ _shift(x, 27)) * _MIX[1]
    return x ^ _shift(x, 31)


def _shift(x: Tensor, by: int) -> Tensor:
    # Torch shifts signed numbers; the mask clears the copies of the sign.
    return (x >> by) & ((1 << (64 - by)) - 1)
