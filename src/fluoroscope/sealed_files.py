"""A result as files: exact numbers, and in JSON what they are and how they came about.

``NAME.safetensors`` has the tensors, ``NAME.json`` the rest and a hash of them; it comes last, so
that where it stands, the other is whole. A result without tensors is one JSON file, a *record*.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from torch import Tensor

from fluoroscope.errors import FluoroscopeError, InvalidParameterError, ResultFormatError
from fluoroscope.files import atomic_path, output_directory, regular, remove, user_path
from fluoroscope.tensor_files import read_tensors, seal_of, write_tensors

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """What such files hold."""

    name: str
    """What they are called where nobody says otherwise."""
    one: str
    """In words, without an article: ``attribution``."""
    several: str
    format: int = 1
    """Raised when what is written changes its form."""


def write_sealed(
    kind: Kind,
    directory: str | Path,
    name: str,
    tensors: dict[str, Tensor],
    record: dict[str, Any],
) -> list[Path]:
    """Write both files into a directory, made if need be; each appears whole or not at all.

    Raises:
        InvalidParameterError: the directory cannot be made or written to, or the name is none of a
            file's.
        StorageError: the disk is full, or refuses.
    """
    if not name or name != Path(name).name or not name.isprintable():
        raise InvalidParameterError(
            f"name is {name!r}; expected that of a file within the directory, such as {kind.name}"
        )
    out = output_directory(directory)
    there, told = out / f"{name}.safetensors", out / f"{name}.json"
    remove(told)
    seal = write_tensors(there, tensors)
    with atomic_path(told) as draft:
        sealed = {"format": kind.format, **record, "sha256": seal}
        text = json.dumps(plain(sealed), indent=1, ensure_ascii=False, allow_nan=False)
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [there, told]


def read_sealed(
    kind: Kind, path: str | Path, made: Callable[[dict[str, Any], dict[str, Tensor]], T]
) -> T:
    """What ``made`` makes of the record and tensors that :func:`write_sealed` wrote.

    ``path`` is the JSON, or a directory with one such; whatever ``made`` raises of what is no such
    result's is told as harm of the file.

    Raises:
        ResultFormatError: files missing, broken, or of a newer version.
    """
    told = _told(kind, user_path(path))
    try:
        record = json.loads(regular(told).read_text(encoding="utf-8"))
        if isinstance(record, dict) and not {"format", "sha256"} & record.keys():
            raise _other(kind, told)
        if record["format"] > kind.format:
            raise ResultFormatError(
                f"{told} was written in format {record['format']}; this version reads up to "
                f"{kind.format}: install a newer fluoroscope"
            )
        tensors, about = read_tensors(told.with_suffix(".safetensors"))
        if record["sha256"] != seal_of(tensors, about):
            raise ValueError("the numbers are not those that the JSON speaks of")
        return made(record, tensors)
    except ResultFormatError:
        raise
    except OSError as error:
        raise ResultFormatError(
            f"{told} holds no {kind.one}: {_refusal(error, told, told.with_suffix('.safetensors'))}"
            "; expected the JSON that save wrote, and beside it the .safetensors"
        ) from error
    # Whatever a parser makes of what is not of this kind.
    except (
        ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError,
        RecursionError, SafetensorError, FluoroscopeError,
    ) as error:  # fmt: skip
        unread = isinstance(error, json.JSONDecodeError | UnicodeDecodeError)
        if unread and told.suffix != ".json":
            raise _other(kind, told) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, KeyError):
            reason = f"it says nothing of {reason}, and may be something else"
        raise ResultFormatError(
            f"{told} holds a broken {kind.one}: {reason}; make it anew"
        ) from error


def _other(kind: Kind, told: Path) -> ResultFormatError:
    return ResultFormatError(
        f"{told} holds no {kind.one}; expected the JSON that save wrote, and beside it the "
        ".safetensors"
    )


def write_record(path: Path, record: dict[str, Any], form: int) -> Path:
    """Write a result that is one JSON file of such a form; it appears whole or not at all.

    Raises:
        StorageError: the disk is full, or refuses.
    """
    with atomic_path(path) as draft:
        text = json.dumps({"format": form, **record}, indent=1, ensure_ascii=False, allow_nan=False)
        draft.write_text(f"{text}\n", "utf-8")
    return path


def read_record(
    path: str | Path,
    file: str,
    form: int,
    made: Callable[[dict[str, Any]], T],
    *,
    most: int,
    one: str,
    wrote: str,
) -> T:
    """What ``made`` makes of the JSON that :func:`write_record` wrote.

    Args:
        path: the file, or the directory in which it is called ``file``.
        file: its usual name.
        form: the one that is known.
        made: whatever it raises of what is no such result's is told as harm of the file.
        most: bytes that are read at all.
        one: what it holds, in words.
        wrote: what writes such.

    Raises:
        ResultFormatError: no such file, or one that is broken or of another version.
    """
    found = user_path(path)
    try:
        found = found / file if found.is_dir() else found
        if regular(found).stat().st_size > most:
            raise ValueError(f"it has {found.stat().st_size} bytes")
        record = json.loads(found.read_text("utf-8"))
        if record["format"] != form:
            newer = record["format"] > form
            way = "install a newer one to read it" if newer else f"make the {one} again"
            raise ValueError(
                f"it has format {record['format']} and this version of fluoroscope knows "
                f"{form}; {way}"
            )
        return made(record)
    except (
        OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        reason = _refusal(error, found) if isinstance(error, OSError) else str(error)
        raise ResultFormatError(
            f"{path} cannot be read: {' '.join(reason.split())[:300]}; expected what {wrote} wrote"
        ) from error


def _refusal(error: OSError, *wanted: Path) -> str:
    """Why files could not be read, in words: not all of them are there, or what the system says."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        missing = [file for file in wanted if not file.exists()]
        return f"there is no file {missing[0]}" if missing else "a file is no longer there"
    return error.strerror or str(error)


def plain(value: Any) -> Any:
    """Plain values without numbers that JSON does not have: those become ``None``."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _told(kind: Kind, path: Path) -> Path:
    """The JSON, of a directory the only one in it that is of this kind."""
    if not path.is_dir():
        return path
    found = sorted(path.glob(f"{kind.name}*.json"))
    if len(found) > 1:
        raise ResultFormatError(
            f"{path} holds {len(found)} {kind.several}; expected the file of one, such as "
            f"{found[0]}"
        )
    return found[0] if found else path / f"{kind.name}.json"
