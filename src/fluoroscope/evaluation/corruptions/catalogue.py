"""The corruptions by name, the numbers behind their severities, and :func:`corrupt`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.corruptions import blur, digital, noise, weather
from fluoroscope.evaluation.corruptions.frost import Frost, as_frost
from fluoroscope.evaluation.corruptions.noise import Drawn
from fluoroscope.pictures.checks import check_images

SEVERITIES = (1, 2, 3, 4, 5)
Scale = Literal["cifar-10-c", "imagenet-c"]
# Pictures whose shorter side is below this go by CIFAR-10-C's scale.
SMALL = 64
# ImageNet-C's elastic transform is made for a side of 244, on pictures of 224.
_WIDER = 244 / 224

Numbers = tuple[float, ...]
Draw = Callable[[Tensor, tuple[int, ...]], Drawn]
"""From the samples' keys ``(N,)`` and a picture's shape ``(C, H, W)`` to what it draws."""
Change = Callable[[Tensor, Numbers, Drawn], Tensor]
"""From images ``(N, C, H, W)``, a severity's numbers and what was drawn to images, which need not
lie in ``[0, 1]``."""


def nothing(keys: Tensor, shape: tuple[int, ...]) -> Drawn:
    """What a corruption draws that has no randomness."""
    return ()


@dataclass(frozen=True)
class Corruption:
    """A change, its numbers at each severity on both scales, and what it draws."""

    kind: str
    change: Change
    imagenet: tuple[Numbers, ...]
    cifar: tuple[Numbers, ...]
    draw: Draw = nothing


def _each(*numbers: float) -> tuple[Numbers, ...]:
    return tuple((number,) for number in numbers)


def _elastic(*numbers: Numbers) -> tuple[Numbers, ...]:
    return tuple(tuple(_WIDER * number for number in three) for three in numbers)


FIFTEEN: dict[str, Corruption] = {
    "gaussian-noise": Corruption(
        "noise", noise.gaussian_noise,
        _each(0.08, 0.12, 0.18, 0.26, 0.38),
        _each(0.04, 0.06, 0.08, 0.09, 0.10),
        noise.draw_gaussian,
    ),
    "shot-noise": Corruption(
        "noise", noise.shot_noise,
        _each(60, 25, 12, 5, 3),
        _each(500, 250, 100, 75, 50),
        noise.draw_shot,
    ),
    "impulse-noise": Corruption(
        "noise", noise.impulse_noise,
        _each(0.03, 0.06, 0.09, 0.17, 0.27),
        _each(0.01, 0.02, 0.03, 0.05, 0.07),
        noise.draw_impulse,
    ),
    "defocus-blur": Corruption(
        "blur", blur.defocus_blur,
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    ),
    "glass-blur": Corruption(
        "blur", blur.glass_blur,
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        blur.draw_glass,
    ),
    "motion-blur": Corruption(
        "blur", blur.motion_blur,
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        blur.draw_motion,
    ),
    "zoom-blur": Corruption(
        "blur", blur.zoom_blur,
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    ),
    "snow": Corruption(
        "weather", weather.snow,
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        weather.draw_snow,
    ),
    "frost": Corruption(
        "weather", weather.frost,
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        weather.draw_frost,
    ),
    "fog": Corruption(
        "weather", weather.fog,
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        weather.draw_fog,
    ),
    "brightness": Corruption(
        "weather", weather.brightness,
        _each(0.1, 0.2, 0.3, 0.4, 0.5),
        _each(0.05, 0.1, 0.15, 0.2, 0.3),
    ),
    "contrast": Corruption(
        "digital", digital.contrast,
        _each(0.4, 0.3, 0.2, 0.1, 0.05),
        _each(0.75, 0.5, 0.4, 0.3, 0.15),
    ),
    "elastic-transform": Corruption(
        "digital", digital.elastic_transform,
        _elastic((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
                 (0.12, 0.01, 0.02)),
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
         (0.1, 0.03, 0.03)),
        digital.draw_elastic,
    ),
    "pixelate": Corruption(
        "digital", digital.pixelate,
        _each(0.6, 0.5, 0.4, 0.3, 0.25),
        _each(0.95, 0.9, 0.85, 0.75, 0.65),
    ),
    "jpeg": Corruption(
        "digital", digital.jpeg,
        _each(25, 18, 15, 10, 7),
        _each(80, 65, 58, 50, 40),
    ),
}  # fmt: skip
"""The corruptions of ImageNet-C and CIFAR-10-C, in the authors' order; what the numbers are stands
at each change."""

EXTRA: dict[str, Corruption] = {
    "gaussian-blur": Corruption(
        "blur", blur.gaussian_blur, _each(1, 2, 3, 4, 6), _each(0.4, 0.6, 0.7, 0.8, 1)
    ),
}
"""Of the four that the authors keep for tuning: in no mean unless it is asked for."""

CORRUPTIONS = FIFTEEN | EXTRA


def corrupt(
    images: Tensor,
    corruption: str,
    severity: int,
    *,
    scale: Scale | None = None,
    seed: int = 0,
    numbers: Tensor | None = None,
    frost: str | Path | Frost | None = None,
) -> Tensor:
    """Corrupt images ``(N, C, H, W)`` in ``[0, 1]``; what comes back is so too, in 8-bit levels.

    Args:
        images: of any one size and number of channels; for JPEG grey or colour.
        corruption: one of ``CORRUPTIONS``.
        severity: 1 to 5; 0 gives the images back as they are.
        scale: ``"cifar-10-c"`` or ``"imagenet-c"``: whose severities; by default by the size.
        seed: for everything random.
        numbers: ``(N,)``, which samples of their data set these are; by default 0 and up.
        frost: the folder of the authors' photographs of frost; by default frost is drawn.

    Raises:
        InvalidImagesError: no batch of images in range.
        InvalidParameterError: no such corruption or severity, or none for so many channels.
        UnknownDataError, PictureError: the folder of frost lacks pictures.
    """
    batch = check_images(images, images.shape[1] if images.dim() == 4 else 3)
    find(corruption)
    check_severities((severity,), lowest=0)
    check_channels(corruption, batch.shape[1])
    if severity == 0 or not len(batch):
        return batch
    [changed] = corrupted(
        batch, corruption, (severity,), scale=scale or suitable_scale(batch.shape[2:]), seed=seed,
        numbers=numbers, frost=as_frost(frost),
    )  # fmt: skip
    return changed


def corrupted(
    batch: Tensor,
    corruption: str,
    severities: Sequence[int],
    *,
    scale: Scale,
    seed: int,
    numbers: Tensor | None,
    frost: Frost | None = None,
) -> Iterator[Tensor]:
    """The images at each of these severities; what they draw is drawn once."""
    # MPS has no float64.
    images = (batch.cpu() if batch.device.type == "mps" else batch).double()
    numbers = torch.arange(len(batch), device="cpu") if numbers is None else numbers
    # Each corruption draws for itself, whichever others are asked for.
    which = list(CORRUPTIONS).index(corruption)
    keys = randomness.keys(seed, numbers.to(images.device), which)
    chosen, each = CORRUPTIONS[corruption], strengths(corruption, scale)
    if corruption == "frost" and frost is not None:
        drawn = frost.draw(keys, tuple(batch.shape[1:]), shrink=scale == "cifar-10-c")
    else:
        drawn = chosen.draw(keys, tuple(batch.shape[1:]))
    for severity in severities:
        changed = chosen.change(images, each[severity - 1], drawn).clamp(0, 1)
        # A hair off the half, where a sum of another order would tip a value that is exactly one.
        yield ((changed * 255 + (0.5 - 1e-7)).floor() / 255).to(batch)


def suitable_scale(size: Sequence[int]) -> Scale:
    """Whose severities are meant for pictures of this ``(height, width)``."""
    return "cifar-10-c" if min(size) < SMALL else "imagenet-c"


def strengths(corruption: str, scale: Scale) -> tuple[Numbers, ...]:
    """A corruption's numbers at each severity.

    Raises:
        InvalidParameterError: no such corruption or scale.
    """
    found = find(corruption)
    if scale not in get_args(Scale):
        raise InvalidParameterError(
            f"scale is {scale!r}; expected {' or '.join(map(repr, get_args(Scale)))}"
        )
    return found.cifar if scale == "cifar-10-c" else found.imagenet


def possible(channels: int) -> list[str]:
    """Those of the fifteen that there are for pictures of so many channels."""
    return [name for name in FIFTEEN if name != "jpeg" or channels in (1, 3)]


def check_channels(name: str, channels: int) -> None:
    """Refuse a corruption that is not for so many channels.

    Raises:
        InvalidParameterError: it is not.
    """
    if name == "jpeg" and channels not in (1, 3):
        raise InvalidParameterError(
            f"corruption is {name!r}, which is for pictures of 1 or 3 channels; these have "
            f"{channels}: expected some of {', '.join(possible(channels))}"
        )


def check_severities(severities: Sequence[int], lowest: int = 1) -> None:
    """Refuse what is no severity.

    Raises:
        InvalidParameterError: there is none, or not such a one.
    """
    for severity in severities:
        if type(severity) is not int or not lowest <= severity <= SEVERITIES[-1]:
            clean = " (clean)" if lowest == 0 else ""
            raise InvalidParameterError(
                f"severity is {severity!r}; expected a whole number from {lowest}{clean} to "
                f"{SEVERITIES[-1]}"
            )
    if not severities:
        raise InvalidParameterError("no severity was chosen; expected some of 1, 2, 3, 4, 5")


def find(name: str) -> Corruption:
    """The corruption of this name.

    Raises:
        InvalidParameterError: there is none.
    """
    if name not in CORRUPTIONS:
        raise InvalidParameterError(
            f"corruption is {name!r}; expected one of {', '.join(CORRUPTIONS)}"
        )
    return CORRUPTIONS[name]
