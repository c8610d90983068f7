"""What the stages of a plan made of each sample so far, which verdicts and later stages look at.

Runs are read back by it where no network is, so nothing here needs PyTorch.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fluoroscope.engine.bounds import Bounded

ROUNDING = 1e-6
"""What float rounding adds to a distance."""


@dataclass(frozen=True)
class History:
    """What the stages so far made of ``N`` samples that the network classifies correctly."""

    clean_margin: NDArray[np.float64]
    """``(N,)``, by how much the label's logit leads over the strongest other; above 0."""
    margin: NDArray[np.float64]
    """``(N,)``, the smallest lead that any allowed image had; 0 or less where one was
    misclassified.
    """
    distance: NDArray[np.float64]
    """``(N,)``, of the closest misclassified image; infinite where there is none."""
    margins: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """By stage ``(N,)``, the smallest lead that it found; infinite where it did not look."""
    flat: NDArray[np.float64] | None = None
    """``(N,)``, the largest share of its pixel values at which a stage's first gradient was exactly
    zero; ``None`` is at none.
    """
    steep: NDArray[np.float64] | None = None
    """``(N,)``, at most how many times over a stage's first gradient promised, if the network were
    linear, to use up the margin within the bound; ``None`` is never.
    """

    def least(self, stages: Iterable[str]) -> NDArray[np.float64]:
        """``(N,)``, the smallest lead that these stages found; infinite where none looked."""
        found = np.full_like(self.clean_margin, np.inf)
        for name in stages:
            if name in self.margins:
                found = np.minimum(found, self.margins[name])
        return found

    def surviving(self, threat: Bounded) -> NDArray[np.bool_]:
        """Which samples no misclassified image within the bound is known of."""
        return (self.distance > float(threat.eps) + ROUNDING) | np.isinf(self.distance)


def is_name(text: object) -> bool:
    """Whether a stage may be called so: a name that is also a file's and leads nowhere else."""
    return isinstance(text, str) and re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,59}", text) is not None
