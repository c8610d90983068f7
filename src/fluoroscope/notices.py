"""What a user should know of a result that stands all the same: warned of, or handed to a result.

Whoever makes many searches and tells of them once collects what they say. That is a matter of the
thread: no filter of the process is touched.
"""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from fluoroscope.errors import FluoroscopeWarning

_collector: ContextVar[list[str] | None] = ContextVar("collector", default=None)


def tell(words: str, stacklevel: int = 1) -> None:
    """Warn of it, or give it to whoever collects around this call; ``stacklevel`` 1 is the caller.

    A ``FluoroscopeWarning``.
    """
    collector = _collector.get()
    if collector is None:
        warnings.warn(words, FluoroscopeWarning, stacklevel=stacklevel + 1)
    else:
        collector.append(words)


def tell_all(notes: Iterable[str], stacklevel: int = 1) -> None:
    """Warn of several in one go, or give each to whoever collects."""
    found, collector = tuple(notes), _collector.get()
    if collector is not None:
        collector.extend(found)
    elif found:
        tell("; ".join(found), stacklevel + 1)


@contextmanager
def collected() -> Iterator[list[str]]:
    """What would be warned of inside, by this thread, comes into the list instead."""
    told: list[str] = []
    token = _collector.set(told)
    try:
        yield told
    finally:
        _collector.reset(token)


def distinct(notes: Iterable[str]) -> tuple[str, ...]:
    """Each note once, in order; of those that differ in their numbers only, the first."""
    found: dict[str, str] = {}
    for note in notes:
        found.setdefault(re.sub(r"\d+", "0", note), note)
    return tuple(found.values())
