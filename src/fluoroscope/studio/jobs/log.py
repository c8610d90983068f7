"""What a job has told: its events in order, read by any number of clients at their own pace.

The log is the only queue there is. Its frames are bounded in bytes: where a reader is slower than
the job, the oldest frames are gone when it comes to them. Numbers, changes of winner and the end
are never dropped.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

MOST_FRAME_BYTES = 64 * 2**20
"""Frames that a log holds, as the text that is sent."""


@dataclass
class Event:
    """One thing that a job told."""

    number: int
    """From 1 and up without gaps: the ``id`` of the server-sent event."""
    name: str
    """``begin``, ``step``, ``winner``, ``progress``, ``end`` and what each kind of job adds."""
    text: str
    """Its data as JSON."""
    frame: str | None = None
    """Pictures that belong to it, as a JSON object; ``None`` where there are none any more."""

    @property
    def data(self) -> str:
        """What is sent: the data, with ``frames`` where they are still there."""
        if self.frame is None:
            return self.text
        return f'{self.text[:-1]}{"," if len(self.text) > 2 else ""}"frames":{self.frame}}}'


class EventLog:
    """Written by the thread that works, read on event loops."""

    def __init__(self, most_frame_bytes: int = MOST_FRAME_BYTES) -> None:
        self._most = most_frame_bytes
        self._events: list[Event] = []
        self._frames: deque[Event] = deque()
        self._frame_bytes = 0
        self._text_bytes = 0
        self._ended = False
        self._lock = Lock()
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    @property
    def bytes(self) -> int:
        """What it takes of memory."""
        return self._text_bytes + self._frame_bytes

    @property
    def readers(self) -> int:
        """Who reads it just now."""
        return len(self._waiting)

    def tell(
        self,
        name: str,
        data: dict[str, Any],
        *,
        frames: dict[str, Any] | None = None,
        matters: bool = False,
    ) -> None:
        """Add an event; frames of one that ``matters`` are never dropped."""
        text = json.dumps(data, allow_nan=False, separators=(",", ":"))
        shown = None if frames is None else json.dumps(frames, separators=(",", ":"))
        with self._lock:
            if self._ended:
                return
            event = Event(len(self._events) + 1, name, text, shown)
            self._events.append(event)
            self._text_bytes += len(text)
            if shown is not None:
                self._frame_bytes += len(shown)
                if not matters:
                    self._frames.append(event)
            while self._frame_bytes > self._most and self._frames:
                oldest = self._frames.popleft()
                self._frame_bytes -= len(oldest.frame or "")
                oldest.frame = None
            self._ended = name == "end"
            waiting = list(self._waiting.items())
        for woken, loop in waiting:
            if not woken.is_set():
                loop.call_soon_threadsafe(woken.set)

    async def read(self, after: int = 0) -> AsyncIterator[Event]:
        """The events past number ``after``, as they come, up to the end."""
        woken = asyncio.Event()
        with self._lock:
            self._waiting[woken] = asyncio.get_running_loop()
        try:
            while True:
                woken.clear()
                with self._lock:
                    event = self._events[after] if after < len(self._events) else None
                    ended = self._ended
                if event is not None:
                    after += 1
                    yield event
                elif ended:
                    return
                else:
                    await woken.wait()
        finally:
            with self._lock:
                self._waiting.pop(woken, None)
