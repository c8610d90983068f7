"""The 8-bit grid: images whose every value survives being saved as a PNG.

Rounding to the nearest of 256 levels may leave the allowed set. Then fewer of the values round away
from the original, those with the smallest remainder first, until the image is allowed again: a
bisection on the remainder at which a value rounds away, for each sample by itself.
"""

import torch
from torch import Tensor

from fluoroscope.engine.threats import Threat
from fluoroscope.engine.vectors import chosen, column
from fluoroscope.errors import InvalidParameterError

LEVELS = 255
HALF_A_LEVEL = 0.5 / LEVELS
"""A value that moves by less than this is rounded back when the image is saved in 8 bits."""


def as_grid(grid: int | None) -> int | None:
    """8, or ``None`` for images that may have any value.

    Raises:
        InvalidParameterError: anything else.
    """
    if grid is not None and (isinstance(grid, bool) or grid != 8):
        raise InvalidParameterError(f"grid is {grid!r}; expected 8 (bits) or None")
    return grid


def nothing_between(threat: Threat, grid: int | None) -> str | None:
    """A word on a bound too small for 8 bits, if it is one."""
    eps = float(threat.eps)
    # A single value that moves has moved by a level, in each of these norms.
    if threat.name not in ("linf", "l2", "l1") or not 0 < eps < (1 - 1e-6) / LEVELS:
        return None
    bound = f"the bound {threat.name}:{eps:.3g} is less than one level of 8 bits (1/255)"
    if grid is not None:
        return f"{bound}: no 8-bit picture but the original lies within, so none could be found"
    if eps < HALF_A_LEVEL:
        return (
            f"the bound {threat.name}:{eps:.3g} is less than half a level of 8 bits (0.5/255): "
            "no saved picture can hold such a change; grid=8 looks for those that one can"
        )
    return None


def round_to_grid(images: Tensor) -> Tensor:
    """The nearest images with values of ``k / 255``."""
    return torch.round(images * LEVELS) / LEVELS


def snap(images: Tensor, original: Tensor, threat: Threat) -> Tensor:
    """The images on the grid, still allowed by the threat model.

    ``original`` must lie on the grid; ``images`` and ``original`` are ``(N, C, H, W)``.
    """
    nearest = round_to_grid(images)
    if bool(threat.allows(nearest, original).all()):
        return nearest
    # In levels and in double precision: whole numbers must stay whole.
    base = torch.round(original.double() * LEVELS)
    difference = images.double() * LEVELS - base
    whole, remainder = difference.abs().floor(), difference.abs().frac()

    def rounded(cut: Tensor) -> Tensor:
        away = whole + (remainder > cut)
        return (base + difference.sign() * away).to(images.dtype) / LEVELS

    low = torch.full((len(images), 1, 1, 1), 0.5, dtype=torch.double, device=images.device)
    high = torch.ones_like(low)
    for _ in range(20):
        middle = (low + high) / 2
        fits = column(threat.allows(rounded(middle), original))
        high = torch.where(fits, middle, high)
        low = torch.where(fits, low, middle)
    return chosen(threat.allows(nearest, original), nearest, rounded(high).clamp(0, 1))
