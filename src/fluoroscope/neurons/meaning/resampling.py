"""How sure a number is over pictures: they are drawn again, each with all that was made of it.

Adversarial pictures of one source are no independent ones, so a source that is drawn twice brings
its adversarial pictures twice (a bootstrap of clusters). A cosine of two histograms is lower the
fewer pictures they are of, and a draw with repeats has fewer; its percentiles would lie beside the
number itself. So an interval is the number and 1.96 standard deviations of the draws to each side.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fluoroscope.engine import randomness
from fluoroscope.neurons.meaning.arrays import Array, Numbers
from fluoroscope.words import number

# Tells these draws from all others of the seed.
_PURPOSE = 17
_DEVIATIONS = 1.959964
Times = tuple[Numbers, Numbers]
"""How often each real picture is there ``(N,)``, and each adversarial one ``(M,)``."""


@dataclass(frozen=True)
class Number:
    """A number of a layer, and how sure it is."""

    value: float
    interval: tuple[float, float] | None = None
    """95 %, over pictures."""
    count: int = 0
    """Of how many units, pictures or classes."""
    of: str = "units"

    def words(self) -> str:
        """As people read it."""
        return number(self.value)

    def ends(self) -> str:
        """Its interval in words."""
        if self.interval is None:
            return ""
        return " to ".join(number(end) for end in self.interval)

    def describe(self) -> dict[str, Any]:
        """As plain values; ``None`` where it is not finite."""
        finite = bool(np.isfinite(self.value))
        ends = self.interval if finite and self.interval is not None else None
        return {"value": self.value if finite else None,
                "infinite": bool(np.isposinf(self.value)),
                "interval": None if ends is None else list(ends),
                "count": self.count, "of": self.of}  # fmt: skip


def resampled(real: Numbers, sources: Numbers, many: int, seed: int) -> Iterator[Times]:
    """So many draws of real pictures of these indices ``(N,)`` and of what was made of them.

    ``sources`` ``(M,)`` are the indices that adversarial pictures were made of; those of an unknown
    one (-1) are drawn each by itself.
    """
    alone = np.flatnonzero(sources < 0)
    lots = sources.copy()
    lots[alone] = max(int(real.max(initial=0)), int(sources.max(initial=0))) + 1
    lots[alone] += np.arange(len(alone))
    groups, places = np.unique(np.concatenate([real, lots]), return_inverse=True)
    for draw in range(many):
        key = randomness.keys(seed, torch.tensor([draw], device="cpu"), _PURPOSE)
        drawn = randomness.integers(key, 0, len(groups), len(groups))[0].numpy()
        times = np.bincount(drawn, minlength=len(groups))[places]
        yield times[: len(real)], times[len(real) :]


def with_interval(
    value: float, drawn: Array, count: int, of: str = "units",
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Number:  # fmt: skip
    """A number with its interval from what it was in each draw ``(B,)``, within its bounds."""
    known = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(known) < 2:
        return Number(value, None, count, of)
    reach = _DEVIATIONS * float(known.std(ddof=1))
    low, high = bounds
    return Number(value, (max(low, value - reach), min(high, value + reach)), count, of)


def mean_of(values: Array, times: Numbers) -> float:
    """The mean of a number of each picture, each being there so often; NaN of none."""
    there = ~np.isnan(values)
    many = times[there].sum()
    return float((values[there] * times[there]).sum() / many) if many else float("nan")
