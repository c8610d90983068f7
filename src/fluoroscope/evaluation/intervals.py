"""How sure a share of some pictures is: the interval beside every accuracy."""

import math
from statistics import NormalDist

Interval = tuple[float, float]
"""A 95 % interval of Wilson's."""
# Deviations to either side that 95 % of a normal distribution lie within.
_Z = NormalDist().inv_cdf(0.975)


def wilson(successes: int, trials: int) -> Interval:
    """The 95 % interval of a share (Wilson 1927); ``(0, 1)`` of nothing."""
    if not trials:
        return 0.0, 1.0
    squared = _Z**2
    middle = (2 * successes + squared) / (2 * (trials + squared))
    spread = 4 * successes * (trials - successes) / trials + squared
    reach = _Z / (2 * (trials + squared)) * math.sqrt(spread)
    return (
        middle - reach if successes else 0.0,
        middle + reach if successes < trials else 1.0,
    )
