"""Ratios that a busy machine does not bend: interleaved repeats, medians."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of several ways to do one thing, repeat by repeat."""

    seconds: dict[str, list[float]]
    results: dict[str, Any] = field(default_factory=dict)
    """What each way returned the last time."""

    def median(self, name: str) -> float:
        """Median seconds of one way."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, floor: str) -> float:
        """Median over the repeats of one way's seconds over the floor's in the same repeat."""
        return statistics.median(self._ratios(name, floor))

    def spread(self, name: str, floor: str) -> str:
        """Lower and upper quartile of those ratios."""
        ratios = self._ratios(name, floor)
        if len(ratios) < 2:
            return "one run"
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return f"{low:.3f} to {high:.3f}"

    def _ratios(self, name: str, floor: str) -> list[float]:
        return [a / b for a, b in zip(self.seconds[name], self.seconds[floor], strict=True)]


def interleaved(
    ways: dict[str, Callable[[], object]],
    repeats: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    threads: int | None = None,
    warm: bool = True,
) -> Timing:
    """Run all ways in turn ``repeats`` times, the order turned each time.

    Before, if ``warm``, each is run once unmeasured. ``threads`` are PyTorch's.
    """
    with on_threads(threads or torch.get_num_threads()):
        results: dict[str, Any] = {name: way() for name, way in ways.items()} if warm else {}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        names = list(ways)
        for repeat in range(repeats):
            for name in names if repeat % 2 == 0 else reversed(names):
                start = clock()
                results[name] = ways[name]()
                seconds[name].append(clock() - start)
    return Timing(seconds, results)


def cpu_and_wall(
    ways: dict[str, Callable[[], object]], repeats: tuple[int, int], *, warm: bool = True
) -> tuple[Timing, Timing]:
    """CPU seconds on one thread, which other work hardly bends, and wall seconds on two.

    The first turns warm up the others.
    """
    return (
        interleaved(ways, repeats[0], clock=time.process_time, threads=1, warm=warm),
        interleaved(ways, repeats[1], threads=2, warm=False),
    )


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """So many of PyTorch's threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
