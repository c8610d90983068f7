"""One picture by the short name a person types: a file, a blank, or a place in a data set."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fluoroscope.data.batches import Sample
from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.data.names import BLANKS, no_picture, place_of
from fluoroscope.data.sources import ArraySource, PictureSource
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import looking_up


def open_image(
    reference: str,
    *,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    invert: bool = False,
) -> Sample:
    """Find one picture.

    Args:
        reference: a file; ``black``, ``grey``, ``white`` or ``noise`` (uniform in ``[0, 1]``); or
            ``DATASET[:SPLIT]:INDEX`` with ``digits``, a folder or a hub's ``owner/name``, such as
            ``digits:7`` or ``photos:validation:388``.
        channels: 3 for colour, 1 for grey.
        size: ``(height, width)`` of a blank; pictures keep their own.
        seed: of the noise.
        invert: its negative, for a network that learnt white ink on black.

    Raises:
        UnknownDataError: no such file, data set, split or index.
        PictureError: a file that is no picture.
        InvalidParameterError: a blank without a size.
    """
    found = open_one(reference, channels=channels, size=size, seed=seed, invert=invert)
    sample, file = found[0], Path(found.name, found.names()[0])
    # What a person can type again.
    return replace(sample, name=str(file) if file.is_file() else reference)


def open_one(
    reference: str,
    *,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    invert: bool = False,
) -> ImageSet:
    """Find one picture, as a set that has but this one; see :func:`open_image`."""
    if reference in BLANKS:
        blank = _blank(reference, channels, size, seed)
        source = ArraySource(blank[None], reference)
        return ImageSet(source, reference, channels=channels, inverted=invert)
    with looking_up(reference):
        return _find(reference, channels, invert)


def _find(reference: str, channels: int, invert: bool) -> ImageSet:
    path = Path(reference).expanduser()
    if path.is_file():
        return ImageSet(PictureSource([path]), reference, channels=channels, inverted=invert)
    if path.is_dir():
        raise no_picture(path)
    data, split, index = place_of(reference)
    return load_images(data, split, channels=channels, invert=invert).select([index])


def _blank(kind: str, channels: int, size: tuple[int, int] | None, seed: int) -> Tensor:
    """A picture ``(C, H, W)``."""
    if size is None:
        raise InvalidParameterError(f"{kind!r} has no size of its own; give (height, width)")
    shape = (channels, *size)
    value = BLANKS[kind]
    if value is None:
        return torch.rand(
            shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32, device="cpu"
        )
    return torch.full(shape, value, dtype=torch.float32, device="cpu")
