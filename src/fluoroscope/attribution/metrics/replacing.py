"""What stands in the place of removed pixels: black, the mean, a blur, a picture, or neighbours.

No replacement is neutral: a black patch is an edge to a network. So each metric says which it uses,
and takes another by ``replace``.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from fluoroscope.attribution.metrics.linear import noisy_linear
from fluoroscope.attribution.metrics.setting import Setting
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.wording import did_you_mean

Plain = Literal["black", "mean", "blur"]
Replace = Literal["black", "mean", "blur", "linear"] | Tensor
"""``black``; the ``mean`` of each channel of the picture itself; the picture under a ``blur``;
``linear``, made of what is left around them; or a picture ``(C, H, W)``, one for each, or a number
for each channel ``(C, 1, 1)``."""
Replacement = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Rows ``(n,)`` of a setting, what is removed ``(n, H, W)``, the numbers of the draws ``(n,)``:
pictures ``(n, C, H, W)``."""

# RISE's blur: a Gaussian of 5 pixels, cut off to a kernel of 11.
_SIGMA, _REACH = 5.0, 5
# What is drawn here is drawn for nothing else.
_PURPOSE = 101


def replacement(setting: Setting, replace: Replace, *, noise: float = 0.01) -> Replacement:
    """How removed pixels of these pictures are replaced; ``noise`` is that of ``linear``.

    Raises:
        InvalidParameterError: no such way.
    """
    if isinstance(replace, str) and replace == "linear":
        keys = setting.keys(_PURPOSE)
        return lambda rows, removed, draws: noisy_linear(
            setting.images[rows], removed, keys[rows], draws, noise
        )
    instead = background(setting.images, replace)
    return lambda rows, removed, _: torch.where(
        removed[:, None], instead[rows], setting.images[rows]
    )


def background(images: Tensor, replace: Replace, name: str = "replace") -> Tensor:
    """What is behind the images ``(N, C, H, W)``: as many of their shape.

    Raises:
        InvalidParameterError: no such way, or a picture that does not fit.
    """
    if isinstance(replace, Tensor):
        return _picture(images, replace, name)
    if replace == "black":
        return torch.zeros_like(images)
    if replace == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images)
    if replace == "blur":
        return blurred(images)
    ways = get_args(get_args(Replace)[0])
    raise InvalidParameterError(
        f"{name} is {replace!r}; {did_you_mean(str(replace), ways)}expected one of "
        f"{', '.join(ways)}, or a picture"
    )


def blurred(images: Tensor) -> Tensor:
    """Images ``(N, C, H, W)`` under RISE's blur; their border goes on past the edge."""
    steps = torch.arange(-_REACH, _REACH + 1, dtype=images.dtype, device=images.device)
    weights = (-0.5 * (steps / _SIGMA) ** 2).exp()
    weights = weights / weights.sum()
    flat = images.flatten(0, 1)[:, None]
    wide = pad(flat, (_REACH,) * 4, mode="replicate")
    rows = conv2d(wide, weights.view(1, 1, 1, -1))
    return conv2d(rows, weights.view(1, 1, -1, 1)).view_as(images)


def _picture(images: Tensor, given: Tensor, name: str) -> Tensor:
    try:
        made = given.detach().to(images).expand_as(images)
    except RuntimeError:
        raise InvalidParameterError(
            f"{name} has shape {tuple(given.shape)}; expected a picture of shape "
            f"{tuple(images.shape[1:])}, or one for each: {tuple(images.shape)}"
        ) from None
    low, high = (bound.item() for bound in torch.aminmax(made))
    if not (low >= 0 and high <= 1):
        raise InvalidParameterError(
            f"{name} holds values from {low:.6g} to {high:.6g}; expected pixels in [0, 1]"
        )
    return made
