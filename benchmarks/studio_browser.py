"""What a page does on the screen: when it first paints, how often, and what holds it up.

Pictures are painted by ``putImageData`` alone, so that is what is noted, whatever the page is made
of; long tasks are those of the browser's own observer.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.page import Skipped

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_WATCH = r"""(() => {
  const seen = { clicked: null, painted: [], long: [], ended: [] };
  window.seen = seen;
  const put = CanvasRenderingContext2D.prototype.putImageData;
  let waits = false;
  CanvasRenderingContext2D.prototype.putImageData = function (...given) {
    put.apply(this, given);
    if (waits) return;
    waits = true;
    // What was put is seen when the frame that follows has been made.
    requestAnimationFrame(() => setTimeout(() => {
      waits = false;
      seen.painted.push(performance.now());
    }));
  };
  // The page leaves the stream of a job once it has heard its end.
  const ask = window.fetch;
  window.fetch = (path, how) => {
    if (/\/stream(\?|$)/.test(path))
      how.signal.addEventListener("abort", () => seen.ended.push(performance.now()));
    return ask(path, how);
  };
  new PerformanceObserver((found) => {
    for (const one of found.getEntries()) seen.long.push([one.startTime, one.duration]);
  }).observe({ type: "longtask", buffered: true });
  addEventListener("click", () => {
    seen.clicked = performance.now();
    seen.painted.length = seen.ended.length = 0;
  }, { capture: true });
})();"""


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, started once inside the block."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Skipped("playwright is not installed") from None
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        raise Skipped(f"no browser is installed: none of {', '.join(_NAMES)}")
    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=_FLAGS)
        yield found
        found.close()


@contextmanager
def watched(browser: Any, url: str) -> Iterator[Any]:
    """A page of the studio whose painting is watched."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(_WATCH)
    page = context.new_page()
    page.goto(url)
    yield page
    context.close()


def morphed(page: Any, into: str, steps: int) -> dict[str, float]:
    """Choose another class by a click, and say what was painted until the last step was looked at.

    All in milliseconds from the click but ``rate``, which is pictures a second.
    """
    panel = page.get_by_role("region", name="Morph", exact=True)
    stop = panel.get_by_role("button", name="Stop", exact=True)
    ended = stop.and_(page.locator(":disabled"))
    panel.get_by_role("slider").and_(page.locator(":enabled")).wait_for()
    ended.wait_for()
    word = page.get_by_role("region", name="What is shown").get_by_role("button", name="Class:")
    word.click()
    option = page.get_by_role("dialog", name="Class").get_by_role(
        "option", name=re.compile(rf"^{into}\b")
    )
    option.wait_for()
    option.click()
    slider = panel.get_by_role("slider").and_(
        page.locator(f"[aria-valuetext^='Step {steps} of {steps}']")
    )
    slider.wait_for(timeout=60_000)
    seen = page.evaluate("seen")
    painted = [moment - seen["clicked"] for moment in seen["painted"]]
    long = [length for start, length in seen["long"] if start >= seen["clicked"]]
    return {
        "first": painted[0],
        "arrived": seen["ended"][0] - seen["clicked"],
        "rate": 1000 * (len(painted) - 1) / (painted[-1] - painted[0]),
        "longest": max(long, default=0.0),
    }
