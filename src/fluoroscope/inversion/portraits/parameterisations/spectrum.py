"""Half a spectrum, as ``rfft2`` gives it, and what in it is there twice.

A real picture's spectrum is its own mirror: ``F(-k)`` is the conjugate of ``F(k)``. An ``rfft2``
leaves out the half that follows, but in its column 0, and in the last one of an even width, ``k``
and ``-k`` both stand. An inverse transform silently averages the two; here they are made to agree.
"""

import torch
from torch import Tensor


def frequencies(height: int, width: int, device: torch.device) -> Tensor:
    """Cycles per pixel at each place of an ``rfft2``, ``(H, W // 2 + 1)`` float64."""
    down = torch.fft.fftfreq(height, dtype=torch.float64, device=device)
    across = torch.fft.rfftfreq(width, dtype=torch.float64, device=device)
    return torch.hypot(down[:, None], across[None])


def twice(width: int) -> list[int]:
    """The columns in which ``k`` and ``-k`` both stand."""
    return [0, width // 2] if width % 2 == 0 else [0]


def opposite(half: Tensor) -> Tensor:
    """For each row ``k`` of columns ``(..., H, c)`` what stands at ``-k``."""
    return half.flip(-2).roll(1, -2)


def lower(height: int, device: torch.device) -> Tensor:
    """``(H, 1)``, whether a row is the second of its pair."""
    return (torch.arange(height, device=device) > height // 2)[:, None]


def alone(height: int, device: torch.device) -> Tensor:
    """``(H, 1)``, whether a row of these columns is its own opposite, so that it is real."""
    rows = torch.arange(height, device=device)
    return (rows == (height - rows) % height)[:, None]


def with_columns(half: Tensor, width: int, columns: Tensor) -> Tensor:
    """Half a spectrum in which the columns that :func:`twice` names are replaced."""
    at = twice(width)
    if len(at) == 1:
        return torch.cat([columns, half[..., 1:]], -1)
    return torch.cat([columns[..., :1], half[..., 1:-1], columns[..., 1:]], -1)


def power_law(height: int, width: int, decay: float, device: torch.device) -> Tensor:
    """``f ** -decay``, where no ``f`` is below that of the picture's longer side."""
    lowest = 1 / max(height, width)
    return frequencies(height, width, device).clamp(min=lowest) ** -decay


def resized(magnitude: Tensor, height: int, width: int, own: tuple[int, int]) -> Tensor:
    """Magnitudes ``(C, h, w // 2 + 1)`` of pictures of another size, ``own``: of cycles per pixel.

    Between frequencies they are interpolated; orthonormal magnitudes do not grow with the size.
    But the first, that of the picture's own mean, does: it is scaled so that the mean stays.
    """
    device = magnitude.device
    down = torch.fft.fftfreq(height, dtype=torch.float64, device=device)
    across = torch.fft.rfftfreq(width, dtype=torch.float64, device=device)
    rows = _between(magnitude.double(), down * own[0], -2, wraps=True)
    found = _between(rows, across * own[1], -1, wraps=False)
    found[..., 0, 0] *= (height * width / (own[0] * own[1])) ** 0.5
    return found


def _between(values: Tensor, at: Tensor, dim: int, *, wraps: bool) -> Tensor:
    """Linearly interpolated values at places of one axis."""
    size = values.shape[dim]
    first = at.floor()
    share = (at - first).view(-1, *[1] * (-dim - 1))
    places = first.long(), first.long() + 1
    low, high = (p % size if wraps else p.clamp(0, size - 1) for p in places)
    return values.index_select(dim, low) * (1 - share) + values.index_select(dim, high) * share
