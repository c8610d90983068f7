"""Work that goes on in a directory: what was begun there, and whether it is the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fluoroscope.errors import InvalidParameterError
from fluoroscope.sealed_files import read_record

# What differs because something else does, or least matters, is told last.
_LAST = ("batch_size", "part", "columns", "pairs", "model_sha256")
_TOLD, _LONGEST = 3, 60


def begun(files: Sequence[Path], form: int, *, most: int, one: str, wrote: str) -> Any:
    """The identity in the first record that there is; ``None`` without one.

    Raises:
        ResultFormatError: it cannot be read.
    """
    for file in files:
        if file.exists():
            return read_record(
                file, file.name, form, lambda record: record["identity"], most=most, one=one,
                wrote=wrote,
            )  # fmt: skip
    return None


def check_same(out: Path, one: str, there: Any, here: dict[str, Any],
               words: Mapping[str, str]) -> None:  # fmt: skip
    """Refuse a directory in which something else was begun.

    Args:
        out: the directory.
        one: what is made there, in words.
        there: what was begun, or ``None``.
        here: what is to be made.
        words: for the keys of both.

    Raises:
        InvalidParameterError: they are not the same.
    """
    if there is None or there == here:
        return
    raise InvalidParameterError(
        f"{out} holds another {one}: {_apart(there, here, words)}; give another directory, or "
        "delete it"
    )


def _apart(there: Any, here: dict[str, Any], words: Mapping[str, str]) -> str:
    """What is not the same, in words."""
    if not isinstance(there, dict):
        return "it does not say which"
    keys = [key for key in {**here, **there} if there.get(key) != here.get(key)]
    keys.sort(key=lambda key: _LAST.index(key) + 1 if key in _LAST else 0)
    said = [
        f"{words.get(key, key)} is {_short(there.get(key))}, and here {_short(here.get(key))}"
        for key in keys[:_TOLD]
    ]
    return "; ".join(said) + (f"; and {len(keys) - _TOLD} more" if len(keys) > _TOLD else "")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{each}" for each in value.values() if each is not None)
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
