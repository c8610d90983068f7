"""Files that jobs leave: made when they are first asked for, once, and kept within a bound."""

from collections.abc import Callable
from threading import Lock

from fluoroscope.errors import FluoroscopeError
from fluoroscope.notices import collected
from fluoroscope.process import one_thread

MOST_FILE_BYTES = 64 * 2**20
"""Of one file."""


class Leftover:
    """One file; whoever asks for it while it is made waits for the same bytes."""

    def __init__(self, media_type: str, make: Callable[[], bytes] | bytes, holds: int = 0) -> None:
        """``holds`` are the bytes that ``make`` keeps in memory until it was called."""
        self.media_type = media_type
        self._content = make if isinstance(make, bytes) else None
        self._make = None if isinstance(make, bytes) else make
        self._holds = holds
        self._lock = Lock()

    @property
    def size(self) -> int:
        """Bytes that it takes of memory."""
        content = self._content
        return self._holds if content is None else len(content)

    @property
    def made(self) -> bytes | None:
        """Its content, if it was made."""
        return self._content

    def content(self) -> bytes:
        """Its content, made if nobody asked before.

        Raises:
            FluoroscopeError: it cannot be made, or is too large.
        """
        with self._lock:
            if self._content is None and self._make is not None:
                with one_thread(), collected():
                    content = self._make()
                if len(content) > MOST_FILE_BYTES:
                    raise FluoroscopeError(
                        f"the file has {len(content) / 2**20:.0f} MiB; expected at most "
                        f"{MOST_FILE_BYTES // 2**20}: ask for fewer steps, or make it with the "
                        "command that the page shows"
                    )
                self._content, self._make = content, None
            assert self._content is not None
            return self._content
