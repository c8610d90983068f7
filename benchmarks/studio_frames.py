"""How frames reach the page: as base64 in the events, or as bytes by a side channel.

A small server sends the same frames both ways to a browser, which makes each an ``ImageData``. The
side channel is one stream of bytes, frame after frame, that is read beside the events.
"""

import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route

from benchmarks.timing import Timing, interleaved

# Each way's answer is how many frames came, once all of them have.
_PAGE = """<!doctype html><script>
function shown(values, side, channels) {
  const image = new ImageData(side, side);
  for (let pixel = 0; pixel < side * side; pixel++) {
    for (let channel = 0; channel < 3; channel++)
      image.data[4 * pixel + channel] = values[channels === 1 ? pixel : 3 * pixel + channel];
    image.data[4 * pixel + 3] = 255;
  }
  return image;
}
function text(side, channels) {
  return new Promise((done) => {
    let count = 0;
    const source = new EventSource("text");
    source.onmessage = (told) => {
      const packed = JSON.parse(told.data).pixels;
      if (packed === null) { source.close(); done(count); return; }
      const letters = atob(packed);
      const values = new Uint8Array(letters.length);
      for (let at = 0; at < letters.length; at++) values[at] = letters.charCodeAt(at);
      shown(values, side, channels);
      count++;
    };
  });
}
async function bytes(side, channels) {
  const size = side * side * channels;
  const reader = (await fetch("bytes")).body.getReader();
  const whole = new Uint8Array(size);
  let filled = 0, count = 0;
  const told = new Promise((done) => {
    const source = new EventSource("numbers");
    source.onmessage = (said) => {
      if (JSON.parse(said.data).step === null) { source.close(); done(); }
    };
  });
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    for (let at = 0; at < value.length; ) {
      const part = value.subarray(at, at + size - filled);
      whole.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled === size) { shown(whole, side, channels); count++; filled = 0; }
    }
  }
  await told;
  return count;
}
</script>"""


def both_ways(browser: Any, side: int, channels: int, frames: int, repeats: int) -> Timing:
    """Seconds of both ways, interleaved."""
    values = np.random.default_rng(0).integers(0, 256, (frames, side, side, channels), np.uint8)
    with _served([one.tobytes() for one in values]) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)

        def way(name: str) -> None:
            came = page.evaluate(f"{name}({side}, {channels})")
            if came != frames:
                raise RuntimeError(f"{came} of {frames} frames came by {name}")

        timing = interleaved(
            {name: lambda name=name: way(name) for name in ("text", "bytes")},  # type: ignore[misc]
            repeats,
        )
        context.close()
    return timing


@contextmanager
def _served(frames: list[bytes]) -> Iterator[str]:
    def event(data: dict[str, Any]) -> bytes:
        return f"data: {json.dumps(data)}\n\n".encode()

    async def text(_: Request) -> StreamingResponse:
        async def told() -> AsyncIterator[bytes]:
            for number, one in enumerate(frames):
                yield event({"step": number, "pixels": base64.b64encode(one).decode("ascii")})
            yield event({"step": None, "pixels": None})

        return StreamingResponse(told(), media_type="text/event-stream")

    async def numbers(_: Request) -> StreamingResponse:
        async def told() -> AsyncIterator[bytes]:
            for number in range(len(frames)):
                yield event({"step": number})
            yield event({"step": None})

        return StreamingResponse(told(), media_type="text/event-stream")

    async def raw(_: Request) -> StreamingResponse:
        async def told() -> AsyncIterator[bytes]:
            for one in frames:
                yield one

        return StreamingResponse(told(), media_type="application/octet-stream")

    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse(_PAGE)

    routes = [Route("/", page), Route("/text", text), Route("/numbers", numbers)]
    application = Starlette(routes=[*routes, Route("/bytes", raw)])
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(10)
