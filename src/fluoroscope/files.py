"""Looking up files that a user names; writing such that a killed command leaves whole.

What is written is drafted in a directory of its own beside its place, and moved there whole. Drafts
and directories in use are marked by a lock that the system takes from a process when it dies; so
what a killed command left is known as such, and a living one's is never touched.
"""

import errno
import os
import platform
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from difflib import get_close_matches
from itertools import count
from pathlib import Path

from safetensors import SafetensorError

from fluoroscope.errors import (
    FluoroscopeError,
    InvalidParameterError,
    StorageError,
    UnknownDataError,
)

try:
    import fcntl
except ImportError:  # where the system has no such locks
    fcntl = None  # type: ignore[assignment]

_DRAFTS = ".fluoroscope-"
_LOCK = "lock"
# What a lock says of its holder is a few words.
_LONGEST = 1000
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


def missing_file(path: Path, expected: str = "a picture file") -> UnknownDataError:
    """The error for a path that leads nowhere, with the nearest names that do exist."""
    if path.exists():
        return UnknownDataError(f"{path} is a pipe, socket or device; expected {expected}")
    if not path.parent.is_dir():
        return UnknownDataError(
            f"{path} does not exist, nor does the folder {path.parent}; expected {expected}"
        )
    try:
        present = sorted(entry.name for entry in path.parent.iterdir() if entry.name[0] != ".")
    except OSError:
        present = []
    near = [str(path.parent / name) for name in get_close_matches(path.name, present, n=3)]
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return UnknownDataError(f"{path} does not exist{hint}; expected {expected}")


def user_path(path: str | Path) -> Path:
    """A path as a shell would take it: a leading ``~`` is the home directory."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # nobody is called so
        return Path(path)


def output_directory(path: str | Path) -> Path:
    """Make sure the directory exists and can be written to.

    Raises:
        InvalidParameterError: a file stands in its place, or the disk refuses.
    """
    directory = user_path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    # A name that no file system takes is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidParameterError(
            f"cannot write to {directory}: {reason}; give another directory"
        ) from error
    if not os.access(directory, os.W_OK):
        raise InvalidParameterError(f"cannot write to {directory}; give another directory")
    return directory


def regular(path: Path) -> Path:
    """The path, if it is a file: opening a pipe would wait for ever, and a device has no end.

    Raises:
        OSError: there is nothing, or something else.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no file, but a directory, pipe or device")
    return path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path, moved onto ``path`` when the block ends well, else removed.

    Raises:
        StorageError: the disk is full, or refuses; a directory, pipe or device is in the way.
    """
    final = user_path(path)
    try:
        with _draft(final) as (draft, mode):
            yield draft
            draft.chmod(mode)
            draft.replace(final)
    # A full disk reaches us from safetensors as an exception of its own.
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise StorageError(
            f"cannot write {final}: "
            + ("the disk is full; make room" if disk_full(error) else f"{reason}; check the disk")
            + ", and give the same command again: what was written before is whole"
        ) from error


def check_place(path: str | Path) -> None:
    """Refuse a file that could not be written there, before there is anything to write.

    Raises:
        StorageError: there is no such directory, it takes no files, or something else is there.
    """
    final = user_path(path)
    with looking_up(path, StorageError):
        if not final.parent.is_dir():
            raise StorageError(
                f"cannot write {shortened(final)}: there is no directory "
                f"{shortened(final.parent)}; make it, or give another file"
            )
        if not os.access(final.parent, os.W_OK):
            raise StorageError(
                f"cannot write {shortened(final)}: nothing can be written to "
                f"{shortened(final.parent)}; give another file"
            )
        _refuse_special(final)


@contextmanager
def atomic_set(*paths: Path) -> Iterator[list[Path]]:
    """Temporary paths for files that belong together, all moved when the block ends well.

    The first file vouches for the others: it goes before any of them is replaced, and comes last.

    Raises:
        StorageError: the disk is full, or refuses.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(atomic_path(path)) for path in paths]
        remove(paths[0])


def remove(*paths: Path) -> None:
    """Remove files, if they are there.

    Raises:
        StorageError: the disk refuses.
    """
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot remove {path}: {error.strerror or error}; give another directory"
            ) from error


def disk_full(error: BaseException) -> bool:
    """Whether this is said of a disk that has no room left."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return full or "os error 28" in str(error)


@contextmanager
def _draft(final: Path) -> Iterator[tuple[Path, int]]:
    """A path to draft a file at, and the mode that the file is to have.

    What dead processes drafted of the same file is removed.
    """
    _refuse_special(final)
    folder, lock = _own_folder(final)
    try:
        # The system has applied the process's mask to the lock's mode.
        yield folder / final.name, stat.S_IMODE(os.fstat(lock).st_mode)
    finally:
        _remove(folder, lock)


def _refuse_special(final: Path) -> None:
    try:
        special = not stat.S_ISREG(final.stat().st_mode)
    except FileNotFoundError:
        return
    except ValueError as error:  # a name that no file system takes
        raise StorageError(f"cannot write {final!r}: {error}; give another name") from error
    if special:
        raise StorageError(
            f"cannot write {final}: a directory, pipe or device is there; give another name"
        )


def _own_folder(final: Path) -> tuple[Path, int]:
    made: tuple[Path, int] | None = None
    for number in count():
        # Of a long name the beginning, so that what is added fits too.
        folder = final.with_name(f"{_DRAFTS}{final.name[:40]}-{number}")
        if os.path.lexists(folder):
            _clear(folder)
        elif made is not None:
            return made
        if made is None:
            lock = _make(folder)
            made = None if lock is None else (folder, lock)
    raise AssertionError  # there is always another number


def _make(folder: Path) -> int | None:
    try:
        folder.mkdir()
        return _claim(folder / _LOCK)
    except FileExistsError:
        return None
    except FileNotFoundError:
        if not folder.parent.is_dir():
            raise
        return None  # Somebody took it for a dead one's before it was locked.


def clear_drafts(directory: Path) -> None:
    """Remove what dead processes were writing there."""
    for folder in directory.glob(f"{_DRAFTS}*"):
        _clear(folder)


def _clear(folder: Path) -> None:
    """Remove a directory for drafts if whoever made it is dead."""
    if folder.is_symlink() or not folder.is_dir():
        return
    # Gone by now, or another user's.
    with suppress(OSError):
        lock = _claim(folder / _LOCK)
        if lock is not None:
            _remove(folder, lock)


def _remove(folder: Path, lock: int) -> None:
    with suppress(OSError):
        for left in folder.iterdir():
            if left.name != _LOCK:
                left.unlink()
        (folder / _LOCK).unlink()
        folder.rmdir()
    os.close(lock)


@contextmanager
def in_use(directory: Path) -> Iterator[None]:
    """Have a directory to oneself during the block.

    Raises:
        InvalidParameterError: another process or thread has it.
        StorageError: the disk refuses.
    """
    path = directory / f"{_DRAFTS}{_LOCK}"
    try:
        lock = _claim(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; check the disk"
        ) from error
    if lock is None:
        raise InvalidParameterError(
            f"{directory} is in use{_holder(path)}; wait until that has ended, or give another "
            f"directory. If it was killed and this is said all the same, delete {path}"
        )
    try:
        with suppress(OSError):  # Who has it is a courtesy.
            os.ftruncate(lock, 0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            os.write(lock, f"process {os.getpid()} on {platform.node()} since {since}".encode())
        yield
    finally:
        # Removed while it is held, so that it is nobody else's.
        with suppress(OSError):
            path.unlink()
        os.close(lock)


def _holder(path: Path) -> str:
    try:
        with path.open("rb") as file:
            told = file.read(_LONGEST).decode(errors="replace")
    except OSError:
        return ""
    return f" by {told}" if told else ""


def _claim(path: Path) -> int | None:
    """An open file there, made if need be, that is ours alone; ``None`` if somebody has it."""
    while True:
        new = True
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            new = False
            try:
                file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                continue
        ours = _locked(file)
        # Where the system has no locks, the file is one.
        if ours is False or (ours is None and not new):
            os.close(file)
            return None
        if _is_at(file, path):
            return file
        os.close(file)


def _locked(file: int) -> bool | None:
    """Whether an open file is ours until we close it or die; ``None`` if the system cannot say."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None  # A file system without locks.
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
