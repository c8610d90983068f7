"""Looking up files that a user names, and writing them so that a half-written one never remains."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from fluoroscope.errors import (
    FluoroscopeError,
    InvalidParameterError,
    StorageError,
    UnknownDataError,
)

_SHOWN = 200  # characters of a name that a message repeats


@contextmanager
def looking_up(name: object, error: type[FluoroscopeError] = UnknownDataError) -> Iterator[None]:
    """Turns a refusal of the file system, such as a name that is too long, into an error of ours.

    Raises:
        FluoroscopeError: of the class given, in place of the system's exception.
    """

    def refusal(reason: object) -> FluoroscopeError:
        shown = shortened(name).replace("\0", "\\0")
        return error(f"{shown} cannot be looked up ({reason}); check the path and its permissions")

    if "\0" in str(name):
        raise refusal("a name has no zero bytes")
    try:
        yield
    # RuntimeError is what an unknown "~user" gives.
    except (OSError, RuntimeError) as problem:
        raise refusal(getattr(problem, "strerror", None) or problem) from problem


def regular_file(
    path: str | Path, expected: str, error: type[FluoroscopeError] = UnknownDataError
) -> Path:
    """The path of a file that can be read to its end, with ``~`` expanded.

    A pipe or a device would keep whoever reads it waiting, or never end.

    Args:
        path: as the user or another file names it; links are followed.
        expected: what should be there, for the message.
        error: the class of what is raised.

    Raises:
        FluoroscopeError: of the class given: there is nothing, or something else than a file.
    """
    with looking_up(path, error):
        file = Path(path).expanduser()
        try:
            mode = file.stat().st_mode
        except (FileNotFoundError, NotADirectoryError) as problem:
            raise error(f"there is no file {shortened(file)}; expected {expected}") from problem
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "a pipe, device or socket"
            raise error(f"{shortened(file)} is {kind}; expected {expected}")
    return file


def shortened(name: object) -> str:
    """A name as messages show it."""
    text = str(name)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def output_directory(path: str | Path) -> Path:
    """Make sure the directory exists and can be written to.

    Raises:
        InvalidParameterError: a file stands in its place, or the disk refuses.
    """
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidParameterError(
            f"cannot write to {directory}: {error.strerror or error}; give another directory"
        ) from error
    if not os.access(directory, os.W_OK):
        raise InvalidParameterError(f"cannot write to {directory}; give another directory")
    return directory


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, moved onto it when the block ends well, else removed.

    Raises:
        StorageError: the disk is full, or refuses.
    """
    final = Path(path)
    draft = None
    try:
        handle, name = tempfile.mkstemp(
            dir=final.parent, prefix=f".{final.stem}-", suffix=final.suffix
        )
        os.close(handle)
        draft = Path(name)
        yield draft
        draft.chmod(0o666 & ~_umask())
        draft.replace(final)
    # A full disk reaches us from safetensors as an exception of its own.
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in reason
        raise StorageError(
            f"cannot write {final}: "
            + ("the disk is full; make room" if full else f"{reason}; check the disk")
            + ", and give the same command again: what was written before is whole"
        ) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def _umask() -> int:
    # There is no way to read the mask without setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
