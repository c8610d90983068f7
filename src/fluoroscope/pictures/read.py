"""Picture files become tensors: every colour mode, depth and orientation comes out right."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fluoroscope.errors import FluoroscopeError, InvalidParameterError, PictureError
from fluoroscope.files import missing_file
from fluoroscope.pictures.arrays import ARRAY_SUFFIX, read_array, read_bands
from fluoroscope.pictures.decode import (
    MAX_PIXELS,
    check_regular,
    check_size,
    damaged,
    known_formats,
    open_picture,
    upright,
    values,
)


def read_picture(
    source: Path | bytes | Image.Image, channels: int = 3, *, name: str | None = None
) -> Tensor:
    """Read one picture as ``(C, H, W)`` float32 in ``[0, 1]``.

    The EXIF orientation is applied, transparency is laid on white, 16-bit values are divided by
    65535, colour becomes grey where ``channels`` is 1 and grey becomes colour where it is 3. Of an
    animation the first frame is read. With other ``channels`` the picture must have as many bands,
    or grey frames, and they are taken as they are; so are the arrays of ``.npy`` files.

    Args:
        source: a file, its bytes, or an open Pillow image.
        channels: 3 for colour, 1 for grey, or the number of its bands.
        name: how messages call a picture that is not a file.

    Raises:
        UnknownDataError: there is no such file.
        PictureError: no picture, cut short, without pixels, more than 50 million of them, other
            channels, or a pipe or device.
    """
    if channels < 1:
        raise InvalidParameterError(f"channels is {channels}; expected 3 for colour or 1 for grey")
    name = str(source) if isinstance(source, Path) else name or "the picture"
    if isinstance(source, Path) and source.suffix.lower() == ARRAY_SUFFIX:
        return _array(source, channels)
    image = source if isinstance(source, Image.Image) else open_picture(source, name)
    try:
        check_size(image, name)
        if channels not in (1, 3):
            return read_bands(image, channels, name)
        return torch.from_numpy(values(upright(image), channels, name))
    except FluoroscopeError:
        raise
    except Exception as error:
        raise damaged(name, error) from error
    finally:
        if image is not source:
            image.close()


def read_numbers(path: Path) -> NDArray[np.int64]:
    """The numbers of a picture file as they stand there, ``(H, W)``: of a palette the places in it,
    of grey the levels. Of colours only whether there is any, 1 or 0.

    Raises:
        UnknownDataError: there is no such file.
        PictureError: no picture, cut short, without pixels, of more than 50 million, or one that
            holds no whole numbers.
    """
    name = str(path)
    image = open_picture(path, name)
    try:
        check_size(image, name)
        image.load()
        if image.mode.startswith("F"):
            raise PictureError(f"{name} holds floats; expected a picture of whole numbers")
        if image.mode in ("1", "L", "P") or image.mode.startswith("I"):
            return np.asarray(image).astype(np.int64)
        return np.asarray(np.asarray(image.convert("RGB")).any(-1), dtype=np.int64)
    except FluoroscopeError:
        raise
    except Exception as error:
        raise damaged(name, error) from error
    finally:
        image.close()


@cache
def picture_suffixes() -> frozenset[str]:
    """The lower-case endings of picture files that can be read, ``.png`` among them."""
    registered = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in registered.items() if kind in known_formats())


def _array(path: Path, channels: int) -> Tensor:
    try:
        check_regular(path)
        return read_array(path, channels, MAX_PIXELS)
    except FluoroscopeError:
        raise
    except FileNotFoundError:
        raise missing_file(path) from None
    except Exception as error:
        raise damaged(str(path), error) from error
