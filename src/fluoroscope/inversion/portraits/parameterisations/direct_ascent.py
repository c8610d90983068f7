"""Direct ascent synthesis as one smoothing filter.

Fort and Whitaker 2025, 2502.07753: ``picture = (tanh(x + sum of U_r P_r) + 1) / 2``, where ``U_r``
enlarges a picture of side ``r``, every ``P_r`` starts at 0, and plain gradient ascent with rate
``s`` moves them all: ``P_r += s U_r' g`` for the gradient ``g`` at the sum. The sum itself then
moves by ``s (sum of U_r U_r') g``, whatever the ``P_r`` are, so they need not exist: the gradient
goes through one linear filter. That holds exactly for plain ascent and with momentum, which are
linear in the gradient, also where tanh is between; it does not for Adam, which divides each of the
``P_r`` by a scale of its own, and is here an Adam on the smoothed gradient.

Enlarging works on rows and columns apart, so the filter is a sum over ``r`` of ``A_r g B_r'`` with
one small matrix for each. Most of that sum lies along few principal axes of these matrices; what
the others add may be left out, up to a precision.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.parameterisations.parameterisation import Parameterisation
from fluoroscope.inversion.portraits.parameterisations.pyramid import enlarged, levels
from fluoroscope.inversion.portraits.parameterisations.squash import logits

_BLOCK = 32  # sizes, so that few matrices are held at once


@dataclass(frozen=True)
class DirectAscent(Parameterisation):
    """The sum of pictures of all sizes, ``(n, C, H, W)`` before tanh, led by a smoothed gradient.

    Args:
        every: sizes are every so many pixels of the longer side, from 1, and its own.
        precision: what may be left out of the filter, as a share of it in the norm of Frobenius; 0
            keeps all, which takes as many products of matrices as there are sizes.
        spread: standard deviation of the numbers to start from; the paper starts from a picture.

    Raises:
        InvalidParameterError: ``every`` is below 1, or ``precision`` is no share.
    """

    name: ClassVar[str] = "direct ascent"
    every: int = 1
    precision: float = 1e-2
    spread: float = 0.02

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InvalidParameterError(f"every is {self.every}; expected 1 pixel or more")
        if not 0 <= self.precision < 1:
            raise InvalidParameterError(
                f"precision is {self.precision}; expected a share, from 0 to below 1"
            )

    def start(self, canvas: Canvas, keys: Tensor) -> Tensor:
        """Noise around the mean of real pictures."""
        mean = logits(canvas.prior.mean.to(canvas.device, canvas.dtype)) / 2
        noise = randomness.normal(keys, 0, canvas.shape).to(canvas.dtype)
        return mean[:, None, None] + self.spread * noise

    def start_from(self, canvas: Canvas, pictures: Tensor) -> Tensor:
        """The picture before tanh."""
        return logits(pictures) / 2

    def picture(self, canvas: Canvas, parameters: Tensor) -> Tensor:
        """The pixels, ``(tanh + 1) / 2``."""
        return (2 * parameters).sigmoid()

    def led(self, canvas: Canvas, gradient: Tensor) -> Tensor:
        """What all sizes together would do along it."""
        down, across = _filter(canvas.height, canvas.width, self.every, self.precision)
        down, across = down.to(gradient), across.to(gradient)
        found = torch.zeros_like(gradient)
        for rows, columns in zip(down, across, strict=True):
            found += rows @ gradient @ columns.mT
        return found


@lru_cache(maxsize=4)
def _filter(height: int, width: int, every: int, precision: float) -> tuple[Tensor, Tensor]:
    """``(k, H, H)`` and ``(k, W, W)`` float64: the filter is the sum of ``down @ g @ across'``."""
    sizes = levels(height, width, tuple(range(1, max(height, width) + 1, every)))
    found: tuple[Tensor, Tensor] | None = None
    for begin in range(0, len(sizes), _BLOCK):
        block = sizes[begin : begin + _BLOCK]
        down = torch.stack([_smoothing(height, rows) for rows, _ in block])
        across = torch.stack([_smoothing(width, columns) for _, columns in block])
        if found is not None:
            down, across = torch.cat([found[0], down]), torch.cat([found[1], across])
        # Each block leaves its share out; a tenth keeps their sum within the whole.
        last = begin + _BLOCK >= len(sizes)
        found = _fewer(down, across, precision / 2 if last else precision / 10)
    assert found is not None
    return found


def _smoothing(size: int, small: int) -> Tensor:
    """Of one axis: enlarging a side of ``small`` after its transpose, ``(size, size)``."""
    unit = torch.eye(small, dtype=torch.float64, device="cpu")[:, None, :, None]
    up = enlarged(unit, (size, 1))[:, 0, :, 0]
    return up.mT @ up


def _fewer(down: Tensor, across: Tensor, precision: float) -> tuple[Tensor, Tensor]:
    """The same sum of products in fewer terms.

    A rotation of the terms, the same on both sides, leaves the sum as it is. That to the principal
    axes gathers it in the last few.
    """
    rows, columns = (one.flatten(1) @ one.flatten(1).mT for one in (down, across))
    axes = torch.linalg.eigh(rows / rows.trace() + columns / columns.trace()).eigenvectors
    down, across = (torch.einsum("rk,rij->kij", axes, one) for one in (down, across))
    size = (down.square().sum((1, 2)) * across.square().sum((1, 2))).sqrt()
    # Beyond a square picture the terms are not quite at right angles: their lengths add at worst.
    kept = size.square().cumsum(0) > (precision * size.square().sum().sqrt()) ** 2
    return down[kept], across[kept]
