"""What the files of a data set may name: pictures in its own folder, and members of archives there.

A table may come from a stranger. A path in it that leads elsewhere would show this machine's files,
and an address would connect to another machine: both are refused.
"""

import os
import re
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fluoroscope.errors import PictureError, UnknownDataError

# No encoded picture of the largest size that is decoded weighs more.
MAX_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Member:
    """A file in a zip archive."""

    archive: Path
    name: str

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            PictureError: not there, damaged, or larger than any picture.
        """
        try:
            with _archive(self.archive, os.getpid()).open(self.name) as file:
                content = file.read(MAX_BYTES + 1)
        # Damaged archives are met with exceptions of many kinds.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise PictureError(f"{self} cannot be read ({reason}); unpack it anew") from error
        if len(content) > MAX_BYTES:
            raise PictureError(
                f"{self} unpacks to more than {MAX_BYTES >> 20} MiB; expected a picture"
            )
        return content

    def __str__(self) -> str:
        return f"{self.archive}:{self.name}"


def inside(text: str, roots: Sequence[Path] | None, name: str) -> Path | Member:
    """The picture that a data set's own file names.

    Args:
        text: a path, from the first root if it is relative, or ``zip://member::archive``.
        roots: resolved folders that it may lie in; ``None`` for any on this machine, where it was
            the user's own program that put the path there.
        name: how messages call the row.

    Raises:
        UnknownDataError: it leads elsewhere, or to nothing that is a file.
    """
    member, chained, place = text.partition("::")
    if chained and re.match(r"zip://[^:]*$", member) and "::" not in place:
        return Member(_below(place, roots, name, text), member.removeprefix("zip://"))
    return _below(text, roots, name, text)


def is_regular(path: Path) -> bool:
    """Whether it is a file with content: no folder, pipe, socket or device, which may hang."""
    return stat.S_ISREG(path.stat().st_mode)


def _below(place: str, roots: Sequence[Path] | None, name: str, text: str) -> Path:
    shown = repr(text if len(text) <= 100 else f"{text[:100]}…")
    elsewhere = UnknownDataError(
        f"{name} names the picture {shown}, which is not in the data set's own folder; nothing was "
        "opened: expected its bytes, or a path from that folder"
    )
    if "://" in place or "::" in place or roots == []:
        raise elsewhere
    try:
        path = ((roots or [Path.cwd()])[0] / place).resolve()
        if roots is not None and not any(path.is_relative_to(root) for root in roots):
            raise elsewhere
        regular = is_regular(path)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnknownDataError(
            f"{name} names the picture {shown}, which cannot be looked up ({reason}); leave the "
            "row out"
        ) from error
    if not regular:
        raise UnknownDataError(
            f"{name} names {shown}, which is no file (a folder, pipe or device); leave it out"
        )
    return path


@lru_cache(maxsize=4)
def _archive(path: Path, process: int) -> zipfile.ZipFile:
    # Processes that share an open file would move each other's place in it.
    del process
    return zipfile.ZipFile(path)
