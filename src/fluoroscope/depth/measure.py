"""How far a network's depth is from the truth, by the errors that the field reports.

Over all pixels with depth ``g`` and prediction ``d``: ``rel = mean |d - g| / g``, ``RMSE =
sqrt(mean (d - g)^2)`` in metres, and ``delta_1``, the share with ``max(d / g, g / d) < 1.25``
(Eigen et al. 2014, 1406.2283).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.depth.reading import read
from fluoroscope.depth.scenes import Scenes
from fluoroscope.pictures import html
from fluoroscope.words import count, number, percent

NEAR = 1.25
"""A prediction within this factor of the truth counts as right."""


@dataclass(frozen=True, repr=False)
class DepthErrors(html.Shown):
    """Errors over all pixels of some scenes."""

    rel: float
    """Mean of ``|d - g| / g``."""
    rmse: float
    """Metres."""
    right: float
    """Share of pixels within a factor of 1.25: delta 1."""
    pixels: int

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def _line(self) -> str:
        return (
            f"off by {percent(self.rel)} on average, RMSE {number(self.rmse)} m, "
            f"{percent(self.right)} within a factor of {NEAR} over {count(self.pixels, 'pixel')}"
        )

    def _view(self) -> Iterator[html.Html]:
        yield html.facts(
            [
                ("mean relative error", percent(self.rel)),
                ("RMSE", f"{number(self.rmse)} m"),
                (f"within a factor of {NEAR}", percent(self.right)),
            ]
        )


def depth_errors(network: nn.Module, scenes: Scenes) -> DepthErrors:
    """The errors of a network on scenes; it stays untouched.

    Raises:
        InvalidParameterError, ModelOutputError: it is none that answers with depth.
    """
    sums = torch.zeros(3, dtype=torch.float64, device="cpu")
    for batch in read(network, scenes):
        predicted, depth = batch.predicted.double(), batch.depth.double()
        off = (predicted - depth).abs()
        found = (off / depth).sum(), off.square().sum(), near(predicted, depth).double().sum()
        sums += torch.stack(found).cpu()
    pixels = scenes.depth.numel()
    rel, square, right = (sums / pixels).tolist()
    return DepthErrors(rel, square**0.5, right, pixels)


def near(predicted: Tensor, depth: Tensor) -> Tensor:
    """Which predictions are within a factor of 1.25 of the truth."""
    return torch.maximum(predicted / depth, depth / predicted) < NEAR
