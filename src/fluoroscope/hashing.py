"""Random numbers that are hashes of counters, by the finaliser of SplitMix64.

Steele, Lea and Flood 2014. All in whole numbers that are the same on every device; nothing global
is touched. What a key stands for is said where it is made: a sample of an attack
(``engine.randomness``), or an image as a network sees it (``models.wrappers.draws``).
"""

import math
from functools import lru_cache
from operator import index
from typing import SupportsIndex, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.errors import InvalidParameterError

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
N = TypeVar("N", Tensor, NDArray[np.int64])
_MIX = (-4658895280553007687, -7723592293110705685)  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def as_seed(seed: SupportsIndex) -> int:
    """A seed as a plain number of 64 bits.

    Raises:
        InvalidParameterError: it is none.
    """
    try:
        number = index(seed)
        if -(2**63) <= number < 2**63:
            return number
    except TypeError:
        pass
    raise InvalidParameterError(
        f"seed is {seed!r}; expected a whole number below 2**63: the same one gives the same "
        "random numbers"
    )


def uniform(keys: Tensor, draw: int | Tensor, shape: tuple[int, ...]) -> Tensor:
    """Float32 numbers in ``[0, 1)``, ``(n, *shape)``, for the keys ``(n,)``.

    ``draw`` numbers the draws of a key: one number for all or one for each.
    """
    found = bits(keys, draw, math.prod(shape))
    # The upper 24 bits: as many as a float32 holds.
    return ((found >> 40) & 0xFFFFFF).float().mul_(2.0**-24).view(len(keys), *shape)


def bits(keys: Tensor, draw: int | Tensor, count: int) -> Tensor:
    """Whole numbers of 64 random bits ``(n, count)``, for the keys ``(n,)``."""
    draws = torch.zeros_like(keys) + draw + 1
    if keys.device.type == "cpu":  # NumPy takes a third to a fifth of PyTorch's time for this
        return torch.from_numpy(_bits(keys.numpy(), draws.numpy(), _steps(count).numpy()))
    return _bits(keys, draws, _steps(count).to(keys.device))


def _bits(keys: N, draws: N, steps: N) -> N:
    return mix(mix(keys + draws * GOLDEN)[:, None] + steps)


@lru_cache(maxsize=64)
def _steps(count: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.arange(1, count + 1, device="cpu") * GOLDEN


def mix(x: N) -> N:
    """Whole numbers of 64 bits, stirred: each bit given changes half of those returned."""
    x = (x ^ _shift(x, 30)) * _MIX[0]
    x = (x ^ _shift(x, 27)) * _MIX[1]
    return x ^ _shift(x, 31)


def _shift(x: N, by: int) -> N:
    # These are signed numbers; the mask clears the copies of the sign.
    return (x >> by) & ((1 << (64 - by)) - 1)
