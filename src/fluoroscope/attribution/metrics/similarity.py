"""How alike two sets of maps are, and how much of a map is disorder.

Adebayo et al. 2018 (1810.03292) hold a map against that of a network with random weights: by
Spearman's rank correlation, of absolute values or signed, and by the structural similarity of Wang
et al. 2004. Hedström et al. 2024 (2401.06465) ask how much the entropy of a map's values rises
(efficient MPRT), which needs no measure of similarity.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from fluoroscope.attribution.metrics.maps import Maps, as_maps, pixels
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.vectors import wide
from fluoroscope.errors import InvalidParameterError
from fluoroscope.gradients.randomised import rank_correlation, spearman
from fluoroscope.models.wording import did_you_mean
from fluoroscope.pictures.ssim import ssim

Kind = Literal["spearman", "spearman-abs", "ssim"]
"""Rank correlation of the signed maps, of their absolute values, or structural similarity of the
absolute values, each map scaled from its own least to its own greatest value."""


def similarity(one: Maps, other: Maps, kind: Kind = "spearman") -> Tensor:
    """How alike each of the maps ``(N, C, H, W)`` is to its partner: ``(N,)`` from -1 to 1.

    Channels are added: signed for ``spearman``, else their absolute values. Ranks are of the pixels
    where either map is not exactly 0. 0 where a map is the same everywhere, since it has no order.

    Raises:
        InvalidParameterError: maps of different shapes, or no such kind.
    """
    first, second = as_maps(one, name="the first maps"), as_maps(other, name="the second maps")
    if first.shape != second.shape:
        raise InvalidParameterError(
            f"the maps have shapes {tuple(first.shape)} and {tuple(second.shape)}; expected the "
            "same for both"
        )
    first, second = first.cpu(), second.cpu()
    if kind == "spearman":
        return spearman(pixels(first), pixels(second))
    if kind == "spearman-abs":
        return rank_correlation(first, second)
    if kind == "ssim":
        return ssim(_scaled(first), _scaled(second))
    raise InvalidParameterError(
        f"kind is {kind!r}; {did_you_mean(str(kind), get_args(Kind))}expected one of "
        f"{', '.join(get_args(Kind))}"
    )


def mean_similarity(original: Maps, stages: Sequence[Maps], kind: Kind = "spearman") -> Tensor:
    """The mean ``(N,)`` over maps of networks that are more and more random.

    The original is not one of them: it is as similar to itself as can be, whatever the method.

    Raises:
        InvalidParameterError: no stages, or maps that do not fit.
    """
    if not len(stages):
        raise InvalidParameterError("stages are empty; expected maps of one randomised network")
    return torch.stack([similarity(original, stage, kind) for stage in stages]).mean(0)


def entropy(maps: Maps, bins: int = 100) -> Tensor:
    """Entropy in nats ``(N,)`` of the histogram of each map's values, channels added.

    The bins go from the map's least to its greatest value, so its scale does not matter.
    """
    bins = whole_number("bins", bins)
    rows = pixels(as_maps(maps)).cpu().numpy()
    counts = np.stack([np.histogram(_spread(row), bins=bins)[0] for row in rows])
    shares = torch.from_numpy(counts / counts.sum(1, keepdims=True))
    found: Tensor = torch.special.entr(shares).sum(1)
    return found


def entropy_rise(original: Maps, randomised: Maps, bins: int = 100) -> Tensor:
    """By what share of itself each map's entropy rises, ``(N,)``: efficient MPRT.

    0 from a map that is the same everywhere to another such, infinite to any other.
    """
    before, after = entropy(original, bins), entropy(randomised, bins)
    return torch.where(before == after, 0.0, (after - before) / before)


def pearson(one: Tensor, other: Tensor) -> Tensor:
    """The linear correlation of rows ``(N, K)``, as ``(N,)``; 0 where a row is constant."""
    first, second = (each - each.mean(1, keepdim=True) for each in (one, other))
    # A row that is constant but for rounding is constant.
    flat = [
        each.abs().amax(1) <= 1e-12 * row.abs().amax(1)
        for each, row in ((first, one), (second, other))
    ]
    scale = first.norm(dim=1) * second.norm(dim=1)
    found: Tensor = (first * second).sum(1) / scale.where(scale > 0, 1.0)
    return found.where(~(flat[0] | flat[1]), 0.0).clamp(-1, 1)


def ranked(rows: Tensor) -> Tensor:
    """The rank of each value ``(N, K)`` in its row; equals share the mean of theirs."""
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(rows.cpu().numpy(), axis=1))


def _spread(row: np.ndarray) -> np.ndarray:
    """A row from 0 to 1, or all 0: NumPy makes no bins of a range that is too narrow."""
    low, high = row.min(), row.max()
    return (row - low) / (high - low) if high > low else np.zeros_like(row)


def _scaled(maps: Tensor) -> Tensor:
    """Absolute values, added over channels, each map from 0 to 1, as ``(N, 1, H, W)``."""
    size = maps.abs().sum(1, keepdim=True, dtype=wide(maps))
    low, high = size.amin((2, 3), keepdim=True), size.amax((2, 3), keepdim=True)
    return (size - low) / (high - low).where(high > low, 1.0)
