"""What a prior is: a number for each portrait to lower, of its pixels or of layers."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fluoroscope.inversion.portraits.objectives.goal import Goal


@dataclass(frozen=True)
class ImagePrior:
    """A penalty on the pixels of a portrait."""

    name: str
    function: Callable[[Tensor], Tensor]
    """From pictures ``(n, C, H, W)`` in ``[0, 1]`` to ``(n,)``, to be lowered."""


@dataclass(frozen=True)
class LayerPrior:
    """A penalty on what layers do; lowered."""

    name: str
    penalty: Goal


Prior = ImagePrior | LayerPrior
