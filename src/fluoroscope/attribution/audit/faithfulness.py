"""Whether the pixels that a map names are those that the network depends on, and what is no map.

Deletion, insertion and their difference, the symmetric relevance gain, of one ordering with the
picture's mean in place of a pixel; ROAD with pixels made of their neighbours. Beside every method
stand maps that know nothing of the network: a metric by which one of these wins says nothing here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.audit.bench import Bench
from fluoroscope.attribution.classes import unmistakable
from fluoroscope.attribution.metrics import (
    Flipping,
    Informative,
    Setting,
    bootstrap,
    informative,
    metric,
)
from fluoroscope.attribution.metrics.flipping import Curves

# Steps of the curves, and the shares of the pixels that ROAD takes away.
STEPS, ROAD_SHARES = 5, (0.2, 0.5)
FEWEST = 8
"""Pictures from which on scores are held against those of random maps."""
# Pictures by ROAD, which solves a system of equations for each: small and large ones.
ROAD_SMALL, ROAD_LARGE, LARGE = 8, 2, 64 * 64
CONTROLS = ("random", "edges", "centre", "picture")
METRICS = ("srg", "insertion", "deletion", "road")


@dataclass(frozen=True)
class Score:
    """A mean over pictures with its interval, 95 %, by bootstrap."""

    mean: float
    low: float
    high: float
    pictures: int

    def describe(self) -> dict[str, Any]:
        """As plain values; of one picture there is no interval."""
        found = asdict(self)
        return found if self.pictures > 1 else {**found, "low": None, "high": None}


class Faithfulness:
    """Scores maps of a bench's pictures; what depends on no map is asked once."""

    def __init__(self, bench: Bench, batch_size: int) -> None:
        self._bench, self._batch_size = bench, batch_size
        large = bench.images[0, 0].numel() > LARGE
        self.road = min(ROAD_LARGE if large else ROAD_SMALL, len(bench))
        """Pictures that are scored by ROAD."""
        self._flips: dict[tuple[str, int], Flipping] = {}

    def scores(self, maps: Tensor) -> dict[str, Tensor]:
        """By metric, the score of each of the first pictures, ``(n,)``, that there are maps of."""
        maps = maps.double()
        curves: Curves = self._flip("mean", len(maps))(maps)
        few = min(self.road, len(maps))
        road = self._flip("linear", few)(maps[:few])
        return {
            "srg": curves.srg,
            "insertion": curves.insertion,
            "deletion": curves.deletion,
            "road": road.least.mean(1) - road.most.mean(1),
        }

    def _flip(self, replace: str, count: int) -> Flipping:
        key = replace, count
        if key not in self._flips:
            bench = self._bench.first(count)
            setting = Setting.of(
                bench.model, bench.images, unmistakable(bench.classes),
                seed=bench.seed, numbers=bench.numbers, batch_size=self._batch_size,
            )  # fmt: skip
            self._flips[key] = (
                Flipping(setting, steps=STEPS, replace="mean")
                if replace == "mean"
                else Flipping(setting, replace="linear", fractions=ROAD_SHARES)
            )
        return self._flips[key]


def summed_up(scores: Mapping[str, Tensor], seed: int) -> dict[str, Score]:
    """Means and intervals of scores by metric."""
    return {
        name: Score(float(each.mean()), *bootstrap(each, seed=seed), len(each))
        for name, each in scores.items()
    }


def telling(
    methods: Mapping[str, Mapping[str, Tensor]],
    controls: Mapping[str, Mapping[str, Tensor]],
    seed: int,
) -> dict[str, Informative]:
    """By metric, whether the best method beats the best control here.

    Methods that were scored on fewer pictures than others are left aside.
    """
    said = {}
    for name in METRICS:
        ones = {method: scores[name] for method, scores in methods.items() if name in scores}
        others = {control: scores[name] for control, scores in controls.items()}
        most = max((len(each) for each in ones.values()), default=0)
        ones = {method: each for method, each in ones.items() if len(each) == most}
        if ones and others and most > 1:
            # Controls are of all pictures, of which a method may have had the first alone.
            fit = {control: each[:most] for control, each in others.items()}
            said[name] = informative(metric(name), ones, fit, seed=seed)
    return said


def below_random(
    scores: Mapping[str, Tensor], controls: Mapping[str, Mapping[str, Tensor]], seed: int
) -> str:
    """A sentence where maps name pixels worse than random ones do, by the interval of SRG."""
    own, random = scores.get("srg"), controls.get("random", {}).get("srg")
    if own is None or random is None or len(own) < FEWEST:
        return ""
    random = random[: len(own)]
    if bootstrap(own - random, seed=seed)[1] >= 0:
        return ""
    return (
        f"The pixels that it puts first matter less than random ones (SRG {float(own.mean()):.2f}, "
        f"of random maps {float(random.mean()):.2f}): its signs may be wrong."
    )


def rivals(
    scores: Mapping[str, Tensor], controls: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, str]:
    """By metric the best control, where on the same pictures a method's mean is no better."""
    found = {}
    for name, each in scores.items():
        sign = 1 if metric(name).higher_is_better else -1
        means = {
            control: sign * float(others[name][: len(each)].mean())
            for control, others in controls.items()
        }
        best = max(means, key=means.__getitem__, default=None)
        if best is not None and sign * float(each.mean()) <= means[best]:
            found[name] = best
    return found


def stacked(scores: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """As plain values."""
    return {name: each.tolist() for name, each in scores.items()}


def unstacked(values: Mapping[str, list[float]]) -> dict[str, Tensor]:
    """What :func:`stacked` gave."""
    return {
        name: torch.tensor(each, dtype=torch.double, device="cpu") for name, each in values.items()
    }
