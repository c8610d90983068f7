"""Noise: Gaussian, shot and impulse."""

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.hashing import bits

Drawn = tuple[Tensor, ...]


def draw_gaussian(keys: Tensor, shape: tuple[int, ...]) -> Drawn:
    return (randomness.normal(keys, 0, shape),)


def gaussian_noise(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: the standard deviation."""
    return images + numbers[0] * drawn[0]


def draw_shot(keys: Tensor, shape: tuple[int, ...]) -> Drawn:
    return (bits(keys, 0, 1)[:, 0],)


def shot_noise(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: photons at full light."""
    # Torch draws Poisson's numbers only by generators: each picture has its own.
    counted = [
        torch.poisson(image * numbers[0], generator=torch.Generator().manual_seed(seed))
        for image, seed in zip(images.cpu(), drawn[0].tolist(), strict=True)
    ]
    return torch.stack(counted).to(images) / numbers[0]


def draw_impulse(keys: Tensor, shape: tuple[int, ...]) -> Drawn:
    return randomness.uniform(keys, 0, shape), randomness.uniform(keys, 1, shape)


def impulse_noise(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: the share of the values that become black or white."""
    hit, salt = drawn
    return torch.where(hit < numbers[0], (salt < 0.5).to(images), images)
