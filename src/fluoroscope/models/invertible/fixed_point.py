"""The picture behind a sum: from ``y = x + g(x)`` back to ``x``, where ``g`` brings things nearer.

``x <- y - g(x)`` comes nearer to it by ``Lip(g)`` each time (Banach; Behrmann et al. 2019).
"""

from collections.abc import Callable

import torch
from torch import Tensor

# A step of so many times what the type can tell apart is none.
_STILL = 16


def fixed_point(
    residual: Callable[[Tensor], Tensor], sums: Tensor, most: int
) -> tuple[Tensor, Tensor]:
    """The pictures of the sums ``(N, ...)``, and how many rounds each took ``(N,)``.

    A picture is done where a round moves none of its numbers by more than rounding does, or after
    ``most`` of them; it waits there, so that none depends on its neighbours.
    """
    found, rounds = sums.clone(), torch.zeros(len(sums), dtype=torch.long, device=sums.device)
    least = _STILL * torch.finfo(sums.dtype).eps * sums.abs().flatten(1).amax(1).clamp(min=1)
    going = torch.arange(len(sums), device=sums.device)
    for _ in range(most):
        before = found[going]
        after = sums[going] - residual(before)
        found[going] = after
        rounds[going] += 1
        going = going[(after - before).abs().flatten(1).amax(1) > least[going]]
        if not len(going):
            break
    return found, rounds
