"""A log as a stream to one reader, who may leave, or be slow, at any time.

It is told as server-sent events, which any client reads, or as messages whose pictures are bytes:
browsers take several times as long for the same in base64.
"""

from collections.abc import Callable
from struct import pack
from typing import Any, NamedTuple

import anyio
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluoroscope.studio.jobs.log import Event, EventLog, Reader

RETRY = 200
"""Milliseconds after which a reader who lost the stream comes back: well before its job ends."""
KEEP_ALIVE = 10.0
"""Seconds without an event after which a comment says that the stream is still there."""
STALLED = 30.0
"""Seconds for which one piece may be on its way; who takes longer is gone."""
_HEADERS = {
    "Cache-Control": "no-store, no-transform",  # nobody keeps it, and nobody compresses it
    "X-Accel-Buffering": "no",  # nginx, and those that took it over, hand on what comes
}


class Form(NamedTuple):
    """How a log is told."""

    media_type: str
    first: bytes
    """What comes before all events, so that readers know at once that they are heard."""
    alive: bytes
    """What says that there is still somebody."""
    encoded: Callable[[EventLog, Event], bytes]


def _as_event(log: EventLog, event: Event) -> bytes:
    # As format_sse_event has it, for data that has no line breaks and is bytes already.
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (
        event.number, event.name.encode(), log.spelled(event)
    )  # fmt: skip


def _as_message(_: EventLog, event: Event) -> bytes:
    data, pixels = event.placed
    head = b'{"id":%d,"event":"%b","data":%b}' % (event.number, event.name.encode(), data)
    return b"".join((pack("<II", len(head), len(pixels)), head, pixels))


EVENTS = Form("text/event-stream", format_sse_event(retry=RETRY), KEEPALIVE_COMMENT, _as_event)
_EMPTY = pack("<II", 0, 0)
MESSAGES = Form("application/octet-stream", _EMPTY, _EMPTY, _as_message)
"""Each message: the lengths of two parts as little-endian 32-bit numbers, and the parts, which are
an object ``{id, event, data}`` in JSON and the bytes in which the pixels of its frames lie. One
with two empty parts says that the stream is still there."""


class EventStream(Response):
    """The events of a log past number ``after``.

    The log knows of the reader exactly as long as there is one: it is told at once when the
    connection ends, also between two events.
    """

    def __init__(self, log: EventLog, after: int, form: Form) -> None:
        super().__init__(headers=_HEADERS, media_type=form.media_type)
        del self.headers["content-length"]
        self._log, self._after, self._form = log, after, form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body"})
            return
        with self._log.reader(self._after) as reader:
            async with anyio.create_task_group() as both:

                async def listen() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    both.cancel_scope.cancel()

                both.start_soon(listen)
                await send(start)
                await self._tell(reader, send)
                both.cancel_scope.cancel()

    async def _tell(self, reader: Reader, send: Send) -> None:
        async def give(piece: bytes, **more: Any) -> None:
            with anyio.fail_after(STALLED):
                await send({"type": "http.response.body", "body": piece, "more_body": True, **more})

        try:
            await give(self._form.first)
            while True:
                events = None
                with anyio.move_on_after(KEEP_ALIVE):
                    events = await reader.next()
                if events is None:
                    await give(self._form.alive)
                elif events:
                    await give(b"".join(self._form.encoded(self._log, one) for one in events))
                    await anyio.sleep(0)  # others have their turn, however much there is to tell
                else:
                    break
            await give(b"", more_body=False)
        except (TimeoutError, OSError):
            pass  # nobody takes it any more
