"""The pictures in docs/studio.md, photographed in Chromium.

Written by ``make pictures``; one alone by ``python -m reproductions.studio_pictures NAME``. The
photograph is Chelsea, the cat of scikit-image, by Stéfan van der Walt (CC0); the full-size network
lies in ``../shared``.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from skimage.data import chelsea

from benchmarks.studio_browser import browser
from benchmarks.studio_client import Running, running
from fluoroscope.files import atomic_path
from reproductions.sources import NETWORKS

FOLDER = Path("docs/studio")
MOBILENET = Path(NETWORKS["MobileNet v2 1.0"]).resolve()
# A laptop's window, a large screen, and a phone's.
LAPTOP, LARGE, PHONE = (1280, 800), (1920, 1080), (360, 740)
# As high as any panel, which is photographed whole.
HIGH = (1280, 1600)
DIGITS = "?network=digits-cnn&picture=digits:7&to=2&eps=0.3&steps=40"
MOST_BYTES = 150_000


def first(studio: Running, browser: Any) -> None:
    """What is seen first."""
    page = _open(browser, studio, f"{DIGITS}&at=12", LAPTOP)
    _write(page.screenshot(), "first")


def wide(studio: Running, browser: Any) -> None:
    """A projector's screen."""
    page = _open(browser, studio, f"{DIGITS}&at=12", LARGE, dark=True)
    _write(page.screenshot(), "wide")


def phone(studio: Running, browser: Any) -> None:
    """A phone, at the morph."""
    page = _open(browser, studio, f"{DIGITS}&at=12", PHONE, dark=True)
    _panel(page, "Morph").evaluate("one => one.scrollIntoView()")
    _write(page.screenshot(), "phone")


def morph(studio: Running, browser: Any) -> None:
    """The cat on its way to a vulture."""
    file = io.BytesIO()
    Image.fromarray(chelsea()).save(file, "PNG")
    kept = studio.client.post("/api/pictures", content=file.getvalue()).raise_for_status().json()
    said = f"?network={MOBILENET.name}&picture={kept['name']}&to=vulture&eps=2/255&steps=12"
    page = _open(browser, studio, f"{said}&at=12&times=50", HIGH)
    _write(_panel(page, "Morph").screenshot(), "morph")


def attack(studio: Running, browser: Any) -> None:
    """A plain network and a robust one under the same attack."""
    page = _open(browser, studio, f"{DIGITS}&aeps=0.2&beside=network&times=1", HIGH)
    panel = _panel(page, "Attack")
    panel.get_by_role("button", name="Attack both").click()
    for name in ("digits-cnn", "digits-robust"):
        lane = panel.get_by_role("region", name=f"apgd on {name}")
        lane.locator(".badge").wait_for(timeout=60_000)
    _write(panel.locator(".lanes").screenshot(), "attack")


def why(studio: Running, browser: Any) -> None:
    """Why the 7 is taken for a 2, beside random weights, with what an audit says."""
    page = _open(browser, studio, f"{DIGITS}&at=12", HIGH)
    panel = _panel(page, "Why")
    panel.scroll_into_view_if_needed()
    panel.get_by_role("button", name="The audit with scores").click()
    panel.get_by_text("methods have a verdict").wait_for(timeout=300_000)
    _idle(panel)
    _settle(page)
    _write(panel.screenshot(), "why")


def units(studio: Running, browser: Any) -> None:
    """Who turned since the start."""
    page = _open(browser, studio, f"{DIGITS}&at=12&turned=true", HIGH)
    panel = _panel(page, "The units that decided")
    panel.scroll_into_view_if_needed()
    panel.get_by_text("From the start to").first.wait_for(timeout=60_000)
    _idle(panel)
    _settle(page)
    _write(panel.screenshot(), "units")


def beliefs(studio: Running, browser: Any) -> None:
    """What the network believes a 9 and a 2 look like."""
    page = _open(browser, studio, DIGITS, HIGH)
    panel = _panel(page, "What it believes")
    panel.get_by_role("button", name="Portraits of").click()
    panel.get_by_role("button", name="Again with another seed").wait_for(timeout=300_000)
    _settle(page)
    _write(panel.screenshot(), "beliefs")


def _open(
    browser: Any, studio: Running, said: str, size: tuple[int, int], *, dark: bool = False
) -> Any:
    """A page whose morph has come to its end."""
    page = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce",
        color_scheme="dark" if dark else "light",
    ).new_page()  # fmt: skip
    page.goto(f"{studio.url}/{said}")
    panel = _panel(page, "Morph")
    panel.get_by_role("slider").and_(page.locator(":enabled")).wait_for(timeout=120_000)
    stop = panel.get_by_role("button", name="Stop", exact=True)
    stop.and_(page.locator(":disabled")).wait_for(timeout=120_000)
    _settle(page)
    return page


def _panel(page: Any, title: str) -> Any:
    return page.get_by_role("region", name=title, exact=True)


def _idle(panel: Any) -> None:
    """Until nothing in it is to be stopped."""
    panel.get_by_role("button", name="Stop").first.wait_for(state="hidden", timeout=300_000)


def _settle(page: Any) -> None:
    """Until nothing is fetched any more, and what came is painted."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1000)


def _write(shot: bytes, name: str) -> None:
    """As a PNG of few colours, which the page is made of, and of modest size."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(shot)) as opened:
        picture = opened.convert("RGB")
    for colours in (256, 128, 64, 32):
        file = io.BytesIO()
        small = picture.quantize(colours, dither=Image.Dither.NONE)
        small.save(file, "PNG", optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    path = FOLDER / f"{name}.png"
    with atomic_path(path) as draft:
        draft.write_bytes(file.getvalue())
    print(f"wrote {path} ({file.tell() / 1e3:.0f} kB, {colours} colours)", flush=True)


PICTURES: dict[str, Callable[[Running, Any], None]] = {
    "first": first, "wide": wide, "phone": phone, "morph": morph, "attack": attack, "why": why,
    "units": units, "beliefs": beliefs,
}  # fmt: skip


if __name__ == "__main__":
    with (
        running("--model", "digits-cnn", "--also", MOBILENET.name, cwd=MOBILENET.parent) as studio,
        browser() as found,
    ):
        for name in sys.argv[1:] or PICTURES:
            PICTURES[name](studio, found)
