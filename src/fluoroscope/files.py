"""Writing files so that a half-written one never remains."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from fluoroscope.errors import InvalidParameterError, StorageError


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
