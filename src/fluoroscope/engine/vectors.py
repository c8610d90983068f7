"""Images of a batch as vectors: numbers, choices and lengths of each."""

import math
from functools import lru_cache

import torch
from torch import Tensor


def column(values: Tensor) -> Tensor:
    """A number for each sample ``(n,)``, as ``(n, 1, 1, 1)``."""
    return values.view(-1, 1, 1, 1)


def chosen(condition: Tensor, images: Tensor, others: Tensor | float) -> Tensor:
    """The images ``(n, C, H, W)`` where the sample's condition ``(n,)`` holds, else the others."""
    return torch.where(column(condition), images, others)


def crowd(count: Tensor) -> tuple[Tensor, Tensor]:
    """Of ``count`` ``(n,)`` of each sample in a row: whose each is, and how many of its precede it.

    Both ``(m,)``.
    """
    owners = torch.arange(len(count), device=count.device).repeat_interleave(count)
    place = torch.arange(len(owners), device=count.device)
    return owners, place - (count.cumsum(0) - count)[owners]


def lengths(vectors: Tensor) -> Tensor:
    """Euclidean, ``(n,)`` of ``(n, C, H, W)``."""
    found: Tensor = torch.linalg.vector_norm(vectors.flatten(1), dim=1)
    return found


def units(vectors: Tensor) -> Tensor:
    """Each ``(n, C, H, W)`` of length 1, also where its square is too small to be told from 0.

    Zeros stay.
    """
    length = torch.linalg.vector_norm(vectors.flatten(1), dim=1, dtype=wide(vectors))
    return torch.where(column(length > 0), vectors / column(length), vectors).to(vectors.dtype)


def levelled(vectors: Tensor) -> Tensor:
    """Each ``(n, *)`` divided by the mean of its absolute values; zeros stay."""
    size = vectors.abs().mean(tuple(range(1, vectors.dim())), keepdim=True)
    return torch.where(size > 0, vectors / size, vectors)


def wide(like: Tensor) -> torch.dtype:
    """The widest type of the tensor's device: float64, but for Apple's GPUs."""
    return torch.float32 if like.device.type == "mps" else torch.float64


@lru_cache(maxsize=16)
def cosines(size: int, count: int) -> Tensor:
    """The lowest ``count`` of the orthonormal cosines (DCT-II) over ``size`` values, as rows."""
    at = math.pi * (torch.arange(size, dtype=torch.double, device="cpu") + 0.5) / size
    table = torch.cos(torch.arange(count, dtype=torch.double, device="cpu")[:, None] * at)
    found: Tensor = table / torch.linalg.vector_norm(table, dim=1, keepdim=True)
    return found
