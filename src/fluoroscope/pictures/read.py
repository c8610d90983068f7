"""Picture files become tensors: every colour mode, depth and orientation comes out right."""

import io
import stat
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from fluoroscope.errors import (
    FluoroscopeError,
    InvalidParameterError,
    PictureError,
)
from fluoroscope.files import missing_file
from fluoroscope.notices import tell
from fluoroscope.pictures.arrays import ARRAY_SUFFIX, read_array, read_bands
from fluoroscope.process import warnings_lock

MAX_PIXELS = 50_000_000
TRANSPARENT = (
    "what is transparent in pictures is laid on white: the network sees white there, and black in "
    "their negatives"
)
"""What is told of pictures with an alpha channel that lets anything through."""

# What Pillow can open but this list leaves out is rare, or (EPS, WMF) runs other programs.
FORMATS = (
    *("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM"),
    *("AVIF", "JPEG2000", "ICO", "PCX", "QOI", "TGA"),
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
    image = source if isinstance(source, Image.Image) else _open(source, name)
    try:
        _check_size(image, name)
        if channels not in (1, 3):
            return read_bands(image, channels, name)
        return _tensor(_upright(image), channels, name)
    except FluoroscopeError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error
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
    image = _open(path, name)
    try:
        _check_size(image, name)
        image.load()
        if image.mode.startswith("F"):
            raise PictureError(f"{name} holds floats; expected a picture of whole numbers")
        if image.mode in ("1", "L", "P") or image.mode.startswith("I"):
            return np.asarray(image).astype(np.int64)
        return np.asarray(np.asarray(image.convert("RGB")).any(-1), dtype=np.int64)
    except FluoroscopeError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error
    finally:
        image.close()


@cache
def picture_suffixes() -> frozenset[str]:
    """The lower-case endings of picture files that can be read, ``.png`` among them."""
    registered = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in registered.items() if kind in _formats())


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


def _array(path: Path, channels: int) -> Tensor:
    try:
        _check_regular(path)
        return read_array(path, channels, MAX_PIXELS)
    except FluoroscopeError:
        raise
    except FileNotFoundError:
        raise missing_file(path) from None
    except Exception as error:
        raise _damaged(str(path), error) from error


def _check_regular(path: Path) -> None:
    """Opening a pipe would wait for its writer, and a device may never end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise PictureError(f"{path} is a pipe, socket or device; expected a picture file")


def _open(source: Path | bytes, name: str) -> Image.Image:
    """The picture with only its header read."""
    try:
        if isinstance(source, Path):
            _check_regular(source)
        with warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            return Image.open(file, formats=_formats())
    except Image.DecompressionBombError:
        raise _too_large(name) from None
    except UnidentifiedImageError:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        fault = "is no picture, or its first bytes are damaged" if size else "is empty (0 bytes)"
        raise PictureError(
            f"{name} {fault}; expected a PNG, JPEG, WebP, TIFF, GIF or the like"
        ) from None
    except PictureError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise missing_file(source if isinstance(source, Path) else Path(name)) from None
    except Exception as error:
        raise _damaged(name, error) from error


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height == 0:
        raise PictureError(f"{name} has 0 pixels ({width}×{height}); expected at least one")
    if width * height > MAX_PIXELS:
        raise _too_large(name, f" ({width}×{height})")


def _too_large(name: str, size: str = "") -> PictureError:
    return PictureError(
        f"{name}{size} has more than {MAX_PIXELS // 1_000_000} million pixels; "
        "make it smaller first"
    )


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return image


def _tensor(image: Image.Image, channels: int, name: str) -> Tensor:
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image, name).expand(channels, -1, -1).contiguous()
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            tell(TRANSPARENT)
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image).reshape(image.height, image.width, channels)
    # NumPy stays on one thread, which for one picture is faster than handing it round.
    values = np.divide(pixels.transpose(2, 0, 1), np.float32(255), dtype=np.float32, order="C")
    return torch.from_numpy(values)


def _deep_grey(image: Image.Image, name: str) -> Tensor:
    """``(1, H, W)`` of deep pixels: integers have 16 bits, floats are in ``[0, 1]`` already."""
    white = 1.0 if image.mode == "F" else 65535.0
    values = torch.from_numpy(np.asarray(image).astype(np.float32)).unsqueeze(0) / white
    low, high = (bound.item() for bound in torch.aminmax(values))
    if not (low >= 0 and high <= 1):  # NaN fails both comparisons
        raise PictureError(
            f"{name} holds {'floats' if white == 1 else 'integers'} from {low * white:.6g} to "
            f"{high * white:.6g}; expected {'[0, 1]' if white == 1 else '16 bits, 0 to 65535'}: "
            "save it in that range"
        )
    return values


def _damaged(name: str, error: Exception) -> PictureError:
    # Decoders meet damaged bytes with whatever exception the broken field leads to.
    reason = " ".join(str(error).split()) or type(error).__name__
    return PictureError(
        f"{name} cannot be read ({reason}); expected a whole picture file that may be read"
    )
