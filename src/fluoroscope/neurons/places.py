"""Directories for what is made here, which are none of a data set.

Whoever opens a folder as a data set takes every picture and table in it: files of ours beside
somebody's pictures would become part of these, or hide them.
"""

from pathlib import Path

from fluoroscope.data.imageset import ImageSet
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import output_directory, user_path

RECORD, GOING = "adversarial.json", ".parts"
"""What lies in every adversarial set, and the folder that it is in while the set is made."""


def results_directory(path: str | Path, images: ImageSet | None = None) -> Path:
    """A directory for results, made if need be: not that of the pictures, nor an adversarial set.

    Raises:
        InvalidParameterError: it is one of these, or cannot be written to.
    """
    out = user_path(path)
    folder = None if images is None else _folder(images)
    if folder is not None and out.resolve() == folder:
        raise InvalidParameterError(
            f"{out} is the folder of the pictures, and results beside them would be taken for "
            "some of them; give another directory"
        )
    if _holds_set(out):
        raise InvalidParameterError(
            f"{out} holds an adversarial set, and results beside it would become part of it; give "
            "another directory"
        )
    return output_directory(out)


def set_directory(path: str | Path, images: ImageSet) -> Path:
    """A directory for an adversarial set: an empty one that is not among the pictures, or one that
    holds a set.

    Raises:
        InvalidParameterError: it is among the pictures, holds something else, or cannot be written
            to.
    """
    out, folder = user_path(path), _folder(images)
    if folder is not None and out.resolve().is_relative_to(folder):
        raise InvalidParameterError(
            f"{out} lies in the folder of the pictures, {images.name}, where the set would be "
            "taken in place of them; give another directory"
        )
    out = output_directory(out)
    if not _holds_set(out):
        others = sorted(one.name for one in out.iterdir() if not one.name.startswith("."))
        if others:
            raise InvalidParameterError(
                f"{out} holds {others[0]!r}, which is no adversarial set's: a set needs a "
                "directory of its own; give an empty one, or one that is not there yet"
            )
    return out


def _holds_set(out: Path) -> bool:
    return any((place / RECORD).exists() for place in (out, out / GOING))


def _folder(images: ImageSet) -> Path | None:
    """Where the pictures lie, if in a folder of this machine."""
    place = user_path(images.name)
    try:
        return place.resolve() if place.is_dir() else None
    except (OSError, ValueError):  # a name that no file system takes
        return None
