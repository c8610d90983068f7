"""What belongs to the whole process and is changed for a moment: put back, with threads or without.

Whoever saves a setting, changes it and restores it while another thread does the same may restore
what the other had changed. So each of these has one lock, or one memory of how it was.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from typing import Any

random_state_lock = RLock()
"""Held by whoever seeds the global generators and puts their states back."""
warnings_lock = RLock()
"""Held by whoever changes the filters of warnings and puts them back."""
_drawing = RLock()
_counting = Lock()
_single, _threads = 0, 1


@contextmanager
def drawing(style: dict[Any, Any]) -> Iterator[None]:
    """Matplotlib draws with these settings inside the block; one thread of ours at a time."""
    from matplotlib import rc_context

    with _drawing, rc_context(style):
        yield


def usual_threads() -> int:
    """PyTorch's threads outside every :func:`one_thread`."""
    import torch

    with _counting:
        return _threads if _single else torch.get_num_threads()


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch works on one thread inside the block."""
    import torch

    global _single, _threads
    with _counting:
        if not _single:
            _threads = torch.get_num_threads()
        _single += 1
        before = _threads
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _counting:
            _single -= 1
            torch.set_num_threads(before)


def give_back_freed_memory() -> bool:
    """Give what is free back to the system after all; whether anything was.

    It takes some hundredths of a second, in which nobody gets memory: it is for who is idle.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError):  # another C library
        return False
