"""Priors on the pixels of a portrait: how rough it is, and how far from grey."""

from typing import Literal

import torch
from torch import Tensor

from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion import variation
from fluoroscope.inversion.portraits.priors.prior import ImagePrior
from fluoroscope.inversion.variation import SMALL, mean, raised

Kind = Literal["anisotropic", "isotropic", "deepinversion"]


def total_variation(kind: Kind = "anisotropic", power: float = 1.0) -> ImagePrior:
    """How much neighbouring pixels differ.

    Args:
        kind: ``anisotropic``, the mean of ``|dx|^power + |dy|^power``; ``isotropic``, the mean of
            ``(dx^2 + dy^2)^(power / 2)`` (Mahendran and Vedaldi 2015); ``deepinversion``, the sum
            of the Euclidean norms of the differences rightwards, downwards and along both
            diagonals (Yin et al. 2020).
        power: as above; ``deepinversion`` has none.

    Raises:
        InvalidParameterError: no such kind, or a power that is not above 0.
    """
    if kind not in ("anisotropic", "isotropic", "deepinversion"):
        raise InvalidParameterError(
            f"kind is {kind!r}; expected anisotropic, isotropic or deepinversion"
        )
    _check("power", power)

    def penalty(pictures: Tensor) -> Tensor:
        if kind == "anisotropic":
            return variation.total_variation(pictures, power)
        across, down = pictures.diff(dim=3), pictures.diff(dim=2)
        if kind == "isotropic":
            both = across[..., :-1, :].square() + down[..., :, :-1].square()
            return mean((both + SMALL) ** (power / 2))
        falling = pictures[..., 1:, 1:] - pictures[..., :-1, :-1]
        rising = pictures[..., 1:, :-1] - pictures[..., :-1, 1:]
        parts = [_length(each) for each in (across, down, falling, rising)]
        return torch.stack(parts).sum(0)

    return ImagePrior(f"total variation ({kind}, power {power:g})", penalty)


def l_norm(power: float = 2.0, around: float = 0.5) -> ImagePrior:
    """The mean of ``|x - around| ** power``: what is far from grey costs.

    Raises:
        InvalidParameterError: a power that is not above 0.
    """
    _check("power", power)
    return ImagePrior(
        f"L{power:g} around {around:g}", lambda pictures: mean(raised(pictures - around, power))
    )


def value_range() -> ImagePrior:
    """How far pixels lie outside ``[0, 1]``: the mean of the square of what is beyond.

    For parameterisations that are cut off there, such as plain pixels: beyond the cut nothing else
    pulls. Behind a sigmoid nothing is ever outside, so there it is refused. It is zero at the
    start, where nothing is outside yet, so its weight is a number and no ratio.
    """
    return ImagePrior(
        "range",
        lambda pixels: mean((pixels - pixels.clamp(0, 1)).square()),
        unbounded=True,
    )


def _length(values: Tensor) -> Tensor:
    return (values.flatten(1).square().sum(1) + SMALL).sqrt()


def _check(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise InvalidParameterError(f"{name} is {value}; expected a number above 0")
