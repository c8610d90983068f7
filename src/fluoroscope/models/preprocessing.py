"""What a network expects of a picture: size, channels and scale, as its source states it.

Geometry (resize, crop) and scale (mean and standard deviation) are kept apart. An image that
already has the network's input size skips the geometry, so that an attack or a gradient moves the
very pixels the network sees; every other size goes through it.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import count

Interpolation = Literal["nearest", "bilinear", "bicubic"]
ChannelOrder = Literal["rgb", "bgr"]
Size = int | tuple[int, int]

# Means and deviations of pixels in [0, 1] are below 1. A network that wants pixels on another scale
# may have some that are not, as far as [-1, 1] or so; what is larger was meant for 0 to 255.
_LARGEST = 4.0
# Pillow's nearest neighbour, which sources mean by the word, is PyTorch's "nearest-exact".
_MODES = {
    "nearest": "nearest-exact",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
}


@dataclass(frozen=True)
class Preprocessing:
    """From an image in ``[0, 1]`` to the tensor a module wants.

    ``input_size`` is ``(height, width)``, or ``None`` where the network takes any size. ``resize``
    is what a picture is brought to before ``input_size`` is cut out of its centre: the length of
    its shorter side, or a ``(height, width)`` to stretch it to; ``None`` stretches it straight to
    ``input_size``. ``half_pixel`` says which way the centre crop leans where the margin is odd:
    torchvision and timm round the half to the even pixel, transformers rounds it down. ``mean`` and
    ``std`` have one number a channel, in units of the ``[0, 1]`` scale. ``stated_by`` names the
    configuration all this was taken from. ``flattened`` says that the size was read from a network
    that sees a row of numbers: images of as many are left as they are.

    Raises:
        InvalidParameterError: numbers that contradict each other or make no sense.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    input_size: tuple[int, int] | None = None
    channels: int = 3
    channel_order: ChannelOrder = "rgb"
    resize: Size | None = None
    interpolation: Interpolation = "bilinear"
    half_pixel: Literal["even", "down"] = "even"
    stated_by: str = "the caller"
    flattened: bool = False

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise InvalidParameterError(f"channels is {self.channels}; expected 1 or more")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and not (
                len(values) == self.channels and all(map(math.isfinite, values))
            ):
                raise InvalidParameterError(
                    f"{name} is {list(values)}; expected one finite number for each of the "
                    f"{count(self.channels, 'channel')}"
                )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and max(map(abs, values)) > _LARGEST:
                divided = [round(value / 255, 4) for value in values]
                raise InvalidParameterError(
                    f"{name} is {list(values)}; expected numbers on the scale of pixels from 0 to "
                    f"1: if these are for 0 to 255, {divided}"
                )
        if self.std is not None and min(self.std) <= 0:
            raise InvalidParameterError(f"std is {list(self.std)}; expected numbers above 0")
        if self.channel_order not in get_args(ChannelOrder):
            raise InvalidParameterError(
                f"channel_order is {self.channel_order!r}; expected 'rgb' or 'bgr'"
            )
        if self.interpolation not in _MODES:
            raise InvalidParameterError(
                f"interpolation is {self.interpolation!r}; expected one of {', '.join(_MODES)}"
            )
        self._check_sizes()

    def _check_sizes(self) -> None:
        if self.input_size is not None and (len(self.input_size) != 2 or min(self.input_size) < 1):
            raise InvalidParameterError(
                f"input_size is {self.input_size}; expected (height, width) in pixels"
            )
        if self.resize is None:
            return
        if self.input_size is None:
            raise InvalidParameterError(
                f"resize is {self.resize} without an input_size; expected both, or neither"
            )
        if isinstance(self.resize, int):
            large_enough = self.resize >= min(self.input_size)
        else:
            large_enough = len(self.resize) == 2 and all(
                side >= wanted for side, wanted in zip(self.resize, self.input_size, strict=True)
            )
        if not large_enough:
            raise InvalidParameterError(
                f"resize is {self.resize}; expected at least the input size {self.input_size}, "
                "which is cropped out of it"
            )

    def overridden(self, **changes: Any) -> "Preprocessing":
        """A copy in which every argument that is not ``None`` replaces what the source stated.

        A new input size is cut out of a resize of the same proportion, unless that is given too.
        """
        changes = {name: value for name, value in changes.items() if value is not None}
        if not changes:
            return self
        if "input_size" in changes and "resize" not in changes:
            changes["resize"] = self._resize_for(changes["input_size"])
        flattened = self.flattened and "input_size" not in changes
        stated_by = f"{self.stated_by}, changed by the caller"
        return replace(self, **changes, flattened=flattened, stated_by=stated_by)

    def _resize_for(self, size: tuple[int, int]) -> Size | None:
        if self.resize is None or self.input_size is None:
            return None
        if isinstance(self.resize, int):
            return round(self.resize * min(size) / min(self.input_size))
        height, width = (
            round(side * new / old)
            for side, new, old in zip(self.resize, size, self.input_size, strict=True)
        )
        return height, width

    def fit(self, pictures: Tensor) -> Tensor:
        """Bring ``(..., H, W)`` pictures to the input size, as the source does with 8-bit files.

        What was resized is rounded to the 256 levels of a picture file, so that the network sees
        what it was trained on, and a result saved as PNG starts from the very same pixels.
        """
        fitted = self.resample(pictures)
        return fitted if fitted is pictures else torch.round(fitted * 255) / 255

    def resample(self, images: Tensor) -> Tensor:
        """Resize ``(..., H, W)`` images and crop their centre to the input size; differentiable."""
        if self.input_size is None or self._is_fitted(*images.shape[-2:]):
            return images
        resized = _resize(images, self._resized(*images.shape[-2:]), _MODES[self.interpolation])
        # Bicubic interpolation overshoots the range it was given, the others by float noise.
        resized = resized.clamp(0, 1)
        return _crop(resized, *self._margins(*resized.shape[-2:]), *self.input_size)

    def seen(self, height: int, width: int) -> tuple[int, int]:
        """The size of what the network sees of pictures of that size."""
        if self.input_size is None or self._is_fitted(height, width):
            return height, width
        return self.input_size

    def unfit(self, maps: Tensor, height: int, width: int) -> Tensor:
        """Maps ``(N, K, h, w)`` over what the network sees, laid over pictures of that size.

        The way back of :meth:`resample`: what was cropped away is 0.
        """
        if self.input_size is None or self._is_fitted(height, width):
            return maps
        size = self._resized(height, width)
        top, left = self._margins(*size)
        laid = _crop(maps, -top, -left, *size)
        return F.interpolate(laid, (height, width), mode="bilinear", align_corners=False)

    def _is_fitted(self, height: int, width: int) -> bool:
        """Whether the network takes pictures of that size as they are."""
        if self.input_size is None or (height, width) == tuple(self.input_size):
            return True
        return self.flattened and height * width == math.prod(self.input_size)

    def _margins(self, height: int, width: int) -> tuple[int, int]:
        """Where in a resized picture the crop begins, from the top and from the left."""
        assert self.input_size is not None
        return self._margin(height - self.input_size[0]), self._margin(width - self.input_size[1])

    def _resized(self, height: int, width: int) -> list[int]:
        if self.resize is None:
            assert self.input_size is not None
            return list(self.input_size)
        if isinstance(self.resize, tuple):
            return list(self.resize)
        # In whole numbers: a scale such as 7 / 49 would lose a pixel to rounding.
        shorter = min(height, width)
        return [self.resize * side // shorter for side in (height, width)]

    def _margin(self, spare: int) -> int:
        return round(spare / 2) if self.half_pixel == "even" and spare > 0 else int(spare / 2)

    def normalize(self, images: Tensor) -> Tensor:
        """Channel order, then ``(images - mean) / std``, on ``(N, C, H, W)``."""
        if self.channel_order == "bgr":
            images = images.flip(1)
        if self.mean is not None:
            images = images - _per_channel(self.mean, images)
        if self.std is not None:
            images = images / _per_channel(self.std, images)
        return images

    def denormalize(self, inputs: Tensor) -> Tensor:
        """The images ``(N, C, H, W)`` that :meth:`normalize` makes these of."""
        if self.std is not None:
            inputs = inputs * _per_channel(self.std, inputs)
        if self.mean is not None:
            inputs = inputs + _per_channel(self.mean, inputs)
        return inputs.flip(1) if self.channel_order == "bgr" else inputs

    def describe(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name != "flattened"
        }


# As torchvision's transforms do these two, without it: importing it takes as long as PyTorch.
def _resize(images: Tensor, size: list[int], mode: str) -> Tensor:
    """``(..., C, H, W)`` images at another size, smoothed first where they shrink."""
    if list(images.shape[-2:]) == size:
        return images
    smooth = mode != "nearest-exact"
    batch = images.reshape(-1, *images.shape[-3:])
    if images.dtype not in (torch.float32, torch.float64):
        batch = batch.float()
    resized = F.interpolate(
        batch, size, mode=mode, align_corners=False if smooth else None, antialias=smooth
    )
    return resized.to(images.dtype).reshape(*images.shape[:-2], *size)


def _crop(images: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """A part of ``(..., H, W)`` images, black where it reaches over their edge."""
    below, right = top + height - images.shape[-2], left + width - images.shape[-1]
    inside = images[..., max(top, 0) : top + height, max(left, 0) : left + width]
    beyond = [max(reach, 0) for reach in (-left, right, -top, below)]
    return F.pad(inside, beyond) if any(beyond) else inside


def _per_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
