"""What stands in the place of removed pixels: black, the mean, a blur, a picture, or neighbours.

No replacement is neutral: a black patch is an edge to a network. So each metric says which it uses,
and takes another by ``replace``.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fluoroscope.attribution.baselines import NAMED, Given, as_baseline
from fluoroscope.attribution.metrics.linear import noisy_linear
from fluoroscope.attribution.metrics.purposes import Purpose
from fluoroscope.attribution.metrics.setting import Setting
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.wording import did_you_mean
from fluoroscope.pictures.gaussian import gaussian

Replace = Given
"""``blur``, the picture under RISE's small blur; ``linear``, made of what is left around; or a
baseline: ``black``, ``mean`` of each channel, another name, a number, or a picture."""
Replacement = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Rows ``(n,)`` of a setting, what is removed ``(n, H, W)``, the numbers of the draws ``(n,)``:
pictures ``(n, C, H, W)``."""


def replacement(setting: Setting, replace: Replace, *, noise: float = 0.01) -> Replacement:
    """How removed pixels of these pictures are replaced; ``noise`` is that of ``linear``.

    Raises:
        InvalidParameterError: no such way, or a picture that does not fit.
    """
    if isinstance(replace, str) and replace == "linear":
        keys = setting.keys(Purpose.REPLACING)
        return lambda rows, removed, draws: noisy_linear(
            setting.images[rows], removed, keys[rows], draws, noise
        )
    instead = _instead(setting, replace)
    return lambda rows, removed, _: torch.where(
        removed[:, None], instead[rows], setting.images[rows]
    )


def blurred(images: Tensor) -> Tensor:
    """Images under RISE's blur: a Gaussian of 5 pixels, cut off to a kernel of 11."""
    return gaussian(images, 5.0, truncate=1.0)


def _instead(setting: Setting, replace: Replace) -> Tensor:
    """What comes instead of the setting's pictures, ``(N, C, H, W)``."""
    if isinstance(replace, str):
        if replace == "blur":
            return blurred(setting.images)
        ways = ("linear", *NAMED)
        if replace not in ways:
            raise InvalidParameterError(
                f"replace is {replace!r}; {did_you_mean(replace, ways)}expected one of "
                f"{', '.join(ways)}, a number in [0, 1] or a picture"
            )
    found = as_baseline(replace, "replace")
    if found.is_set:
        raise InvalidParameterError(
            f"replace is a set of {found.count} pictures; expected one, or "
            "fluoroscope.attribution.baselines.one_each(pictures)"
        )
    found.check(setting.images)
    return found.of(setting.samples)
