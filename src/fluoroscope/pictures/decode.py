"""Picture files become arrays, without PyTorch: a process that only decodes need not import it."""

import io
import stat
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fluoroscope.errors import PictureError
from fluoroscope.files import missing_file
from fluoroscope.notices import tell
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


@cache
def known_formats() -> tuple[str, ...]:
    """Those of the list that this Pillow can open."""
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


def open_picture(
    source: Path | bytes,
    name: str,
    formats: tuple[str, ...] | None = None,
    most: int = MAX_PIXELS,
) -> Image.Image:
    """The picture with only its header read; of these formats, by default all that are known."""
    try:
        if isinstance(source, Path):
            check_regular(source)
        with warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            return Image.open(file, formats=formats or known_formats())
    except Image.DecompressionBombError:
        raise _too_large(name, most=most) from None
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
        raise damaged(name, error) from error


def check_regular(path: Path) -> None:
    """Opening a pipe would wait for its writer, and a device may never end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise PictureError(f"{path} is a pipe, socket or device; expected a picture file")


def check_size(image: Image.Image, name: str, most: int = MAX_PIXELS) -> None:
    """Refuse a picture without pixels, or with more than so many, by its header alone."""
    width, height = image.size
    if width * height == 0:
        raise PictureError(f"{name} has 0 pixels ({width}×{height}); expected at least one")
    if width * height > most:
        raise _too_large(name, f" ({width}×{height})", most)


def _too_large(name: str, size: str = "", most: int = MAX_PIXELS) -> PictureError:
    return PictureError(
        f"{name}{size} has more than {most // 1_000_000} million pixels; make it smaller first"
    )


def upright(image: Image.Image) -> Image.Image:
    """The picture, decoded, as its EXIF block says that it is to be seen."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return image


def values(image: Image.Image, channels: int, name: str) -> NDArray[np.float32]:
    """An upright picture as ``(C, H, W)`` in ``[0, 1]``, of one channel or three."""
    if image.mode.startswith(("I", "F")):
        return np.repeat(_deep_grey(image, name), channels, axis=0)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            tell(TRANSPARENT)
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image).reshape(image.height, image.width, channels)
    # NumPy stays on one thread, which for one picture is faster than handing it round.
    planes: NDArray[np.float32] = np.divide(
        pixels.transpose(2, 0, 1), np.float32(255), dtype=np.float32, order="C"
    )
    return planes


def _deep_grey(image: Image.Image, name: str) -> NDArray[np.float32]:
    """``(1, H, W)`` of deep pixels: integers have 16 bits, floats are in ``[0, 1]`` already."""
    white = 1.0 if image.mode == "F" else 65535.0
    values = np.asarray(image).astype(np.float32)[None] / np.float32(white)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # NaN fails both comparisons
        raise PictureError(
            f"{name} holds {'floats' if white == 1 else 'integers'} from {low * white:.6g} to "
            f"{high * white:.6g}; expected {'[0, 1]' if white == 1 else '16 bits, 0 to 65535'}: "
            "save it in that range"
        )
    return values


def damaged(name: str, error: Exception) -> PictureError:
    """The error for a file that ends too early, or whose fields make no sense."""
    # Decoders meet damaged bytes with whatever exception the broken field leads to.
    reason = " ".join(str(error).split()) or type(error).__name__
    return PictureError(
        f"{name} cannot be read ({reason}); expected a whole picture file that may be read"
    )
