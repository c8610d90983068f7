"""Where the pictures of a set come from: arrays in memory, or files and bytes read when asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fluoroscope.errors import InvalidImagesError, UnknownDataError
from fluoroscope.files import looking_up as looking_up
from fluoroscope.pictures.checks import check_images
from fluoroscope.pictures.read import picture_suffixes, read_picture

Picture = str | Path | bytes | Image.Image


class Source(Protocol):
    """Pictures by position, decoded one at a time."""

    def __len__(self) -> int: ...

    def image(self, position: int, channels: int) -> Tensor:
        """One picture ``(C, H, W)`` in ``[0, 1]``."""

    def label(self, position: int) -> int | None:
        """Its class, where the source knows it."""

    def name(self, position: int) -> str:
        """What messages and results call it."""


class ArraySource:
    """Images already in memory, ``(N, C, H, W)``."""

    def __init__(self, images: Tensor, name: str, labels: Tensor | None = None) -> None:
        self._images = images
        self._name = name
        self._labels = labels

    def __len__(self) -> int:
        return len(self._images)

    def image(self, position: int, channels: int) -> Tensor:
        image = self._images[position]
        if len(image) != channels and len(image) != 1:
            raise InvalidImagesError(
                f"images have {len(image)} channels; expected {channels}, or 1 for grey"
            )
        return image.expand(channels, -1, -1).clone()

    def label(self, position: int) -> int | None:
        return None if self._labels is None else int(self._labels[position])

    def name(self, position: int) -> str:
        return f"{self._name}:{position}"


class PictureSource:
    """Picture files, encoded bytes or Pillow images."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = [Path(one) if isinstance(one, str) else one for one in pictures]

    def __len__(self) -> int:
        return len(self._pictures)

    def image(self, position: int, channels: int) -> Tensor:
        return read_picture(self._pictures[position], channels, name=self.name(position))

    def label(self, position: int) -> None:
        return None

    def name(self, position: int) -> str:
        picture = self._pictures[position]
        return str(picture) if isinstance(picture, Path) else f"picture {position}"


def array_source(array: Tensor | NDArray[np.generic], channels: int) -> ArraySource:
    """One image or a batch, channels first or last, 8-bit or floats in ``[0, 1]``.

    Raises:
        InvalidImagesError: wrong shape, channels, dtype or range, or NaN.
    """
    images = as_tensor(array)
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


def folder_source(folder: Path, name: str) -> PictureSource | None:
    """The pictures of a plain folder in the order of their names; ``None`` where it holds folders
    or tables, which say more about the pictures than their names do.

    Raises:
        UnknownDataError: the folder is empty.
    """
    visible = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if not visible:
        raise UnknownDataError(f"{name} is empty; expected pictures, class folders or Parquet")
    described = {"metadata.csv", "metadata.jsonl", "metadata.parquet"}
    if any(entry.is_dir() or entry.name in described for entry in visible):
        return None
    pictures = [entry for entry in visible if entry.suffix.lower() in picture_suffixes()]
    return PictureSource(pictures) if pictures else None
