"""How sure a share of some pictures is: the interval beside every accuracy."""

import math
from statistics import NormalDist

Interval = tuple[float, float]
"""A 95 % interval of Wilson's."""
# Deviations to either side that 95 % of a normal distribution lie within.
_Z = NormalDist().inv_cdf(0.975)


def wilson(successes: int, trials: int, deviations: float = _Z) -> Interval:
    """The 95 % interval of a share (Wilson 1927); ``(0, 1)`` of nothing.

    Where it is to be of another confidence, ``deviations`` says how many to either side.
    """
    if not trials:
        return 0.0, 1.0
    squared = deviations**2
    middle = (2 * successes + squared) / (2 * (trials + squared))
    spread = 4 * successes * (trials - successes) / trials + squared
    reach = deviations / (2 * (trials + squared)) * math.sqrt(spread)
    return (
        middle - reach if successes else 0.0,
        middle + reach if successes < trials else 1.0,
    )
