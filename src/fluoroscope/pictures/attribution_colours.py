"""The colours of several maps on one scale, which is stated: signed, or from 0 up.

Signed ones are blue below zero, white at it and red above (:mod:`.maps`). Maps without a number
below zero, such as those of class activations, begin in black and end in bright yellow: lightness
rises evenly, so that equal steps look equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fluoroscope.pictures.maps import SIGNED, signed_map

_RISING = "inferno"
# Of a picture below colours so much is left where those are full, of signed ones and others; and
# how far from white its black is below signed ones, whose white stands for nothing.
_UNDER, _FADED = {True: 0.15, False: 0.4}, 0.55
# From so many times the 98th percentile on the largest number is not where colours end.
_FAR = 3
# Cells along the longer side of an evened map, at most nearly twice as many.
_CELLS = 28


@dataclass(frozen=True)
class Colours:
    """How numbers become colours, of all maps that are to be compared."""

    end: float
    """The number at the end of the colours; signed ones begin at its negative, others at 0."""
    signed: bool
    beyond: float
    """The largest number there is, without its sign."""

    @property
    def name(self) -> str:
        """Matplotlib's name of them."""
        return SIGNED if self.signed else _RISING

    @property
    def start(self) -> float:
        """The number where they begin."""
        return -self.end if self.signed else 0.0

    @property
    def cut(self) -> bool:
        """Whether there are numbers beyond the end, in the same colour."""
        return self.beyond > self.end * (1 + 1e-6)

    @property
    def told(self) -> str:
        """What lies beyond the end."""
        if self.signed:
            return f"the ends stand for up to ±{self.beyond:.2g}"
        return f"the end stands for up to {self.beyond:.2g}"

    def words(self, channels: int) -> str:
        """Where the colours end, of maps of so many channels."""
        ends = f"±{self.end:.3g}" if self.signed else f"0 and {self.end:.3g}"
        return ends + (", channels added up" if channels > 1 else "")

    def rgb(self, values: Tensor) -> Tensor:
        """A map ``(C, H, W)`` as a picture ``(3, H, W)``, its channels added up."""
        from matplotlib import colormaps

        if self.signed:
            return signed_map(values, scale=self.end)[0]
        shares = np.clip(_flat(values) / self.end, 0, 1)
        found = colormaps[_RISING](shares)[..., :3]
        return torch.from_numpy(np.ascontiguousarray(found.transpose(2, 0, 1))).float()

    def over(self, picture: NDArray[np.float64], values: Tensor) -> NDArray[np.float64]:
        """A map laid over a picture as Matplotlib takes it, ``(H, W, 3)``.

        The picture is grey; the stronger a number is, the less of it is seen.
        """
        grey = picture if picture.ndim == 2 else picture.mean(-1)
        grey = np.repeat(grey[..., None].astype(float), 3, -1)
        strength = np.clip(np.abs(_flat(values)) / self.end, 0, 1)[..., None]
        if self.signed:
            grey = 1 - _FADED * (1 - grey)
        cover = (1 - _UNDER[self.signed]) * strength**0.7
        colours = self.rgb(values).permute(1, 2, 0).double().numpy()
        found: NDArray[np.float64] = (1 - cover) * grey + cover * colours
        return found

    def laid_over(self, image: Tensor, values: Tensor) -> Tensor:
        """The same ``(3, H, W)`` of a picture ``(C, H, W)`` in ``[0, 1]``."""
        from fluoroscope.pictures.display import shown_array

        laid = self.over(np.asarray(shown_array(image), float), values)
        return torch.from_numpy(laid).permute(2, 0, 1).clamp(0, 1).float()


def evened(maps: Tensor) -> Tensor:
    """Maps ``(M, H, W)`` whose single pixels are too small to be seen, by the means of blocks;
    smaller pictures keep theirs.
    """
    block = evened_by(maps)
    means = F.avg_pool2d(maps[:, None], block, ceil_mode=True)
    return F.interpolate(means, maps.shape[1:], mode="bilinear", align_corners=False)[:, 0]


def evened_by(maps: Tensor) -> int:
    """The side of such a block of maps ``(..., H, W)``, in pixels."""
    return max(1, max(maps.shape[-2:]) // _CELLS)


def colours_of(maps: Sequence[Tensor]) -> Colours:
    """One scale for maps ``(C, H, W)``, their channels added up.

    A signed one ends at the largest of the maps' 98th percentiles, as few pixels are far above all
    others. One that begins at 0 ends at the largest number, unless that is several times as large
    as those percentiles: then at them.
    """
    ready = [one.nan_to_num() for one in maps]
    flat = [_flat(one) for one in ready]
    beyond = max((float(np.abs(one).max(initial=0)) for one in flat), default=0.0)
    if any((one < 0).any() for one in flat):
        return Colours(max(signed_map(one)[1] for one in ready if one.numel()), True, beyond)
    usual = max((float(np.percentile(one, 98)) for one in flat if one.size), default=0.0)
    end = usual if 0 < _FAR * usual < beyond else beyond
    return Colours(end or 1.0, False, beyond)


def _flat(values: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.detach().cpu().nan_to_num().double().sum(0).numpy()
    return found
