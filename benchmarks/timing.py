"""Ratios that a busy machine does not bend: interleaved repeats, medians."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of several ways to do one thing, repeat by repeat."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Median seconds of one way."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, floor: str) -> float:
        """Median over the repeats of one way's seconds over the floor's in the same repeat."""
        pairs = zip(self.seconds[name], self.seconds[floor], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def spread(self, name: str, floor: str) -> str:
        """Lower and upper quartile of those ratios."""
        pairs = zip(self.seconds[name], self.seconds[floor], strict=True)
        low, _, high = statistics.quantiles([a / b for a, b in pairs], n=4)
        return f"{low:.3f} to {high:.3f}"


def interleaved(ways: dict[str, Callable[[], object]], repeats: int) -> Timing:
    """Run all ways once unmeasured, then in turn ``repeats`` times, the order turned each time."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for repeat in range(repeats):
        for name in names if repeat % 2 == 0 else reversed(names):
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    return Timing(seconds)
