"""What is known of the pictures that a network is for, before one is made.

Mean, spread and colour root fix the scale on which a portrait is painted; the magnitudes are those
of :mod:`.portraits.parameterisations` that hold them; layer statistics are for the priors that
compare with real pictures.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class DataPrior:
    """Statistics of real pictures in ``[0, 1]``; all tensors are float32 on the CPU."""

    name: str
    """Where it comes from, such as ``natural`` or a data set's name."""
    mean: Tensor
    """``(C,)``, of each channel."""
    gain: float
    """The standard deviation of the pixels."""
    colour: Tensor
    """``(C, C)``, root of the covariance of the channels within a picture, whose longest column has
    length 1: colours are ``colour @ t`` of decorrelated ``t``."""
    decay: float = 1.0
    """How the mean magnitude of a frequency ``f`` falls: as ``f ** -decay``."""
    magnitude: Tensor | None = None
    """``(C, H, W // 2 + 1)``, the mean of ``|rfft2|`` (orthonormal) of decorrelated channels, which
    are ``inverse(colour) @ (picture - mean)``, at the network's own size."""
    size: tuple[int, int] | None = None
    """``(H, W)`` of the pictures that the magnitudes are of."""
