"""What pictures a module takes, read from its first layer where nobody stated it."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fluoroscope.models.frozen import frozen
from fluoroscope.process import random_state_lock

# Networks see so many channels at most before their layers make more of them.
_MOST_CHANNELS = 16
# Shorter vectors are no flattened pictures.
_SHORTEST = 64


def channels_of(module: nn.Module) -> int | None:
    """The channels of the first convolution; ``None`` where there is none.

    Layers may be listed in another order than they are used in. A first one that takes many
    channels is passed over where another takes few.
    """
    found = [weight.shape[1] * groups for weight, groups in _convolutions(module)]
    if not found:
        return None
    return found[0] if found[0] <= _MOST_CHANNELS or min(found) > _MOST_CHANNELS else min(found)


def stated_shape(module: nn.Module) -> tuple[int, int, int] | None:
    """Channels, height and width of the only pictures that a module takes, where it says so: by an
    attribute ``picture_shape``.
    """
    stated = getattr(module, "picture_shape", None)
    if type(stated) is tuple and len(stated) == 3 and all(type(one) is int for one in stated):
        return stated
    return None


def flattened_shape(module: nn.Module, channels: int | None) -> tuple[int, int] | None:
    """Channels and side of the square pictures that a network without convolutions flattens.

    So many pixels that it takes no others; ``None`` where that cannot be told. The number of pixels
    of a square times 1 is never that of another times 3.
    """
    first = next((part for part in module.modules() if isinstance(part, nn.Linear)), None)
    if first is None or first.in_features < _SHORTEST:
        return None
    for count in (channels,) if channels is not None else (1, 3):
        side = math.isqrt(first.in_features // count)
        if count * side**2 == first.in_features:
            takes = [_takes(module, first.weight, count, size) for size in (side, side + 1)]
            return (count, side) if takes == [True, False] else None
    return None


def _convolutions(module: nn.Module) -> Iterator[tuple[Tensor, int]]:
    for part in module.modules():
        if isinstance(part, nn.Conv2d) or getattr(part, "original_name", "") == "Conv2d":
            weight = getattr(part, "weight", None)
            if isinstance(weight, Tensor) and weight.dim() == 4:
                yield weight, getattr(part, "groups", 1)


def _takes(module: nn.Module, weight: Tensor, channels: int, side: int) -> bool:
    try:
        with random_state_lock, frozen(module), torch.random.fork_rng([]), torch.no_grad():
            module(weight.new_zeros(1, channels, side, side))
    # Whatever the user's own code raises.
    except Exception:
        return False
    return True
