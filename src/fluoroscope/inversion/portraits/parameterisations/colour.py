"""Colours that go together: decorrelated channels, and the matrix that makes pixels of them.

Olah, Mordvintsev and Schubert 2017: in the root of the covariance of real pictures' channels the
first column is light, the others are oppositions of colours, and far weaker.
"""

from typing import Literal

import torch
from torch import Tensor

from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.canvas import Canvas

Colour = Literal["prior", "lucid", "none"]
"""Whose matrix: that of real pictures, Lucid's own of ImageNet, or channels as they are."""

# Of Lucid 0.3.10, before it is divided by the length of its longest column.
_LUCID = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
# A colour that is this much weaker than the strongest cannot be found in pixels again.
_SINGULAR = 1e-6


def matrix(canvas: Canvas, colour: Colour) -> Tensor:
    """``(C, C)`` float64: pixels are it, times decorrelated channels.

    Raises:
        InvalidParameterError: no such matrix, or one for another number of channels.
    """
    channels = canvas.channels
    if colour == "prior":
        found = canvas.prior.colour.to(canvas.device, torch.float64)
    elif colour == "lucid":
        if channels != 3:
            raise InvalidParameterError(
                f"colour is 'lucid', a matrix of 3 channels; the network takes {channels}: "
                "expected 'prior' or 'none'"
            )
        found = torch.tensor(_LUCID, dtype=torch.float64, device=canvas.device)
        found = found / found.norm(dim=0).max()
    elif colour == "none":
        found = torch.eye(channels, dtype=torch.float64, device=canvas.device)
    else:
        raise InvalidParameterError(f"colour is {colour!r}; expected 'prior', 'lucid' or 'none'")
    return found


def coloured(channels: Tensor, by: Tensor) -> Tensor:
    """Pixels of decorrelated channels ``(n, C, H, W)``."""
    return torch.einsum("dc,nchw->ndhw", by.to(channels), channels)


def decorrelated(pixels: Tensor, by: Tensor) -> Tensor:
    """The channels that :func:`coloured` makes these pixels of, ``(n, C, H, W)`` float64.

    Raises:
        InvalidParameterError: not every colour is the matrix's.
    """
    sizes = torch.linalg.svdvals(by)
    if float(sizes[-1]) <= _SINGULAR * float(sizes[0]):
        raise InvalidParameterError(
            f"start has colours that the prior's pictures lack: they vary in "
            f"{int((sizes > _SINGULAR * sizes[0]).sum())} of {len(by)} directions; expected "
            "colour='none', or a prior of coloured pictures"
        )
    return torch.einsum("dc,nchw->ndhw", torch.linalg.inv(by), pixels.double())
