"""Faults of ours: each is told once, on the terminal of whoever serves the studio."""

import traceback
from threading import Lock

from rich.console import Console

NO_MEMORY = "there is not enough memory for it; ask for less"

_MOST = 200
"""Faults that are remembered as told."""

_FRAMES, _LONGEST = 8, 6000
"""Of a traceback that is printed: the last frames, and signs."""

_told: set[str] = set()
_lock = Lock()


def tell_fault(doing: str, error: BaseException) -> None:
    """Print what went wrong and where, if it was not printed before.

    What a client sent may be part of it: nothing in it is markup, and nothing steers the terminal.
    """
    known = f"{type(error).__name__} {traceback.extract_tb(error.__traceback__)[-1:]}"
    with _lock:
        if known in _told or len(_told) >= _MOST:
            return
        _told.add(known)
    words = "".join(traceback.format_exception(error, limit=-_FRAMES))[-_LONGEST:]
    _print(f"a fault of the studio, {doing}; please report it:\n{words}")


def tell_refusal(error: BaseException) -> None:
    """Print why what the command named cannot be had; the page says it, too."""
    _print(f"fluoroscope: {error}")


def _print(text: str) -> None:
    plain = "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    console.print(plain, soft_wrap=True)
