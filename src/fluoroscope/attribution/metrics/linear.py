"""Missing pixels made of their neighbours: the noisy linear imputation of ROAD.

Rong, Leemann, Borisov, Kasneci, Kasneci 2022, "A Consistent and Efficient Evaluation Strategy for
Attribution Methods" (2202.00449), section 4.2: each missing pixel is the mean of its eight
neighbours, 1/6 for the direct and 1/12 for the diagonal ones, missing neighbours included. That is
one sparse linear system for each picture. At the border the weights of the neighbours that there
are count, as in the authors' code.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.engine import randomness

_DIRECT, _DIAGONAL = 1 / 6, 1 / 12
# Half of the neighbours, rows down and columns to the right; the others follow by symmetry.
_NEIGHBOURS = ((0, 1, _DIRECT), (1, 0, _DIRECT), (1, 1, _DIAGONAL), (1, -1, _DIAGONAL))


def noisy_linear(
    images: Tensor, removed: Tensor, keys: Tensor, draws: Tensor, noise: float
) -> Tensor:
    """Images ``(n, C, H, W)`` with the pixels ``removed`` ``(n, H, W)`` made of what is left.

    Normal ``noise`` is added to them, so that a network cannot tell them by their smoothness; all
    stay within ``[0, 1]``. Where nothing is left it is grey.
    """
    filled = [
        torch.from_numpy(_solved(image.cpu().numpy(), mask.cpu().numpy()))
        for image, mask in zip(images, removed, strict=True)
    ]
    made = torch.stack(filled).to(images)
    made = made + noise * randomness.normal(keys, draws, tuple(images.shape[1:])).to(images)
    return torch.where(removed[:, None], made.clamp(0, 1), images)


def _solved(image: NDArray[Any], removed: NDArray[Any]) -> NDArray[Any]:
    """An image ``(C, H, W)`` with the pixels ``removed`` ``(H, W)`` solved for."""
    from scipy.sparse.linalg import splu

    missing = removed.ravel()
    values = image.reshape(len(image), -1).T.astype(np.float64)
    if missing.all():
        return np.full_like(image, 0.5)
    if missing.any():
        rows = _laplacian(*removed.shape)[missing]
        known = -(rows[:, ~missing] @ values[~missing])
        # Symmetric, and positive definite since something is known: no pivots, half the time.
        solver = splu(
            rows[:, missing].tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        values[missing] = solver.solve(known)
    made: NDArray[Any] = values.T.reshape(image.shape)
    return made


@lru_cache(maxsize=4)
def _laplacian(height: int, width: int) -> Any:
    """What each pixel is away from the mean of its neighbours, as a sparse matrix ``(P, P)``."""
    from scipy.sparse import csr_matrix, diags

    places = np.arange(height * width).reshape(height, width)
    ones, others, weights = [], [], []
    for down, right, weight in _NEIGHBOURS:
        one = places[: height - down, max(0, -right) : width - max(0, right)].ravel()
        other = places[down:, max(0, right) : width + min(0, right)].ravel()
        ones += [one, other]
        others += [other, one]
        weights.append(np.full(2 * len(one), weight))
    where = np.concatenate(ones), np.concatenate(others)
    near = csr_matrix((np.concatenate(weights), where), shape=(places.size, places.size))
    return (diags(np.asarray(near.sum(1)).ravel()) - near).tocsr()
