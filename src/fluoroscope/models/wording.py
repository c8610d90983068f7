"""Pieces that several messages are made of."""

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 300  # characters; libraries print whole tensors and files


def first_line(problem: BaseException) -> str:
    """What a library says went wrong, as one line for our own message."""
    try:
        lines = str(problem).strip().splitlines()
    except Exception:  # an exception of somebody's own
        lines = []
    first = lines[0].removeprefix("Got: ") if lines else type(problem).__name__
    return first if len(first) <= _LONGEST else f"{first[:_LONGEST]}…"


def did_you_mean(wanted: str, known: Iterable[str], prefix: str = "") -> str:
    """``did you mean 'a' or 'b'? `` with the nearest of the known names, or nothing."""
    names = {name.casefold(): name for name in known}
    near = get_close_matches(wanted.casefold(), names, n=3)
    return suggestion(prefix + names[name] for name in near)


def suggestion(names: Iterable[str]) -> str:
    """``did you mean 'a' or 'b'? ``, or nothing where there is no name."""
    quoted = " or ".join(map(repr, names))
    return f"did you mean {quoted}? " if quoted else ""
