"""Names of pictures and data sets, understood without opening them: no heavy library is needed."""

import re
from pathlib import Path

from fluoroscope.errors import UnknownDataError
from fluoroscope.files import looking_up, missing_file

DIGITS = "digits"
"""What the built-in pictures are called."""

BLANKS = {"black": 0.0, "grey": 0.5, "gray": 0.5, "white": 1.0, "noise": None}
"""Where a morph may start from: the value of every pixel, or random."""


def check_data(name: str) -> None:
    """Refuse the name of a data set of which nothing is to be found here or on a hub.

    Raises:
        UnknownDataError: as opening it would.
    """
    if name == DIGITS or name.startswith("hf/") or may_be_on_hub(name):
        return
    with looking_up(name):
        path = Path(name).expanduser()
        if not (path.is_file() or path.is_dir()):
            raise no_data(path)


def check_image(reference: str) -> None:
    """Refuse the name of one picture where there is none, or not the data set that it names.

    Raises:
        UnknownDataError: as opening it would.
    """
    if reference in BLANKS:
        return
    with looking_up(reference):
        path = Path(reference).expanduser()
        if path.is_dir():
            raise no_picture(path)
        if path.is_file():
            return
        data, _, _ = place_of(reference)
    check_data(data)


def place_of(reference: str) -> tuple[str, str | None, int]:
    """The data set, split and index of ``DATASET[:SPLIT]:INDEX``.

    Raises:
        UnknownDataError: it is no such place, and no file.
    """
    place = re.fullmatch(r"(?P<data>.+):(?P<index>\d+)", reference)
    if place is None:
        wanted = "a file, black, grey, white, noise, or DATASET[:SPLIT]:INDEX such as digits:7"
        raise missing_file(Path(reference).expanduser(), wanted)
    name, index = place["data"], int(place["index"])
    # A colon may also belong to a path: what stands before it decides.
    data, colon, split = name.rpartition(":")
    if not colon or Path(name).expanduser().exists():
        return name, None, index
    return data, split, index


def may_be_on_hub(name: str) -> bool:
    """Whether it is written as ``owner/name``, and the first part is no folder here."""
    written = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None
    return written and not Path(name.partition("/")[0]).exists()


def no_picture(path: Path) -> UnknownDataError:
    """The error for a folder where one picture was to be."""
    return UnknownDataError(
        f"{path} is a folder; expected one picture: add its index, as in {path}:0, or give "
        "the folder as data (--data) where all of its pictures are meant"
    )


def no_data(path: Path) -> UnknownDataError:
    """The error for a path at which no data lie."""
    return missing_file(path, f"{DIGITS!r}, a picture, a folder, or a hub's owner/name")
