"""A log as server-sent events, to one reader who may leave, or be slow, at any time."""

from typing import Any

import anyio
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
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


class EventStream(EventSourceResponse):
    """The events of a log past number ``after``.

    The log knows of the reader exactly as long as there is one: it is told at once when the
    connection ends, also between two events.
    """

    def __init__(self, log: EventLog, after: int) -> None:
        super().__init__((), headers=_HEADERS)
        self._log, self._after = log, after

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
                await _tell(reader, send)
                both.cancel_scope.cancel()


async def _tell(reader: Reader, send: Send) -> None:
    async def give(piece: bytes, **more: Any) -> None:
        with anyio.fail_after(STALLED):
            await send({"type": "http.response.body", "body": piece, "more_body": True, **more})

    try:
        await give(format_sse_event(retry=RETRY))
        while True:
            events = None
            with anyio.move_on_after(KEEP_ALIVE):
                events = await reader.next()
            if events is None:
                await give(KEEPALIVE_COMMENT)
            elif events:
                await give(b"".join(map(_encoded, events)))
                await anyio.sleep(0)  # others have their turn, however much there is to tell
            else:
                break
        await give(b"", more_body=False)
    except (TimeoutError, OSError):
        pass  # nobody takes it any more


def _encoded(event: Event) -> bytes:
    # As format_sse_event has it, for data that has no line breaks and is bytes already.
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.number, event.name.encode(), event.data)
