"""What a job has told: its events in order, read by any number of clients at their own pace.

The log is the only queue there is, and whatever a job does it stays within its bounds:

* Frames are bounded in bytes. Where a reader is slower than the job, the oldest frames are gone
  when it comes to them: first those of events that do not matter; then, once the others alone fill
  the bound, theirs too, but never those of the first event or of the newest.
* Events themselves (numbers, changes of winner, the end) are never dropped. A job that tells more
  of them than the log takes ends as failed.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

from fluoroscope.errors import FluoroscopeError
from fluoroscope.studio.jobs.encoding import as_places, as_text, encoded, encoded_frames

MOST_FRAME_BYTES = 64 * 2**20
"""Frames that a log holds."""
MOST_EVENT_BYTES = 32 * 2**20
"""Everything else that it holds."""
_AT_ONCE = 256 * 2**10
"""Bytes of events that a reader is handed in one go, if there are several."""
_TEXT_BYTES = 4 * 2**20
"""Of frames in base64 that are kept while readers of texts may want the same."""
_EVENT_BYTES = 300
"""What an event takes beside its text."""


@dataclass(slots=True)
class Event:
    """One thing that a job told."""

    number: int
    """From 1 and up without gaps: the ``id`` of the server-sent event."""
    name: str
    """``queued``, ``begin``, ``step``, ``winner``, ``progress``, ``end`` and what kinds add."""
    text: bytes
    """Its data as JSON."""
    frames: list[bytes] | None = None
    """Pictures that belong to it, see :func:`.encoded_frames`; ``None`` where none are left."""

    @property
    def size(self) -> int:
        """Bytes of its text and frames."""
        return len(self.text) + self.frame_bytes

    @property
    def frame_bytes(self) -> int:
        """Bytes of its frames."""
        return sum(map(len, self.frames or ()))

    @property
    def data(self) -> bytes:
        """The data as one text, with ``frames`` where they are still there."""
        frames = self.frames
        return self.text if frames is None else self._with(as_text(frames))

    @property
    def placed(self) -> tuple[bytes, bytes]:
        """The same without base64: see :func:`.as_places`."""
        frames = self.frames
        if frames is None:
            return self.text, b""
        text, pixels = as_places(frames)
        return self._with(text), pixels

    def _with(self, frames: bytes) -> bytes:
        comma = b"," if len(self.text) > 2 else b""
        return b'%b%b"frames":%b}' % (self.text[:-1], comma, frames)


class EventLog:
    """Written by the thread that works, read on event loops."""

    def __init__(
        self, most_frame_bytes: int = MOST_FRAME_BYTES, most_event_bytes: int = MOST_EVENT_BYTES
    ) -> None:
        self._most, self._most_text = most_frame_bytes, most_event_bytes
        self._events: list[Event] = []
        self._passing: deque[Event] = deque()
        self._mattering: deque[Event] = deque()
        self._frame_bytes = 0
        self._text_bytes = 0
        self._spelled: OrderedDict[int, bytes] = OrderedDict()
        self._spelled_bytes = 0
        self._ended = False
        self._lock = Lock()
        self._readers: set[Reader] = set()
        self._since = time.monotonic()
        self._was_read = False

    @property
    def size(self) -> int:
        """Bytes that it takes of memory."""
        return self._text_bytes + self._frame_bytes + self._spelled_bytes

    @property
    def last(self) -> int:
        """The number of its newest event; 0 where there is none."""
        return len(self._events)

    @property
    def ended(self) -> bool:
        """Whether it is complete."""
        return self._ended

    @property
    def readers(self) -> int:
        """Who reads it just now."""
        return len(self._readers)

    def unread(self) -> tuple[float, bool]:
        """For how many seconds nobody has been reading it, and whether anybody ever did."""
        with self._lock:
            return 0.0 if self._readers else time.monotonic() - self._since, self._was_read

    def tell(
        self,
        name: str,
        data: dict[str, Any],
        *,
        frames: dict[str, Any] | None = None,
        matters: bool = False,
    ) -> None:
        """Add an event; frames of one that ``matters`` are the last to be dropped.

        Numbers that are not finite are told as ``null``; see :mod:`.encoding`.

        Raises:
            FluoroscopeError: the log takes no more; ``end`` is always taken.
        """
        text = encoded(data)
        shown = None if frames is None else encoded_frames(frames)
        with self._lock:
            if self._ended:
                return
            added = len(text) + _EVENT_BYTES
            if name != "end" and self._text_bytes + added > self._most_text:
                raise FluoroscopeError(
                    f"the job has told {len(self._events)} events, which are all that is kept of "
                    f"one job ({self._most_text // 2**20} MiB): ask for fewer steps"
                )
            event = Event(len(self._events) + 1, name, text, shown)
            self._events.append(event)
            self._text_bytes += added
            if shown is not None:
                self._frame_bytes += event.frame_bytes
                (self._mattering if matters else self._passing).append(event)
                self._drop()
            self._ended = name == "end"
            readers = list(self._readers)
        for reader in readers:
            reader.wake()

    @contextmanager
    def reader(self, after: int = 0) -> "Iterator[Reader]":
        """Read the events past number ``after``, on the event loop that runs."""
        reader = Reader(self, after)
        with self._lock:
            self._readers.add(reader)
            self._was_read = True
        try:
            yield reader
        finally:
            with self._lock:
                self._readers.discard(reader)
                if not self._readers:
                    self._spelled.clear()
                    self._spelled_bytes = 0
                self._since = time.monotonic()

    def after(self, number: int) -> tuple[list[Event], bool]:
        """Some of the events past that number, and whether these are the last there will be."""
        found: list[Event] = []
        size = 0
        with self._lock:
            while number < len(self._events) and size < _AT_ONCE:
                found.append(self._events[number])
                size += found[-1].size
                number += 1
            return found, self._ended and number >= len(self._events)

    def spelled(self, event: Event) -> bytes:
        """The data of an event as one text, for a reader that there is.

        What many readers want at about the same time is put into base64 once.
        """
        if event.frames is None:
            return event.text
        with self._lock:
            found = self._spelled.get(event.number)
            if found is None:
                found = self._spelled[event.number] = event.data
                self._spelled_bytes += len(found)
                while self._spelled_bytes > _TEXT_BYTES and len(self._spelled) > 1:
                    self._spelled_bytes -= len(self._spelled.popitem(last=False)[1])
            return found

    def _drop(self) -> None:
        while self._frame_bytes > self._most:
            if self._passing:
                oldest = self._passing.popleft()
            elif len(self._mattering) > 2:
                oldest = self._mattering[1]
                del self._mattering[1]
            else:
                return
            self._frame_bytes -= oldest.frame_bytes
            oldest.frames = None


class Reader:
    """Where one reader has come to; made by :meth:`EventLog.reader`."""

    def __init__(self, log: EventLog, after: int) -> None:
        self._log, self._after = log, after
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something new; from any thread."""
        if not self._woken.is_set():
            with suppress(RuntimeError):  # its loop is closed: it reads no more
                self._loop.call_soon_threadsafe(self._woken.set)

    async def next(self) -> list[Event]:
        """What was told since, waiting for it; nothing once all was read up to the end."""
        while True:
            self._woken.clear()
            found, last = self._log.after(self._after)
            if found or last:
                self._after += len(found)
                return found
            await self._woken.wait()
