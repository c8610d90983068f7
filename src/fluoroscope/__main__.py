"""The command ``fluoroscope``, also as ``python -m fluoroscope``.

Importing the command line takes a while, too: a Ctrl-C meanwhile is one line and no traceback.
"""

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress

_STOPPED = 128 + signal.SIGINT


def main() -> None:
    """Import the command line and run it."""
    before = signal.getsignal(signal.SIGINT)
    ours = before == signal.default_int_handler  # else whoever started it wants it otherwise
    if ours:
        signal.signal(signal.SIGINT, _stop)
    from fluoroscope.cli import main as run

    if ours:
        signal.signal(signal.SIGINT, before)
    try:
        run()
    except SystemExit as end:
        if any(thread.name.startswith("studio-") for thread in threading.enumerate()):
            _leave(end.code)
        raise


def _leave(code: object) -> None:
    """Without taking the interpreter apart: threads that are still inside PyTorch would end in an
    abort.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)


def _stop(*_: object) -> None:
    """At once: nothing was begun, and an exception would end in whatever is being imported."""
    over = b"\r\x1b[K" if os.isatty(2) else b""  # the ^C that the terminal shows
    os.write(2, over + b"fluoroscope: stopped\n")
    os._exit(_STOPPED)


if __name__ == "__main__":
    main()
