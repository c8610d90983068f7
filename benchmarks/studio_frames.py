"""How frames reach the page: as base64 in server-sent events, or as bytes in a stream of messages.

A small server tells the same log both ways as the studio does, to a browser that makes an
``ImageData`` of each frame.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from benchmarks.timing import Timing, interleaved
from fluoroscope.studio.doors.event_stream import EVENTS, MESSAGES, EventStream, Form
from fluoroscope.studio.jobs.log import EventLog

# Each way's answer is how many frames came, once all of them have. Pieces are put together as
# web/src/api/stream.ts does.
_PAGE = """<!doctype html><script>
function shown(values, { width, height, channels }) {
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let channel = 0; channel < 3; channel++)
      image.data[4 * pixel + channel] = values[channels === 1 ? pixel : 3 * pixel + channel];
    image.data[4 * pixel + 3] = 255;
  }
  return image;
}
function text() {
  return new Promise((done) => {
    let count = 0;
    const source = new EventSource("text");
    source.addEventListener("end", () => { source.close(); done(count); });
    source.addEventListener("step", (told) => {
      const frame = JSON.parse(told.data).frames.now;
      const letters = atob(frame.pixels);
      const values = new Uint8Array(letters.length);
      for (let at = 0; at < letters.length; at++) values[at] = letters.charCodeAt(at);
      shown(values, frame);
      count++;
    });
  });
}
async function bytes() {
  const reader = (await fetch("bytes")).body.getReader();
  let count = 0, filled = 0, part = new Uint8Array(8), head = null, pixels = null;
  const whole = () => {
    filled = 0;
    if (head === null) {
      const lengths = new DataView(part.buffer);
      if (lengths.getUint32(0, true) === 0) return;
      part = head = new Uint8Array(lengths.getUint32(0, true));
      pixels = new Uint8Array(lengths.getUint32(4, true));
      return;
    }
    if (part === head && pixels.length > 0) { part = pixels; return; }
    const told = JSON.parse(new TextDecoder().decode(head));
    if (told.event === "step") {
      const frame = told.data.frames.now, [place, length] = frame.pixels;
      shown(pixels.subarray(place, place + length), frame);
      count++;
    }
    part = new Uint8Array(8);
    head = null;
  };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return count;
    for (let at = 0; at < value.length; ) {
      const some = value.subarray(at, at + part.length - filled);
      part.set(some, filled);
      filled += some.length;
      at += some.length;
      if (filled === part.length) whole();
    }
  }
}
</script>"""


def both_ways(browser: Any, side: int, channels: int, frames: int, repeats: int) -> Timing:
    """Seconds of both ways, interleaved."""
    values = np.random.default_rng(0).integers(0, 256, (frames, side, side, channels), np.uint8)
    log = EventLog(most_frame_bytes=2 * values.nbytes)
    for step, one in enumerate(values):
        frame = {"width": side, "height": side, "channels": channels, "pixels": one.tobytes()}
        log.tell("step", {"step": step}, frames={"now": frame})
    log.tell("end", {})
    with _served(log) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)

        def way(name: str) -> None:
            came = page.evaluate(f"{name}()")
            if came != frames:
                raise RuntimeError(f"{came} of {frames} frames came by {name}")

        timing = interleaved(
            {name: lambda name=name: way(name) for name in ("text", "bytes")},  # type: ignore[misc]
            repeats,
        )
        context.close()
    return timing


@contextmanager
def _served(log: EventLog) -> Iterator[str]:
    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse(_PAGE)

    def told(form: Form) -> Any:
        async def answer(_: Request) -> EventStream:
            return EventStream(log, 0, form)

        return answer

    ways = [Route("/text", told(EVENTS)), Route("/bytes", told(MESSAGES))]
    application = Starlette(routes=[Route("/", page), *ways])
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(10)
