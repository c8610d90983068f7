"""How selective the units of a depth network are for depth, and the loss that makes them so.

You et al. 2021 (2108.05312). The response ``R_kd`` of unit ``k`` to bin ``d`` is its mean
``|activation|`` over the pixels in the bin, its features enlarged bilinearly. Its depth selectivity
is ``DS_k = (R_max - R_rest) / (R_max + R_rest)``, ``R_rest`` the mean over the other bins: 0 of one
that answers alike to all depths, 1 of one that answers to a single bin. That is for the bin that
the unit happens to answer most to. The loss raises the same for the bin that it is *assigned* to,
which may be below 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.depth.bins import Bins
from fluoroscope.depth.network import upsampled
from fluoroscope.depth.reading import check_bins, read, readable
from fluoroscope.depth.scenes import Scenes
from fluoroscope.errors import InvalidParameterError
from fluoroscope.pictures import html
from fluoroscope.training.losses.selective import assignment, mean_selectivity, selectivity
from fluoroscope.training.trainer.step import Moment, Terms
from fluoroscope.words import count, number

SELECTIVITY_COLUMNS = ["bin (m)", "pixels>", "units", "answer most to it", "selective for it>"]
"""Of :attr:`Selectivity.rows`."""


@dataclass(frozen=True, repr=False)
class Selectivity(html.Shown):
    """What ``K`` units answer to, over ``D`` bins."""

    responses: Tensor
    """``(K, D)``, float64, mean ``|activation|``; NaN of bins without pixels."""
    pixels: Tensor
    """``(D,)`` in each bin."""
    bins: Bins
    given: Tensor | None = None
    """``(K,)``, the bin of each unit, where that is not the paper's rule."""

    @property
    def assigned(self) -> Tensor:
        """``(K,)``, the bin that each unit is assigned to."""
        if self.given is not None:
            return self.given
        return assignment(len(self.responses), self.bins.count)

    def by_favourite(self) -> "Selectivity":
        """Each unit assigned to the bin that it answers most to: of a network that was assigned
        none in its training."""
        return replace(self, given=self.favourite)

    @property
    def favourite(self) -> Tensor:
        """``(K,)``, the bin of each unit's largest response."""
        return self.responses.nan_to_num(-1).argmax(1)

    @property
    def selectivity(self) -> Tensor:
        """``(K,)``, DS of each unit, for the bin that it answers most to, whichever that is: never
        below 0; 0 of one that answers to nothing."""
        return selectivity(self.responses.nan_to_num(), self.favourite, self.pixels > 0)

    @property
    def of_assigned(self) -> Tensor:
        """``(K,)``, the same of each unit for the bin that it is assigned to, which the loss
        raises: from -1 to 1; NaN where that bin has no pixels."""
        return selectivity(self.responses.nan_to_num(), self.assigned, self.pixels > 0)

    @property
    def mean_of_assigned(self) -> float:
        """The mean of :attr:`of_assigned` over the units that have one; 0 of none."""
        known = self.of_assigned[~self.of_assigned.isnan()]
        return float(known.mean()) if len(known) else 0.0

    @property
    def mean(self) -> float:
        """The mean of DS over the units that answer to anything at all; 0 of none."""
        alive = self.responses.nan_to_num().sum(1) > 0
        return float(self.selectivity[alive].mean()) if bool(alive.any()) else 0.0

    @property
    def dead(self) -> int:
        """How many units answer to nothing."""
        return int((self.responses.nan_to_num().sum(1) == 0).sum())

    @property
    def own(self) -> float:
        """The share of units that answer most to the bin they are assigned to."""
        return float((self.favourite == self.assigned).double().mean())

    def describe(self) -> dict[str, Any]:
        """As plain values; of bins without pixels ``None``."""
        found = [[None if one != one else one for one in row] for row in self.responses.tolist()]
        return {
            "edges": self.bins.edges.tolist(),
            "pixels": self.pixels.tolist(),
            "responses": found,
            "selectivity": self.selectivity.tolist(),
            "selectivity_for_assigned": [
                None if one != one else one for one in self.of_assigned.tolist()
            ],
            "assigned": self.assigned.tolist(),
            "mean": self.mean,
            "mean_of_assigned": self.mean_of_assigned,
            "dead": self.dead,
            "answer_most_to_their_own": self.own,
        }

    @property
    def rows(self) -> list[list[str]]:
        """Of each bin: pixels, the units assigned to it, how many of them answer most to it, and
        their mean selectivity for it."""
        found = []
        for place, name in enumerate(self.bins.names()):
            own = (self.assigned == place).nonzero()[:, 0]
            most = int((self.favourite[own] == place).sum())
            there = len(own) and int(self.pixels[place])
            mean = number(float(self.of_assigned[own].mean())) if there else "–"
            units = ", ".join(map(str, own.tolist())) or "none"
            found.append(
                [name, f"{int(self.pixels[place]):,}", units, f"{most} of {len(own)}", mean]
            )
        return found

    def _line(self) -> str:
        dead = f", {self.dead} dead" if self.dead else ""
        return (
            f"mean depth selectivity {number(self.mean)} of "
            f"{count(len(self.responses), 'unit')} over {count(self.bins.count, 'bin')}, each for "
            f"the one it answers most to; {number(self.mean_of_assigned)} for the assigned{dead}"
        )

    def _view(self) -> Iterator[html.Html]:
        names = [name.removesuffix(">") for name in SELECTIVITY_COLUMNS]
        yield html.table(names, self.rows, right=(1, 4), most=self.bins.count)


def depth_selectivity(network: nn.Module, scenes: Scenes, bins: Bins | None = None) -> Selectivity:
    """What the last features of a network answer to on scenes; it stays untouched.

    Raises:
        InvalidParameterError: a network without features, or scenes all in one bin.
    """
    bins = bins or Bins()
    pixels = check_bins(scenes, bins)
    sums = torch.zeros(readable(network).units, bins.count, dtype=torch.float64, device="cpu")
    for batch in read(network, scenes):
        inside = bins.of(batch.depth)
        sums += summed(batch.features, inside, bins.count).double().cpu()
    return Selectivity(sums / pixels.where(pixels > 0, torch.nan), pixels, bins)


def summed(features: Tensor, inside: Tensor, bins: int) -> Tensor:
    """Of each unit the sum of ``|activation|`` over the pixels of each bin, ``(K, bins)``.

    Args:
        features: ``(N, K, h, w)``.
        inside: ``(N, H, W)``, each pixel's bin; -1 for none.
        bins: how many there are.
    """
    n, height, width = inside.shape
    of_bin = features.new_zeros(n, bins + 1, height, width)
    of_bin = of_bin.scatter_(1, (inside + 1)[:, None], 1.0)[:, 1:]
    if bool((features.detach() >= 0).all()):
        # As after a ReLU: to enlarge and to add up is linear then, so the bins are made smaller
        # once in place of all maps larger, which costs half.
        size, of_bin = features, _gathered(of_bin, features.shape[2:])
    else:
        size = upsampled(features, (height, width)).abs()
    return torch.bmm(size.flatten(2), of_bin.flatten(2).mT).sum(0)


def _gathered(maps: Tensor, size: torch.Size) -> Tensor:
    """The adjoint of enlarging: what each of ``(h, w)`` gives to maps ``(N, D, H, W)``."""
    with torch.enable_grad():
        small = torch.zeros_like(maps[..., :1, :1]).expand(-1, -1, *size).contiguous()
        small.requires_grad_(True)
        large = upsampled(small, (maps.shape[2], maps.shape[3]))
        (found,) = torch.autograd.grad(large, small, maps)
    return found


def depth_loss(predicted: Tensor, depth: Tensor) -> Tensor:
    """Mean difference of the logarithms of depth, over all pixels."""
    return (predicted.log() - depth.log()).abs().mean()


@dataclass(frozen=True)
class SelectiveDepthLoss:
    """``L_depth - weight * mean_k S_k``, where ``S_k`` is unit ``k``'s selectivity for its bin.

    The paper's ``alpha_sel = -0.1`` is a ``weight`` of 0.1; with 0 the depth alone is learnt. Bins
    absent from a batch are left out.

    Raises:
        InvalidParameterError: a negative weight.
    """

    bins: Bins = field(default_factory=Bins)
    weight: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise InvalidParameterError(
                f"weight is {self.weight}; expected 0 for depth alone, or more, such as 0.1"
            )

    def __call__(
        self, module: nn.Module, images: Tensor, depth: Tensor, moment: Moment | None = None
    ) -> tuple[Terms, Tensor]:
        """The terms to lower, and the depth ``(N, H, W)`` that the network sees."""
        network = readable(module)
        features = network.features(images)
        predicted = network.depth_of(features, (images.shape[2], images.shape[3]))
        off = depth_loss(predicted, depth)
        if not self.weight:
            return off, predicted
        inside = self.bins.of(depth)
        pixels = torch.bincount(inside[inside >= 0], minlength=self.bins.count)
        responses = summed(features, inside, self.bins.count) / pixels.clamp_min(1)
        own = assignment(len(responses), self.bins.count).to(responses.device)
        value = mean_selectivity(responses, own, pixels > 0)
        return {"depth": off, "selectivity penalty": -self.weight * value}, predicted
