"""Depth in bins that grow with distance, as what is far is told apart less finely.

Fu et al. 2018 (1806.02446) and You et al. 2021 (2108.05312): of ``K`` bins the first ends at
``alpha`` and the last at ``beta``; the ends are ``exp(log(beta + 1 - alpha) i / (K - 1)) -
(1 - alpha)`` for ``i = 0 ... K - 1``, and the first bin begins at 0.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from fluoroscope.errors import InvalidParameterError

MOST = 1024
"""Bins at the most."""


@dataclass(frozen=True)
class Bins:
    """Intervals of depth in metres, of which each is longer than the one before.

    The defaults are those of the paper for rooms, but for their number: there it is that of the
    units, up to 64.
    """

    count: int = 16
    first: float = 0.75
    """Where the first ends: alpha."""
    last: float = 10.0
    """Where the last ends: beta."""

    def __post_init__(self) -> None:
        if not 2 <= self.count <= MOST:
            raise InvalidParameterError(
                f"bins is {self.count}; expected a whole number from 2 to {MOST}"
            )
        if not 0 < self.first < self.last < math.inf:
            raise InvalidParameterError(
                f"the first bin ends at {self.first} and the last at {self.last}; expected metres "
                "above 0, and the second more than the first"
            )

    @cached_property
    def edges(self) -> Tensor:
        """``(count + 1,)``, float64: where each begins, and where the last ends."""
        steps = torch.arange(self.count, dtype=torch.float64, device="cpu") / (self.count - 1)
        ends = torch.exp(math.log(self.last + 1 - self.first) * steps) - (1 - self.first)
        ends[0], ends[-1] = self.first, self.last  # which rounding would miss by a hair
        return torch.cat([torch.zeros_like(ends[:1]), ends])

    def of(self, depth: Tensor) -> Tensor:
        """Of each depth in metres, in any shape, its bin; -1 of what lies in none."""
        edges = self.edges.to(depth.device)
        values = depth.double().contiguous()
        found = torch.bucketize(values, edges, right=True) - 1
        found[values == edges[-1]] = self.count - 1
        return found.masked_fill(~((values >= 0) & (values <= edges[-1])), -1)

    def names(self) -> list[str]:
        """Each as ``1.2–1.9``, in metres."""
        edges = self.edges.tolist()
        return [f"{low:.3g}–{high:.3g}" for low, high in pairwise(edges)]
