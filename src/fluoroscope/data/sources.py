"""Where the pictures of a set come from: arrays in memory, or files and bytes read when asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fluoroscope.errors import InvalidImagesError, UnknownDataError
from fluoroscope.files import user_path
from fluoroscope.pictures.arrays import own_channels
from fluoroscope.pictures.checks import check_images
from fluoroscope.pictures.read import read_picture

# Of files, unless someone says otherwise.
COLOUR = 3
Picture = str | Path | bytes | Image.Image
Columns = Mapping[str, Callable[[], Sequence[Any]]]
"""What else is known of the pictures, such as the camera: of each column, what reads its values,
one for each picture in the order of the source."""


class Source(Protocol):
    """Pictures by position, decoded one at a time."""

    def __len__(self) -> int: ...

    def image(self, position: int, channels: int) -> Tensor:
        """One picture ``(C, H, W)`` in ``[0, 1]``."""

    def classes(self) -> Tensor | None:
        """The class of each ``(N,)`` int64, -1 where it is not known; without decoding any."""

    def name(self, position: int) -> str:
        """What messages and results call it."""


@dataclass(frozen=True)
class Opened:
    """What was found under a name: see the attributes of `ImageSet`."""

    source: Source
    split: str | None = None
    labels: Sequence[str] | None = None
    notes: tuple[str, ...] = ()
    why_unlabelled: str | None = None
    channels: int = COLOUR
    """What images are handed out with, unless someone says otherwise."""
    columns: Callable[[], Columns] = dict
    """What finds the columns there are, when somebody asks."""


class ArraySource:
    """Images already in memory, ``(N, C, H, W)``."""

    def __init__(self, images: Tensor, name: str, labels: Tensor | None = None) -> None:
        self.images = images
        self._name = name
        self._labels = labels

    def __len__(self) -> int:
        return self.images.shape[0]

    def image(self, position: int, channels: int) -> Tensor:
        return self.several([position], channels)[0]

    def several(self, positions: Sequence[int], channels: int) -> Tensor:
        """Pictures ``(n, C, H, W)``, all at once."""
        own = self.images.shape[1]
        if own != channels and not (own == 1 and channels == 3):
            grey = ", or 1 for grey" if channels == 3 else ""
            raise InvalidImagesError(f"images have {own} channels; expected {channels}{grey}")
        images = self.images[list(positions)]
        return images.expand(-1, channels, -1, -1).clone() if own != channels else images

    def classes(self) -> Tensor | None:
        return self._labels

    def name(self, position: int) -> str:
        return f"{self._name}:{position}"


class PictureSource:
    """Picture files, encoded bytes or Pillow images."""

    def __init__(self, pictures: Sequence[Picture], labels: Tensor | None = None) -> None:
        self._pictures = [user_path(one) if isinstance(one, str) else one for one in pictures]
        self._labels = labels

    def __len__(self) -> int:
        return len(self._pictures)

    def image(self, position: int, channels: int) -> Tensor:
        return read_picture(self._pictures[position], channels, name=self.name(position))

    def classes(self) -> Tensor | None:
        return self._labels

    def name(self, position: int) -> str:
        picture = self._pictures[position]
        return str(picture) if isinstance(picture, Path) else f"picture {position}"


def array_source(array: Tensor | NDArray[np.generic], channels: int) -> ArraySource:
    """One image or a batch, channels first or last, 8-bit or floats in ``[0, 1]``.

    Raises:
        InvalidImagesError: wrong shape, channels, dtype or range, or NaN.
    """
    images = as_tensor(array)
    if images.dim() in (3, 4) and channels not in (images.shape[-3], images.shape[-1]):
        told = own_channels(images.shape)
        if told is None and images.dim() == 4:
            told = min(images.shape[-3], images.shape[-1])
        raise InvalidImagesError(
            f"images have shape {tuple(images.shape)}; expected (N, {channels}, H, W)"
            + (f": state their number of channels, as in channels={told}" if told else "")
        )
    first = images.dim() >= 3 and images.shape[-3] == channels
    if not first and images.dim() in (3, 4) and images.shape[-1] == channels:
        images = images.movedim(-1, -3)
    if images.dtype == torch.uint8:
        images = images.to(torch.float32) / 255
    elif images.dtype in (torch.float16, torch.bfloat16):
        images = images.to(torch.float32)
    return ArraySource(check_images(images, channels), "array")


def as_tensor(array: Tensor | NDArray[np.generic]) -> Tensor:
    """The same numbers as a tensor on the CPU.

    Raises:
        InvalidImagesError: an array of another kind than numbers.
    """
    if isinstance(array, Tensor):
        return array.detach().cpu()
    try:
        # A copy: the array may be read-only or run backwards, which torch refuses.
        return torch.from_numpy(np.array(array))
    except (TypeError, ValueError) as error:
        raise InvalidImagesError(
            f"images are an array of {array.dtype}; expected 8-bit values or floats in [0, 1]"
        ) from error


def choose_split(
    wanted: str | None, available: Sequence[str], name: str, known: Mapping[str, str] | None = None
) -> str | None:
    """The part that is asked for, else ``test``, else ``validation``, else the only one.

    Args:
        wanted: ``None`` leaves the choice open.
        available: the parts; empty where there are none.
        name: how messages call the data set.
        known: other words for parts, such as ``val``.

    Raises:
        UnknownDataError: no such part, or several and none of them chosen.
    """
    if not available:
        if wanted is not None:
            raise UnknownDataError(
                f"{name} has no split {wanted!r}: it has no parts; leave the split out"
            )
        return None
    preferred = ["test", "validation"]
    if wanted is not None:
        preferred = [wanted, (known or {}).get(wanted.lower(), wanted)]
    found = next((split for split in preferred if split in available), None)
    if found is None and wanted is None and len(available) == 1:
        return available[0]
    if found is None:
        fault = f"has no split {wanted!r}" if wanted is not None else "has several splits"
        raise UnknownDataError(f"{name} {fault}; expected one of: {', '.join(available)}")
    return found
