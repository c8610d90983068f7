"""Pictures with other than one or three channels: ``.npy`` files, and files of several bands."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fluoroscope.errors import PictureError
from fluoroscope.pictures.checks import OTHER_NUMBERS

ARRAY_SUFFIX = ".npy"
# Of the picture formats, those whose bands or frames may be other channels.
BAND_SUFFIXES = frozenset({".tif", ".tiff"})


def read_array(path: Path, channels: int, max_pixels: int) -> Tensor:
    """One image ``(C, H, W)`` float32 in ``[0, 1]`` of a ``.npy`` file, channels first or last.

    8-bit values are divided by 255; of wider integers nobody can say what white is. Nothing is
    unpickled, and the file is mapped into memory, so that its header cannot ask for more than there
    is.

    Raises:
        PictureError: no such array.
        OSError, ValueError: what NumPy says of a damaged file.
    """
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    shape = "×".join(map(str, values.shape)) or "a single number"
    if values.ndim == 2:
        values = values[None]
    own = own_channels(values.shape) if values.ndim == 3 else None
    told = f" (channels={own} reads it as it is)" if own else ""
    if values.ndim == 3 and values.shape[0] not in (channels, 1):
        values = np.moveaxis(values, -1, 0)
    if values.ndim != 3 or not (len(values) == channels or (len(values) == 1 and channels == 3)):
        raise PictureError(
            f"{path} holds an array of {shape}; expected {channels}×height×width, or "
            f"height×width×{channels}{told}"
        )
    if not 0 < values[0].size <= max_pixels:
        raise PictureError(f"{path} holds an array of {shape}; expected 1 to {max_pixels} pixels")
    if values.dtype != np.uint8 and values.dtype.kind != "f":
        raise PictureError(f"{path} holds {values.dtype}; {OTHER_NUMBERS}")
    white = 255 if values.dtype == np.uint8 else 1
    image = torch.from_numpy(np.divide(values, white, dtype=np.float64).astype(np.float32))
    low, high = (bound.item() for bound in torch.aminmax(image))
    if not (low >= 0 and high <= 1):  # NaN fails both comparisons
        raise PictureError(
            f"{path} holds values from {low:.6g} to {high:.6g}; expected [0, 1]: divide by the "
            "largest value there can be"
        )
    return image.expand(channels, -1, -1).contiguous()


def own_channels(shape: Sequence[int]) -> int | None:
    """The channels of images ``(..., C, H, W)`` or ``(..., H, W, C)``, if the shape tells which it
    is: of colour, or with fewer channels than pixels either way, in one of the two orders only.
    """
    first, middle, last = shape[-3:]
    if 3 in (first, last):
        return 3
    found = [
        channels
        for channels, sides in ((first, (middle, last)), (last, (first, middle)))
        if 0 < channels < min(sides)
    ]
    return found[0] if len(found) == 1 else None


def read_bands(image: Image.Image, channels: int, name: str) -> Tensor:
    """One image ``(C, H, W)`` of an open picture's bands, or of its frames where each is grey.

    Raises:
        PictureError: it has another number of them.
    """
    frames = getattr(image, "n_frames", 1)
    bands = image.getbands()
    if len(bands) == channels:
        planes = [_plane(image.getchannel(band), name) for band in bands]
    elif len(bands) == 1 and frames == channels:
        planes, size = [], image.size
        for frame in range(frames):
            image.seek(frame)
            if image.size != size:
                raise PictureError(f"{name} has frames of several sizes; expected one size")
            planes.append(_plane(image, name))
    else:
        several = f" in each of {frames} frames" if frames > 1 else ""
        raise PictureError(
            f"{name} has {len(bands)} channels ({image.mode}){several}; expected {channels}: "
            f"choose pictures of that many, such as {ARRAY_SUFFIX} files"
        )
    return torch.stack(planes)


def _plane(image: Image.Image, name: str) -> Tensor:
    values = np.asarray(image)
    white = {"u": 65535 if values.dtype.itemsize > 1 else 255, "i": 65535, "f": 1}[
        values.dtype.kind
    ]
    plane = torch.from_numpy(values.astype(np.float32) / np.float32(white))
    if not (plane.min() >= 0 and plane.max() <= 1):
        raise PictureError(
            f"{name} holds values from {plane.min() * white:.6g} to {plane.max() * white:.6g}; "
            f"expected 0 to {white}"
        )
    return plane
