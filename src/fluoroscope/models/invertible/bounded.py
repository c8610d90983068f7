"""Convolutions that lengthen nothing by more than they are allowed to.

A convolution is a linear map of whole pictures, and its norm is not that of its kernel written as a
matrix. Here pictures are continued around (circular padding), so that the map falls apart into one
small matrix for each frequency (Sedghi, Gupta, Long 2019, 1805.10408), whose largest singular value
is the norm exactly. Two ways lead to it:

* In training one round of the power method on the convolution itself, at the size of the pictures
  that it is given, follows the norm from step to step (Gouk et al. 2021, 1804.04368; Behrmann et
  al. 2019, 1811.00995). It comes from below, so the bound may be passed by as much as it lags.
* In evaluation the norm is computed over all frequencies, in float64, when the weights have changed
  since it last was. So there the bound holds, and no buffer is written.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# What rounding the scaled weights to float32 may add to a norm, as a share of it.
_ROUNDING = 1e-6
# Rounds of the power method at the beginning, from a random picture.
_WARM_UP = 30
# Numbers of the matrices of all frequencies that are held at once.
_HELD = 2**22


class BoundedConvolution(nn.Conv2d):
    """A convolution around the edges, ``(N, inputs, H, W)`` to ``(N, outputs, H, W)``, whose norm
    is at most ``bound`` for pictures of one size.

    Its weight is scaled down where it is longer, as the module's mode says.
    """

    direction: Tensor
    """``(1, inputs, H, W)``, the picture of length 1 that the power method has come to."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, size: tuple[int, int], bound: float
    ) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.size, self.bound = size, bound
        drawn = torch.randn(1, inputs, *size, device=self.weight.device, dtype=self.weight.dtype)
        self.register_buffer("direction", _unit(drawn))
        self._known: tuple[Tensor, float] | None = None
        with torch.no_grad():
            for _ in range(_WARM_UP):
                self._advance()

    def forward(self, images: Tensor) -> Tensor:
        """The convolution with the scaled weight."""
        if self.training:
            with torch.no_grad():
                out = self._advance()
            # A copy, since another pass may go on before this one's gradient is taken.
            reached = (out * self._around(self.direction.clone(), self.weight)).sum()
            scale: Tensor | float = (self.bound / reached).clamp(max=1)
        else:
            scale = self._scale()
        return self._around(images, self.weight * scale, self.bias)

    def norm(self) -> float:
        """The norm of the scaled map in evaluation, at most ``bound``: the largest over all
        frequencies, with what rounding may add.
        """
        return self._scale() * self._weight_norm()

    def _scale(self) -> float:
        return min(1.0, self.bound / self._weight_norm())

    def _weight_norm(self) -> float:
        """Of the weight as it is; computed anew where that has changed, in whatever way."""
        weight, known = self.weight.detach(), self._known
        if known is not None:
            seen, norm = known
            alike = seen.dtype == weight.dtype and seen.device == weight.device
            if alike and torch.equal(seen, weight):
                return norm
        norm = exact_norm(weight, self.size) * (1 + _ROUNDING)
        self._known = weight.clone(), norm
        return norm

    def _advance(self) -> Tensor:
        """One round of the power method: the direction, and what becomes of it at length 1."""
        out = _unit(self._around(self.direction, self.weight))
        adjoint = self.weight.flip(2, 3).transpose(0, 1)
        self.direction.copy_(_unit(self._around(out, adjoint)))
        return out

    def _around(self, images: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rows, columns = (side // 2 for side in weight.shape[2:])
        if rows or columns:
            images = F.pad(images, (columns, columns, rows, rows), mode="circular")
        found: Tensor = F.conv2d(images, weight, bias)
        return found


def exact_norm(weight: Tensor, size: tuple[int, int]) -> float:
    """The norm of the circular convolution with ``(outputs, inputs, h, w)``, ``h`` and ``w`` odd,
    on pictures of ``size`` ``(H, W)``; 0 for no weight.
    """
    kernel = weight.detach().cpu().double()
    outputs, inputs, *sides = kernel.shape
    flat = kernel.flatten(2).permute(2, 0, 1).flatten(1)
    # Frequencies of opposite sign have conjugate matrices of the same norm.
    places = [
        torch.arange(many, device="cpu").double() / side
        for many, side in zip((size[0], size[1] // 2 + 1), size, strict=True)
    ]
    if max(sides) == 1:  # every frequency has the same matrix
        places = [place[:1] for place in places]
    frequencies = torch.cartesian_prod(*places)
    offsets = [torch.arange(side, device="cpu") - side // 2 for side in sides]
    taps = torch.cartesian_prod(*offsets).double()
    largest = 0.0
    for chosen in frequencies.split(max(1, _HELD // (outputs * inputs))):
        angles = -math.tau * chosen @ taps.T
        turns = torch.polar(torch.ones_like(angles), angles)
        matrices = (turns @ flat.to(turns)).view(-1, outputs, inputs)
        # Either product has the largest eigenvalue; the smaller one costs less.
        other = matrices.mH
        products = matrices @ other if outputs <= inputs else other @ matrices
        largest = max(largest, float(torch.linalg.eigvalsh(products)[:, -1].max()))
    return math.sqrt(max(0.0, largest))


def _unit(picture: Tensor) -> Tensor:
    length: Tensor = picture.norm()
    return picture / length.clamp(min=torch.finfo(picture.dtype).tiny)
