"""Two sets of pictures as two clouds of features: how alike they are, and how many there are.

Precision and recall: Kynkäänniemi et al. 2019 (1904.06991): the share of made pictures within the
ball of some real one's ``k`` nearest neighbours, and of real ones within that of some made one.
Density and coverage: Naeem et al. 2020 (2002.09797): how many real balls a made picture lies in,
as a share of ``k``, and the share of real balls with a made picture in them. Fréchet distance:
Heusel et al. 2017 (1706.08500): ``|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½)``. Vendi score: Friedman
and Dieng 2022 (2210.02410): ``exp`` of the entropy of the eigenvalues of ``K / n``, here of
cosines.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.inversion.measures.distances import between, blocks, radii


@dataclass(frozen=True)
class Overlap:
    """Of made pictures ``(N,)`` and real ones ``(M,)``; the means are the four measures."""

    k: int
    precision: Tensor
    """``(N,)``, whether it lies within a real one's ball."""
    density: Tensor
    """``(N,)``, the real balls it lies in, divided by ``k``."""
    recall: Tensor
    """``(M,)``, whether it lies within a made one's ball."""
    coverage: Tensor
    """``(M,)``, whether a made one lies within its ball."""


def overlap(made: Tensor, real: Tensor, k: int) -> Overlap:
    """How made features ``(N, D)`` and real ones ``(M, D)`` lie within each other."""
    middle = real.double().mean(0)
    made, real = made.double() - middle, real.double() - middle
    around_real, around_made = radii(real, k), radii(made, k)
    density = torch.zeros(len(made), dtype=torch.float64, device=made.device)
    recall = torch.zeros(len(real), dtype=torch.bool, device=made.device)
    coverage = torch.zeros_like(recall)
    for rows in blocks(len(made), len(real)):
        away = between(made[rows], real)
        within = away <= around_real
        density[rows] = within.sum(1).double()
        coverage |= within.any(0)
        recall |= (away <= around_made[rows, None]).any(0)
    return Overlap(k, density > 0, density / k, recall, coverage)


def frechet(made: Tensor, real: Tensor) -> float:
    """The Fréchet distance of the normal distributions of features ``(N, D)`` and ``(M, D)``.

    The root of the product of covariances is taken of as few rows as there are pictures or
    features: its trace is the sum of the singular values of ``A₁ A₂ᵀ``, of the centred features.
    """
    first, second = made.double(), real.double()
    means = (first.mean(0) - second.mean(0)).square().sum()
    first = (first - first.mean(0)) / (len(first) - 1) ** 0.5
    second = (second - second.mean(0)) / (len(second) - 1) ** 0.5
    if min(len(first), len(second)) > first.shape[1]:
        # The same singular values, of triangles as large as there are features.
        first = torch.linalg.qr(first, mode="r").R
        second = torch.linalg.qr(second, mode="r").R
    root = torch.linalg.svdvals(first @ second.T).sum()
    traces = first.square().sum() + second.square().sum()
    return max(0.0, float(means + traces - 2 * root))


def vendi(features: Tensor) -> float:
    """How many different pictures ``(N, D)`` there are in effect: 1 of equal ones, at most ``N``.

    The eigenvalues of ``K / n`` are those of the features' own product, which is smaller where
    there are more pictures than features.
    """
    rows = unit(features)
    product = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    values = torch.linalg.eigvalsh(product / len(rows)).clamp(min=0)
    values = values / values.sum()
    return float(torch.special.entr(values).sum().exp())


def unit(features: Tensor) -> Tensor:
    """Features ``(N, D)`` of length 1 in float64; what is nothing points nowhere in common."""
    rows = features.double()
    lengths = rows.norm(dim=1, keepdim=True)
    # Rows of zeros are alike among themselves: as one more direction that no other row has.
    return torch.cat([rows / lengths.clamp(min=1e-300), (lengths == 0).double()], 1)


def mean_cosine(features: Tensor) -> float:
    """The mean cosine of pairs of different rows ``(N, D)``."""
    rows = unit(features)
    total = rows.sum(0).square().sum() - len(rows)
    return float(total / (len(rows) * (len(rows) - 1)))
