"""What a module's answer means: from what it returned to logits ``(N, classes)``."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fluoroscope.errors import InvalidParameterError, ModelOutputError
from fluoroscope.words import count as counted

Outputs = Literal["logits", "logit", "probabilities", "log-probabilities"]
"""``logit`` is one number for each picture, above 0 for the second of two classes."""

# Probabilities in 16 bits add up to 1 so far.
_SUM = 0.05
_WRAP = "wrap the module in one that returns its logits tensor"


class OtherRowsError(ModelOutputError):
    """An answer with several rows, but not one for each image: as of a fixed batch size."""


def check_outputs(outputs: Outputs) -> Outputs:
    """What the module gives out, if it is known.

    Raises:
        InvalidParameterError: it is not.
    """
    if outputs not in get_args(Outputs):
        raise InvalidParameterError(
            f"outputs is {outputs!r}; expected {', '.join(map(repr, get_args(Outputs)))}"
        )
    return outputs


def logits_of(output: Any, outputs: Outputs, count: int, name: str) -> Tensor:
    """The logits ``(count, classes)`` in what a module returned, differentiable in it.

    Of probabilities the logarithm, whose softmax they are; of one logit ``z`` those of two classes,
    ``(-z/2, z/2)``, so that the gradient of each says what speaks for it. In float32 or wider.

    Raises:
        ModelOutputError: there are none, or none of the kind that was stated.
    """
    rows = _rows(_tensor(output, name), count, name)
    if outputs == "logit":
        if rows.shape[1] != 1:
            raise ModelOutputError(
                f"{name} returned {rows.shape[1]} numbers for each image, and outputs is 'logit'; "
                "expected one number, whose sign tells two classes: state outputs= otherwise, or "
                "leave it out"
            )
        half = _wide(rows) / 2
        logits = torch.cat([-half, half], 1)
    elif outputs == "logits" and rows.shape[1] == 1:
        raise ModelOutputError(
            f"{name} returned one number for each image, {rows.dtype} of shape "
            f"{tuple(_tensor(output, name).shape)} for {counted(count, 'image')}; expected logits "
            f"({count}, classes): state outputs='logit' if its sign tells two classes, or {_WRAP}"
        )
    elif outputs == "probabilities":
        _check_sums(rows, outputs, name)
        shares = torch.cat([1 - rows, rows], 1) if rows.shape[1] == 1 else rows
        # The slope of the logarithm may not be too large for the type that it goes back in.
        least = max(4 / torch.finfo(rows.dtype).max, torch.finfo(rows.dtype).tiny)
        logits = _wide(shares).clamp(min=least).log()
    elif outputs == "log-probabilities":
        _check_sums(rows.detach().exp(), outputs, name)
        logits = _wide(rows)
        if rows.shape[1] == 1:
            tiny = torch.finfo(logits.dtype).tiny
            logits = torch.cat([(-logits.expm1()).clamp(min=tiny).log(), logits], 1)
    else:
        logits = rows
    return _wide(logits)


def _tensor(output: Any, name: str) -> Tensor:
    found = output
    if isinstance(output, Mapping):
        found = output.get("logits")
    elif not isinstance(output, Tensor):
        found = getattr(output, "logits", None)
    if not isinstance(found, Tensor):
        keys = f" with keys {list(output)}" if isinstance(output, Mapping) else ""
        raise ModelOutputError(
            f"{name} returned a {type(output).__name__}{keys}; expected a tensor of logits "
            f"(N, classes), or one under 'logits'; {_WRAP}"
        )
    return found


def _rows(found: Tensor, count: int, name: str) -> Tensor:
    """A row for each image; dimensions of 1 behind the classes are left out."""
    rows = found
    if count == 1 and (rows.dim() == 0 or (rows.dim() == 1 and len(rows) > 1)):
        rows = rows.unsqueeze(0)  # the batch of one was squeezed away
    if rows.dim() == 1:
        rows = rows.unsqueeze(1)
    elif rows.dim() > 2 and rows.shape[2:].numel() == 1:
        rows = rows.flatten(1)
    if rows.dim() != 2 or len(rows) != count or not rows.is_floating_point():
        other = rows.dim() > 0 and len(rows) not in (1, count)
        raise (OtherRowsError if other else ModelOutputError)(
            f"{name} returned {found.dtype} of shape {tuple(found.shape)} for "
            f"{counted(count, 'image')}; expected floating-point logits ({count}, classes); {_WRAP}"
        )
    return rows


def _check_sums(shares: Tensor, outputs: Outputs, name: str) -> None:
    """Refuse what are no probabilities; a check that costs next to nothing beside a pass."""
    given = _wide(shares.detach())
    low, high = (bound.item() for bound in torch.aminmax(given))
    sums = given.sum(1) if given.shape[1] > 1 else torch.ones_like(given)
    if low < -_SUM or high > 1 + _SUM or bool(((sums - 1).abs() > _SUM).any()):
        raise ModelOutputError(
            f"{name} returned numbers from {low:.6g} to {high:.6g} that add up to "
            f"{sums.min().item():.6g} to {sums.max().item():.6g} for an image, taken as the "
            f"{outputs} that were stated; expected such that add up to 1: state outputs= otherwise"
        )


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
