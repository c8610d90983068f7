"""How well a number tells strange pictures from familiar ones.

All such numbers are *oddness*: the higher, the stranger is the picture.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from fluoroscope.errors import InvalidParameterError

# Deviations to either side that 95 % of a normal distribution lie within.
_Z = NormalDist().inv_cdf(0.975)
ACCEPTED = 0.95
"""The share of familiar pictures that are let through where FPR95 is taken."""


class Separation(NamedTuple):
    """How well oddness tells pictures from elsewhere from familiar ones."""

    auroc: float
    """The share of pairs of which the stranger one is the odder; ties count half."""
    interval: tuple[float, float]
    """Of 95 %, by DeLong, DeLong and Clarke-Pearson (1988)."""
    fpr95: float
    """Of the pictures from elsewhere, those that are let through with 95 % of the familiar."""

    def describe(self) -> dict[str, object]:
        """As plain values."""
        return {"auroc": self.auroc, "interval": list(self.interval), "fpr95": self.fpr95}


def separation(inside: Tensor, outside: Tensor) -> Separation:
    """How oddness ``(M,)`` of familiar pictures differs from that ``(N,)`` of pictures elsewhere.

    Raises:
        InvalidParameterError: no pictures, or oddness that is not finite.
    """
    familiar, strange = (each.double().flatten().contiguous() for each in (inside, outside))
    for name, values in (("inside", familiar), ("outside", strange)):
        if not len(values) or not bool(values.isfinite().all()):
            raise InvalidParameterError(
                f"{name} holds {'no numbers' if not len(values) else 'numbers that are not finite'}"
                "; expected the oddness of one picture or more"
            )
    # Of each familiar picture the share of strange ones that are odder, and the other way round.
    above, below = _share_above(familiar, strange), 1 - _share_above(strange, familiar)
    auroc = float(above.mean())
    spread = sum(
        float(each.var()) / len(each) if len(each) > 1 else math.inf for each in (above, below)
    )
    reach = _Z * math.sqrt(spread)
    threshold = familiar.sort().values[math.ceil(ACCEPTED * len(familiar) - 1e-9) - 1]
    return Separation(
        auroc,
        (max(0.0, auroc - reach), min(1.0, auroc + reach)),
        float((strange <= threshold).double().mean()),
    )


def _share_above(values: Tensor, others: Tensor) -> Tensor:
    """For each value the share of others that are larger; equal ones count half."""
    ordered = others.sort().values
    above = len(ordered) - torch.searchsorted(ordered, values, right=True)
    equal = torch.searchsorted(ordered, values, right=True) - torch.searchsorted(ordered, values)
    return (above + 0.5 * equal) / len(ordered)
