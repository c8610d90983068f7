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
    unbounded: bool = False
    """Whether it is given pixels as they are before they are cut off at 0 and 1."""
    needs_data: bool = False
    """Whether real pictures were measured for it."""


@dataclass(frozen=True)
class LayerPrior:
    """A penalty on what layers do; lowered."""

    name: str
    penalty: Goal
    needs_data: bool = False
    """Whether real pictures were measured for it."""
    beside_start: bool = False
    """Whether it compares each view with the same view of the picture that was started from."""


Prior = ImagePrior | LayerPrior
