"""A small encoder and decoder from a picture to its depth, whose last features can be read.

Features at half the picture's size; one convolution makes the logarithm of depth of them. Other
networks are looked at by the same functions if they have these methods (`Readable`).
"""

import math
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.hashing import as_seed
from fluoroscope.process import random_state_lock

MOST_UNITS, MOST_WIDTH = 512, 128
"""Units of the last layer, and of the first, at the most."""
# Metres of which the untrained network speaks.
_MIDDLE = 3.0


@runtime_checkable
class Readable(Protocol):
    """A module that maps images to depth ``(N, H, W)`` in metres, and shows its last features."""

    units: int
    """Of the features."""

    def features(self, images: Tensor) -> Tensor:
        """Of images ``(N, C, H, W)`` in ``[0, 1]``, maps ``(N, units, h, w)`` of any size."""
        ...

    def depth_of(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Depth ``(N, H, W)`` of features."""
        ...


class DepthNetwork(nn.Module):
    """From images ``(N, 3, H, W)`` in ``[0, 1]``, of any size, to depth ``(N, H, W)`` in metres.

    8-bit images are divided by 255.

    Three steps down by two and two up again, with what was seen on the way down beside it.

    Raises:
        InvalidParameterError: no units, or too many.
    """

    def __init__(self, units: int = 32, width: int = 16) -> None:
        super().__init__()
        for name, value, most in (("units", units, MOST_UNITS), ("width", width, MOST_WIDTH)):
            if not 1 <= value <= most:
                raise InvalidParameterError(f"{name} is {value}; expected 1 to {most}")
        self.units, self.width = units, width
        self.down = nn.ModuleList(
            [_block(3, width, 2), _block(width, 2 * width, 2), _block(2 * width, 3 * width, 2)]
        )
        self.middle = _block(3 * width, 3 * width)
        self.up = nn.ModuleList([_block(5 * width, 2 * width), _block(3 * width, units)])
        self.head = nn.Conv2d(units, 1, 3, padding=1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, math.log(_MIDDLE))

    def forward(self, images: Tensor) -> Tensor:
        """Depth ``(N, H, W)`` in metres."""
        return self.depth_of(self.features(images), (images.shape[2], images.shape[3]))

    def features(self, images: Tensor) -> Tensor:
        """The last features ``(N, units, H / 2, W / 2)``, none of them below zero."""
        if images.dtype == torch.uint8:  # as of rendered scenes
            images = images.to(self.head.weight) / 255
        half, quarter, eighth = _through(self.down, 2 * images - 1)
        seen: Tensor = self.middle(eighth)
        for block, beside in zip(self.up, (quarter, half), strict=True):
            seen = block(torch.cat([_enlarged(seen, beside.shape[2:]), beside], 1))
        return seen

    def depth_of(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Depth ``(N, H, W)`` in metres of the last features."""
        logarithm: Tensor = _enlarged(self.head(features), size)[:, 0]
        return logarithm.exp()


def build_network(units: int = 32, width: int = 16, *, seed: int = 0) -> DepthNetwork:
    """One that has learnt nothing, in evaluation mode; the same for the same seed."""
    with random_state_lock, torch.random.fork_rng([]):
        torch.default_generator.manual_seed(as_seed(seed))
        return DepthNetwork(units, width).eval()


def upsampled(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Features ``(N, K, h, w)`` at the size of the depth, bilinearly."""
    return _enlarged(features, size)


def _block(given: int, units: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(given, units, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(units),
        nn.ReLU(),
    )


def _through(blocks: nn.ModuleList, images: Tensor) -> list[Tensor]:
    found = []
    for block in blocks:
        images = block(images)
        found.append(images)
    return found


def _enlarged(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
