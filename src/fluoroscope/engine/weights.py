"""Whether anything was ever loaded into a network's weights, or learnt: they tell by themselves.

A layer as PyTorch makes it has weights drawn evenly between ``-1/sqrt(n)`` and ``1/sqrt(n)``, with
``n`` the numbers that each output is made of; a normalisation has factors of 1 and shifts of 0, and
of the pictures a mean of 0 and a variance of 1. No training leaves a layer of some size so.
"""

import math

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

# Weights from which random ones are told from learnt ones.
_FEWEST = 256


def untouched(module: nn.Module) -> tuple[list[str], bool]:
    """The names of large layers that are as they were made, and whether the whole network is.

    The whole is where every normalisation is as it was made, whatever the other layers were filled
    with; or where there is none, and every layer of some size is so.
    """
    names, filled = [], 0
    norms: list[bool] = []
    for name, part in module.named_modules():
        match part:
            case nn.Linear() | _ConvNd():
                if part.weight.numel() >= _FEWEST and _as_made(part.weight):
                    names.append(name or type(part).__name__)
                elif part.weight.numel() >= _FEWEST:
                    filled += 1
            case _BatchNorm() | nn.LayerNorm() | nn.GroupNorm():
                fresh = _fresh(part)
                # Of one that keeps no statistics, one alone tells little.
                weight = 2 if getattr(part, "running_mean", None) is not None else 1
                norms += [] if fresh is None else [fresh] * weight
    whole = len(norms) > 1 and all(norms) if norms else bool(names) and not filled
    return names, whole


def _as_made(weight: Tensor) -> bool:
    weight = weight.detach()
    bound = 1 / math.sqrt(weight[0].numel())
    largest = float(weight.abs().amax())
    # A transposed convolution counts the other way round, and is then left aside.
    if not 0.97 * bound < largest <= bound * (1 + 1e-6):
        return False
    deviation = float(weight.double().square().mean().sqrt())
    return abs(deviation * math.sqrt(3) / bound - 1) < 4 / math.sqrt(weight.numel())


def _fresh(norm: nn.Module) -> bool | None:
    """Whether a normalisation is as it was made; ``None`` where it has nothing that tells."""
    tensors = [
        (getattr(norm, name, None), value)
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1))
    ]
    present = [(tensor, value) for tensor, value in tensors if isinstance(tensor, Tensor)]
    if not present:
        return None
    return all(bool((tensor == value).all()) for tensor, value in present)
