"""Maps at the door: what is given for ``N`` pictures, as numbers that can be ranked and added."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.engine.vectors import wide
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import count

Maps = Tensor | NDArray[Any]
"""Signed relevances ``(N, C, H, W)``, ``(N, 1, H, W)`` or ``(N, H, W)``, of any source."""


def as_maps(maps: Maps, images: Tensor | None = None, name: str = "maps") -> Tensor:
    """Maps as a detached floating tensor ``(N, C or 1, H, W)``, on the images' device.

    Also what holds them under ``maps``, such as an ``Attribution``.

    Raises:
        InvalidParameterError: they do not fit the images, or are not finite.
    """
    given = getattr(maps, "maps", maps)
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        given = torch.from_numpy(np.ascontiguousarray(given))
    if not isinstance(given, Tensor) or given.is_complex():
        kind = given.dtype if isinstance(given, Tensor | np.ndarray) else type(given).__name__
        raise InvalidParameterError(
            f"{name} are {kind}; expected a tensor or array of numbers (N, C, H, W) or (N, H, W)"
        )
    found = given.detach()
    if found.dim() == 3:
        found = found.unsqueeze(1)
    if found.dim() != 4 or not found.numel():
        raise InvalidParameterError(
            f"{name} have shape {tuple(given.shape)}; expected (N, C, H, W), (N, 1, H, W) or "
            "(N, H, W)"
        )
    if images is not None:
        _check_fit(found, images, name, tuple(given.shape))
        found = found.to(images.device)
    found = found.to(torch.promote_types(found.dtype, torch.float32))
    bad = int((~found.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise InvalidParameterError(
            f"{name} hold NaN or infinity in {bad} of {count(len(found), 'map')}; expected finite "
            "numbers: leave those pictures out, or mend the method"
        )
    return found


def _check_fit(maps: Tensor, images: Tensor, name: str, given: tuple[int, ...]) -> None:
    number, channels, *size = images.shape
    fits = len(maps) == number and list(maps.shape[2:]) == size and maps.shape[1] in (1, channels)
    if not fits:
        raise InvalidParameterError(
            f"{name} have shape {given}; expected one for each picture and of its size: "
            f"{(number, channels, *size)}, {(number, 1, *size)} or {(number, *size)}"
        )


def pixels(maps: Tensor) -> Tensor:
    """Maps ``(N, C, H, W)`` as one signed number for each pixel: channels added, ``(N, H * W)``
    in float64.
    """
    return maps.sum(1, dtype=wide(maps)).flatten(1)
