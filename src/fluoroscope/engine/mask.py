"""A part of the picture: where an attack may change it."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import count as counted

Mask = Tensor | NDArray[Any] | Sequence[Any]
"""1 where pixels may change, else 0: ``(H, W)``, ``(1 or C, H, W)``, or one for each picture."""


def as_mask(mask: Mask, images: Tensor) -> Tensor:
    """Where each of the images ``(N, C, H, W)`` may change, ``(N, 1 or C, H, W)`` booleans.

    Raises:
        InvalidParameterError: another shape, other values than 0 and 1, or a picture without a 1.
    """
    count, channels, height, width = images.shape
    try:
        given = torch.as_tensor(mask).to(images.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidParameterError(
            f"mask is a {type(mask).__name__}; expected a tensor of zeros and ones"
        ) from error
    shape = tuple(given.shape)
    if given.dim() == 2:
        given = given[None, None]
    elif given.dim() == 3:
        given = given[None] if len(given) in (1, channels) else given[:, None]
    if not (
        given.dim() == 4
        and given.shape[0] in (1, count)
        and given.shape[1] in (1, channels)
        and given.shape[2:] == (height, width)
    ):
        raise InvalidParameterError(
            f"mask has shape {shape}; expected ({height}, {width}), with 1 or {channels} channels "
            f"before, or one such for each of the {counted(count, 'image')}"
        )
    found = given == 1
    if not bool((found | (given == 0)).all()):
        raise InvalidParameterError(
            "mask has other values than 0 and 1; expected 1 where pixels may change: mask > 0.5"
        )
    empty = int((~found.flatten(1).any(1)).sum())
    if empty:
        raise InvalidParameterError(
            f"mask is 0 everywhere for {counted(empty if len(found) > 1 else count, 'image')}; "
            "expected 1 where pixels may change"
        )
    return found.expand(count, -1, -1, -1)
