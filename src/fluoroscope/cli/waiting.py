"""A line that says what a command is at while it has nothing to show yet, and Ctrl-C meanwhile.

The line is on standard error, and on a terminal alone; a thread moves it, and it is gone while
anything else is written and when the command ends. What holds the interpreter, as importing PyTorch
does, would hold the thread too: so words are shown by whoever says them, before it.
"""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

STOPPED = 130
"""The exit code of a command that Ctrl-C ended: that of shells."""

# Seconds until a command that has said nothing of itself is seen to be at work, and between frames.
_PATIENCE, _EVERY = 0.3, 0.1
_FRAMES, _PLAIN_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
# Seconds from which on it is said how long it has been.
_LONG = 3


class _Line:
    """The line of one command at a time."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._words = ""
        self._since = 0.0
        self._hidden = 0
        self._shown = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """There is a line within this block, if standard error is a terminal."""
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            yield
            return
        self._words, self._since, self._hidden = "starting", time.monotonic(), 0
        self._over = threading.Event()
        thread = threading.Thread(target=self._move, args=(self._over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            with self._lock:
                self._clear()
                self._words = ""

    def says(self, words: str) -> None:
        """From now on the line says these words; it is there at once.

        Raises:
            KeyboardInterrupt: there was a Ctrl-C that whoever met it has swallowed.
        """
        if _asked.is_set():
            raise KeyboardInterrupt
        with self._lock:
            if self._words:
                self._words, self._since = words, time.monotonic()
                self._draw()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Within this block others write to the terminal."""
        with self._lock:
            self._hidden += 1
            self._clear()
        try:
            yield
        finally:
            with self._lock:
                self._hidden -= 1
                self._since = time.monotonic()

    def _move(self, over: threading.Event) -> None:
        over.wait(_PATIENCE)
        while not over.wait(_EVERY):
            with self._lock:
                if not over.is_set():
                    self._draw()

    def _draw(self) -> None:
        if self._hidden:
            return
        passed = time.monotonic() - self._since
        encoding = (sys.stderr.encoding or "").lower().replace("-", "")
        frames = _FRAMES if encoding == "utf8" else _PLAIN_FRAMES
        frame = frames[int(passed / _EVERY) % len(frames)]
        text = f"{frame} {self._words}" + (f", {passed:.0f} s" if passed >= _LONG else "")
        with suppress(OSError, ValueError):  # there is no terminal any more
            sys.stderr.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
            sys.stderr.flush()
            self._shown = True

    def _clear(self) -> None:
        if self._shown:
            self._shown = False
            with suppress(OSError, ValueError):
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()


waiting = _Line()
_asked = threading.Event()


@contextmanager
def stoppable() -> Iterator[None]:
    """A Ctrl-C ends what is within, whatever a library that is being imported makes of it."""

    def stop(*_: object) -> None:
        _asked.set()
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before != signal.default_int_handler:  # whoever started the command wants it otherwise
        yield
        return
    signal.signal(signal.SIGINT, stop)
    try:
        yield
    except (typer.Abort, typer.Exit):
        raise
    except Exception as problem:
        if _asked.is_set():
            raise KeyboardInterrupt from problem
        raise
    finally:
        signal.signal(signal.SIGINT, before)
        _asked.clear()
