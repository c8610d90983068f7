"""Whether maps lie where something is: overlap with masks, and pointing into them.

Two numbers of each picture, and their means:

* the IoU of a mask with where the map is above a share of its largest value (Zhou et al. 2016,
  1512.04150, take .2), ``|on and mask| / |on or mask|``;
* whether the largest value lies in the mask (the pointing game; Zhang et al. 2016, 1608.00507).

A map that is nowhere above zero is on nowhere and points nowhere. Beside both belongs what the same
maps reach with the masks of something else: what is found without being looked for.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fluoroscope.errors import InvalidParameterError

SHARE = 0.2
"""Of a map's largest value, above which it is on."""


class Localisation(NamedTuple):
    """Of ``N`` maps and masks."""

    iou: Tensor
    """``(N,)``; 0 of a map that is nowhere above zero."""
    pointed: Tensor
    """``(N,)``, whether the largest value lies in the mask."""

    @property
    def mean_iou(self) -> float:
        """From 0 to 1."""
        return float(self.iou.mean())

    @property
    def pointing(self) -> float:
        """The share of maps whose largest value lies in their mask."""
        return float(self.pointed.double().mean())

    def above(self, iou: float) -> float:
        """The share of maps whose IoU is above a number: AP20 and AP30 are those of .2 and .3."""
        return float((self.iou > iou).double().mean())


def localisation(maps: Tensor, masks: Tensor, *, share: float = SHARE) -> Localisation:
    """How maps ``(N, h, w)`` lie on masks ``(N, H, W)``, which are true where something is.

    Maps are enlarged to the masks, bilinearly.

    Raises:
        InvalidParameterError: they are not as many, or the share is none.
    """
    if maps.dim() != 3 or masks.dim() != 3 or len(maps) != len(masks) or not len(maps):
        raise InvalidParameterError(
            f"maps are {tuple(maps.shape)} and masks {tuple(masks.shape)}; expected (N, h, w) and "
            "(N, H, W), a mask for each map"
        )
    if not 0 <= share < 1:
        raise InvalidParameterError(f"share is {share}; expected a number from 0 to below 1")
    size = (masks.shape[1], masks.shape[2])
    large = F.interpolate(maps[:, None].double(), size, mode="bilinear", align_corners=False)
    flat, inside = large.flatten(1), masks.flatten(1).bool()
    highest, place = flat.max(1)
    some = highest > 0
    on = (flat > share * highest[:, None]) & some[:, None]
    both, either = (on & inside).sum(1).double(), (on | inside).sum(1).double()
    return Localisation(
        torch.where(either > 0, both / either, torch.zeros_like(both)),
        inside.gather(1, place[:, None])[:, 0] & some,
    )
