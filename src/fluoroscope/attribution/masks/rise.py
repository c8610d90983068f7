"""Random masks, each worth what the class is worth under it.

Petsiuk, Das, Saenko 2018, "RISE" (1806.07421), equation 6: ``mean of f(x * M) * M / p`` over
masks M of 7 × 7 cells, each kept with probability p, made smooth by bilinear interpolation and
shifted by less than a cell. Masks are hashes of counters: a picture's are its own, and none is ever
kept.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fluoroscope.attribution.masks.masked import Hidings, Masked
from fluoroscope.attribution.method import Found, spread
from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.vectors import column
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class Rise(Masked):
    """How much more the class is worth while a pixel is seen.

    Args:
        samples: masks. The paper has 4,000 for VGG-16 and 8,000 for ResNet-50; the grain of the map
            shrinks with the square root of their number.
        grid: cells of a mask along each side.
        keep: the probability that a cell is seen.
        centred: less the mean over all masks, so that 0 is a pixel that makes no difference; the
            map of the paper is this one and that mean times how often a pixel was seen.
        baseline: what is seen of hidden parts; the paper's is black.
        objective: the number to explain; the paper's is the probability.
    """

    objective: str = "probability"
    samples: int = 500
    grid: int = 7
    keep: float = 0.5
    centred: bool = True

    name: ClassVar[str] = "rise"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("samples", "grid"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        if isinstance(self.keep, bool | str) or not 0 < float(self.keep) < 1:
            raise InvalidParameterError(f"keep is {self.keep!r}; expected a number between 0 and 1")
        if not isinstance(self.centred, bool):
            raise InvalidParameterError(f"centred is {self.centred!r}; expected true or false")

    def network(self, model: Classifier, images: Tensor, seed: int) -> Classifier:
        """The network itself; the grid has to fit the images."""
        height, width = images.shape[2:]
        if self.grid > min(height, width):
            raise InvalidParameterError(
                f"grid is {self.grid}; expected no more cells than the images' {height} × {width} "
                "pixels"
            )
        return super().network(model, images, seed)

    def count(self, state: Hidings) -> Tensor:
        """As many for each."""
        return torch.full_like(state.number, self.samples)

    def hidden(self, state: Hidings, owners: Tensor, numbers: Tensor) -> Tensor:
        """What the masks do not keep."""
        keys, grid = spread(state.samples.keys, owners), self.grid
        cells = randomness.uniform(keys, 2 * numbers, (grid, grid)) < self.keep
        shifts = randomness.uniform(keys, 2 * numbers + 1, (2,))
        down, across = (
            _enlarged(grid, side, shift)
            for side, shift in zip(state.base.shape[2:], shifts.unbind(1), strict=True)
        )
        return 1 - (down @ cells.float() @ across.transpose(1, 2))[:, None]

    def finish(self, state: Hidings) -> Found:
        """What was kept of each pixel, weighed by the number while it was."""
        hidden, hidden_sums = state.total.unbind(1)
        value, sums = state.values.unbind(1)
        kept, kept_sums = self.samples - hidden, column(sums) - hidden_sums
        if self.centred:
            kept_sums = kept_sums - column(sums / self.samples) * kept
        maps = kept_sums / (self.samples * self.keep)
        return Found(maps, value, torch.full_like(value, torch.nan))


def _enlarged(grid: int, side: int, shift: Tensor) -> Tensor:
    """``(m, side, grid)``: what each pixel of a side takes of the cells, shifted by ``(m,)`` cells.

    As many cells and one more are laid over the side, so that a shift leaves none empty.
    """
    cell = math.ceil(side / grid)
    one = torch.eye(grid, dtype=torch.float32, device=shift.device)[None]
    whole = interpolate(one, size=(grid + 1) * cell, mode="linear", align_corners=False)[0].T
    first = (shift * cell).long()
    return whole[first[:, None] + torch.arange(side, device=shift.device)]
