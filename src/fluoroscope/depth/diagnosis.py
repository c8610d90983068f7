"""Errors of depth told without the truth: by what the units say against what the network says.

You et al. (2108.05312): of a pixel the unit that answers most, the *winning* one, speaks for the
bin that it is assigned to. Where that is far from the bin of the prediction, one of the two is
wrong. Units answer on scales of their own, so each is measured by its mean answer to its own bin.

How well the disagreement tells pixels that are off by more than a factor of 1.25 from the others
is an AUROC, whose 95 % interval comes from drawing scenes again (pixels of one scene go together).
Beside it stands what needs no units at all: how near the prediction is, and how steeply it changes
around the pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.depth.bins import Bins
from fluoroscope.depth.measure import near
from fluoroscope.depth.network import upsampled
from fluoroscope.depth.reading import read
from fluoroscope.depth.scenes import Scenes
from fluoroscope.depth.selectivity import Selectivity, depth_selectivity
from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.pictures import html
from fluoroscope.words import count, number, percent

SCORES = {
    "disagreement": "the winning unit's bin against the predicted one",
    "nearness": "how near the prediction is, alone",
    "edge": "how steeply the prediction changes around the pixel",
}
DRAWS = 500
"""Draws of scenes for an interval."""
# Predicted depths and slopes are counted in so many levels.
_LEVELS = 64
_PURPOSE = 92


@dataclass(frozen=True)
class Told:
    """How well a score tells wrong pixels from right ones."""

    auroc: float
    """NaN where all pixels are right, or all wrong."""
    interval: tuple[float, float]


@dataclass(frozen=True, repr=False)
class Diagnosis(html.Shown):
    """How errors go with the disagreement of units and prediction, over pixels of ``N`` scenes."""

    told: dict[str, Told]
    """By score, of :data:`SCORES`."""
    by_distance: Tensor
    """``(D,)``, the share of wrong pixels where the bins differ by 0, 1 ...; NaN where none do."""
    pixels: Tensor
    """``(D,)`` at each difference."""
    wrong: float
    """The share of pixels that are off by more than a factor of 1.25."""
    agreement: float
    """The share in which the winning unit's bin is the predicted one."""
    scenes: int
    bins: Bins
    notes: tuple[str, ...] = field(default=())

    @property
    def headline(self) -> str:
        """What it says, in a line."""
        found, control = self.told["disagreement"], self._control
        low, high = found.interval
        if found.auroc != found.auroc:
            return "all pixels are right, or all wrong: there is nothing to tell"
        return (
            f"disagreement tells wrong pixels ({percent(self.wrong)}) from right ones with AUROC "
            f"{number(found.auroc)} ({number(low)} to {number(high)}); without units "
            f"{number(self.told[control].auroc)} by {SCORES[control]}"
        )

    @property
    def _control(self) -> str:
        """The best of the scores without units."""
        others = [name for name in self.told if name != "disagreement"]
        return max(others, key=lambda name: self.told[name].auroc)

    @property
    def rows(self) -> list[list[str]]:
        """Of each score its AUROC with its interval."""
        return [
            [SCORES[name], number(one.auroc), " to ".join(map(number, one.interval))]
            for name, one in self.told.items()
        ]

    @property
    def distance_rows(self) -> list[list[str]]:
        """Of each difference of bins: pixels, and the share of them that are wrong."""
        return [
            [str(place), f"{int(many):,}", percent(float(share))]
            for place, (many, share) in enumerate(zip(self.pixels, self.by_distance, strict=True))
            if many
        ]

    def describe(self) -> dict[str, Any]:
        """As plain values."""

        def plain(value: float) -> float | None:
            return None if value != value else value

        return {
            "headline": self.headline,
            "told": {
                name: {"by": SCORES[name], "auroc": plain(one.auroc),
                       "interval": [plain(each) for each in one.interval]}
                for name, one in self.told.items()
            },
            "wrong_by_distance": [plain(one) for one in self.by_distance.tolist()],
            "pixels": self.pixels.tolist(),
            "wrong": self.wrong,
            "agreement": self.agreement,
            "scenes": self.scenes,
            "notes": list(self.notes),
        }  # fmt: skip

    def _line(self) -> str:
        return self.headline

    def _view(self) -> Iterator[html.Html]:
        yield html.table(("wrong pixels told by", "AUROC", "95 %"), self.rows, right=(1,))
        yield html.table(("bins apart", "pixels", "wrong"), self.distance_rows, right=(0, 1, 2))
        yield html.notes(self.notes)


def diagnose(
    network: nn.Module,
    scenes: Scenes,
    bins: Bins | None = None,
    *,
    measured: Selectivity | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Hold the winning unit's bin against the prediction, pixel by pixel; the network is untouched.

    Args:
        network: with features and depth, such as a `DepthNetwork`.
        scenes: to judge it on.
        bins: those that its units are assigned to.
        measured: what its units answer to, which says on what scale each answers; by default it is
            measured on the same scenes.
        seed: for the draws behind the intervals.

    Raises:
        InvalidParameterError: a network without features, scenes all in one bin, or units that were
            measured of another network.
        ModelOutputError: it does not answer with depth.
    """
    bins = bins or Bins()
    measured = measured or depth_selectivity(network, scenes, bins)
    if measured.bins != bins:
        raise InvalidParameterError(
            f"measured is of {measured.bins}; expected the bins of the diagnosis, {bins}"
        )
    tables: dict[str, list[Tensor]] = {name: [] for name in SCORES}
    for batch in read(network, scenes):
        wrong = ~near(batch.predicted, batch.depth)
        found = {
            "disagreement": disagreement(batch.features, batch.predicted, measured),
            "nearness": _levels(1 - batch.predicted / bins.last),
            "edge": _levels(_edge(batch.predicted)),
        }
        for name, levels in found.items():
            tables[name].append(_counted(levels, wrong, max(_LEVELS, bins.count)))
    counted = {name: torch.cat(parts) for name, parts in tables.items()}
    told = {name: _told(one, seed) for name, one in counted.items()}
    right, bad = counted["disagreement"].sum(0)[: bins.count].unbind(1)
    pixels = right + bad
    return Diagnosis(
        told=told,
        by_distance=bad / pixels.where(pixels > 0, torch.nan),
        pixels=pixels,
        wrong=float(bad.sum() / pixels.sum()),
        agreement=float(pixels[0] / pixels.sum()),
        scenes=len(scenes),
        bins=bins,
        notes=_notes(measured),
    )


def winning_bin(features: Tensor, size: tuple[int, int], measured: Selectivity) -> Tensor:
    """Of each pixel ``(N, H, W)`` the bin that the unit answering most is assigned to."""
    own = measured.assigned.to(features.device)
    scale = _scale(measured).to(features)
    answers = upsampled(features, size).abs() / scale[:, None, None]
    return own[answers.argmax(1)]


def disagreement(features: Tensor, predicted: Tensor, measured: Selectivity) -> Tensor:
    """Of each pixel ``(N, H, W)`` how many bins the winning unit's is from the predicted one."""
    size = (predicted.shape[1], predicted.shape[2])
    inside = measured.bins.of(predicted.clamp(max=measured.bins.last))
    return (winning_bin(features, size, measured) - inside).abs()


def _scale(measured: Selectivity) -> Tensor:
    """Each unit's mean answer to its own bin ``(K,)``, or where that has no pixels its largest;
    endless of one that answers to nothing, so that it never wins.
    """
    answers = measured.responses
    own = answers.gather(1, measured.assigned[:, None])[:, 0]
    own = own.where(own > 0, answers.nan_to_num().amax(1))
    return own.where(own > 0, torch.inf)


def _levels(values: Tensor) -> Tensor:
    """Shares as whole numbers below ``_LEVELS``."""
    return (values.clamp(0, 1) * (_LEVELS - 1)).round().long()


def _edge(predicted: Tensor) -> Tensor:
    """How far the logarithm of depth reaches within 3×3 pixels, 1 being a factor of e."""
    logs = predicted.log()[:, None]
    return (F.max_pool2d(logs, 3, 1, 1) + F.max_pool2d(-logs, 3, 1, 1))[:, 0]


def _counted(levels: Tensor, wrong: Tensor, most: int) -> Tensor:
    """How many right and wrong pixels of each scene have each level, ``(n, most, 2)``."""
    n = len(levels)
    scene = torch.arange(n, device=levels.device)[:, None]
    place = ((scene * most + levels.flatten(1)) * 2 + wrong.flatten(1).long()).flatten()
    return torch.bincount(place, minlength=2 * n * most).view(n, most, 2).double().cpu()


def _told(counted: Tensor, seed: int) -> Told:
    """AUROC of levels over all scenes ``(n, levels, 2)``, and its interval over draws of scenes."""
    n = len(counted)
    keys = randomness.keys(seed, torch.arange(DRAWS, device="cpu"), _PURPOSE)
    # One draw at a time, as there may be many scenes.
    drawn = (randomness.integers(keys[one : one + 1], 0, n, n)[0] for one in range(DRAWS))
    many = torch.stack([torch.bincount(row, minlength=n) for row in drawn]).double()
    again = _auroc((many @ counted.flatten(1)).view(DRAWS, -1, 2))
    again = again[~again.isnan()]
    low, high = (
        again.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64, device="cpu")).tolist()
        if len(again)
        else (float("nan"), float("nan"))
    )
    return Told(float(_auroc(counted.sum(0)[None])[0]), (low, high))


def _auroc(counted: Tensor) -> Tensor:
    """Of counts ``(m, levels, 2)``: the share of pairs whose wrong pixel has the higher level; ties
    count half.
    """
    right, wrong = counted.unbind(2)
    below = right.cumsum(1) - right
    return (wrong * (below + right / 2)).sum(1) / (right.sum(1) * wrong.sum(1))


def _notes(measured: Selectivity) -> tuple[str, ...]:
    dead = measured.dead
    if not dead:
        return ()
    return (f"{count(dead, 'unit')} answer to nothing, and never win",)
