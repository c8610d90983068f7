"""What becomes of depth when the units of a bin are taken away, as You et al. (2108.05312) ask.

If those units see what lies in the bin, the error rises there, and little elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.depth.bins import Bins
from fluoroscope.depth.reading import check_bins, read, readable
from fluoroscope.depth.scenes import Scenes
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.frozen import frozen
from fluoroscope.pictures import html
from fluoroscope.training.losses.selective import assignment
from fluoroscope.words import count, number, percent


@dataclass(frozen=True, repr=False)
class Ablation(html.Shown):
    """Mean relative errors with the units of each of ``D`` bins at zero, by the true bin."""

    before: Tensor
    """``(D,)``, of pixels in each bin with all units; NaN of bins without pixels."""
    after: Tensor
    """``(D, D)``: a row for each bin whose units were taken, a column for each true bin."""
    pixels: Tensor
    """``(D,)`` in each bin."""
    assigned: Tensor
    """``(K,)``, each unit's bin."""
    bins: Bins

    @property
    def rise(self) -> Tensor:
        """``(D, D)``: by how much the error rises, as a difference of relative errors."""
        return self.after - self.before

    @property
    def own(self) -> Tensor:
        """``(D,)``: the rise in the bin whose units were taken."""
        return self.rise.diagonal()

    @property
    def elsewhere(self) -> Tensor:
        """``(D,)``: the mean rise in the other bins when a bin's units were taken."""
        kept = self.rise.masked_fill(torch.eye(len(self.before), dtype=torch.bool, device="cpu"),
                                     torch.nan)  # fmt: skip
        return kept.nanmean(1)

    @property
    def asked(self) -> Tensor:
        """``(D,)``: which bins have pixels and units."""
        has_units = torch.bincount(self.assigned, minlength=len(self.pixels)) > 0
        return (self.pixels > 0) & has_units

    @property
    def more_in_own(self) -> int:
        """In how many bins the error rises more than elsewhere when their units are taken."""
        return int((self.own > self.elsewhere)[self.asked].sum())

    @property
    def headline(self) -> str:
        """What it says, in a line."""
        many = int(self.asked.sum())
        own, others = (float(one[self.asked].mean()) for one in (self.own, self.elsewhere))
        return (
            f"without a bin's units the error rises there by {100 * own:.1f} points on average, "
            f"elsewhere by {100 * others:.1f}; more in the bin itself for {self.more_in_own} of "
            f"{count(many, 'bin')}"
        )

    @property
    def rows(self) -> list[list[str]]:
        """Of each bin: pixels, units, error before and without its units, rise elsewhere."""
        found = []
        for place, name in enumerate(self.bins.names()):
            units = (self.assigned == place).nonzero()[:, 0].tolist()
            known = bool(self.asked[place])
            found.append(
                [name, f"{int(self.pixels[place]):,}", ", ".join(map(str, units)) or "none",
                 percent(float(self.before[place])) if self.pixels[place] else "–",
                 percent(float(self.after[place, place])) if known else "–",
                 f"{100 * float(self.own[place]):+.1f}" if known else "–",
                 f"{100 * float(self.elsewhere[place]):+.1f}" if units else "–"]
            )  # fmt: skip
        return found

    def describe(self) -> dict[str, Any]:
        """As plain values; what is undefined is ``None``."""

        def plain(values: Any) -> Any:
            if isinstance(values, list):
                return [plain(one) for one in values]
            return None if values != values else values

        return {
            "headline": self.headline,
            "edges": self.bins.edges.tolist(),
            "pixels": self.pixels.tolist(),
            "assigned": self.assigned.tolist(),
            "before": plain(self.before.tolist()),
            "after": plain(self.after.tolist()),
            "more_in_own": self.more_in_own,
        }

    def _line(self) -> str:
        return self.headline

    def _view(self) -> Iterator[html.Html]:
        yield html.table(COLUMNS, self.rows, right=(1, 3, 4, 5, 6))
        kept = self.pixels > 0
        yield html.paragraph(
            f"relative error of {number(int(kept.sum()))} bins with pixels, in points of a percent"
        )


COLUMNS = ("bin (m)", "pixels", "units", "error", "without them", "rise", "rise elsewhere")
"""Of :attr:`Ablation.rows`."""


def ablate(
    network: nn.Module,
    scenes: Scenes,
    bins: Bins | None = None,
    *,
    assigned: Tensor | None = None,
) -> Ablation:
    """Set the units of one bin after the other to zero; the network stays untouched.

    The features are computed once, and what follows them again for each bin.

    Args:
        network: with features and depth, such as a `DepthNetwork`.
        scenes: to judge it on.
        bins: those that its units are assigned to.
        assigned: ``(K,)``, the bin of each unit; by default by the paper's rule.

    Raises:
        InvalidParameterError: a network without features, or scenes all in one bin.
        ModelOutputError: it does not answer with depth.
    """
    bins = bins or Bins()
    pixels = check_bins(scenes, bins)
    reading = readable(network)
    own = assignment(reading.units, bins.count) if assigned is None else assigned
    if own.shape != (reading.units,):
        raise InvalidParameterError(
            f"assigned is of shape {tuple(own.shape)}; expected a bin for each of "
            f"{count(reading.units, 'unit')}"
        )
    before = torch.zeros(bins.count, dtype=torch.float64, device="cpu")
    after = torch.zeros(bins.count, bins.count, dtype=torch.float64, device="cpu")
    for batch in read(network, scenes):
        inside = bins.of(batch.depth)
        before += _error(batch.predicted, batch.depth, inside, bins.count)
        for place in range(bins.count):
            taken = (own == place).to(batch.features.device)
            if not bool(taken.any()):
                after[place] += _error(batch.predicted, batch.depth, inside, bins.count)
                continue
            features = batch.features.masked_fill(taken[None, :, None, None], 0)
            predicted = again(network, features, batch.depth)
            after[place] += _error(predicted, batch.depth, inside, bins.count)
    seen = pixels.where(pixels > 0, torch.nan)
    return Ablation(before / seen, after / seen, pixels, own, bins)


def again(network: nn.Module, features: Tensor, depth: Tensor) -> Tensor:
    """The depth that a network makes of features, in evaluation mode and without a graph."""
    with frozen(network), torch.inference_mode(False), torch.no_grad():
        return readable(network).depth_of(features, (depth.shape[1], depth.shape[2]))


def _error(predicted: Tensor, depth: Tensor, inside: Tensor, bins: int) -> Tensor:
    """The sum of the relative errors in each bin, ``(bins,)``."""
    off = ((predicted.double() - depth.double()).abs() / depth.double()).flatten()
    there = inside.flatten() + 1
    return torch.bincount(there, weights=off, minlength=bins + 1)[1:].cpu()
