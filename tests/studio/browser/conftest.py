"""A browser before a studio, and a window of its own for each test."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from torch import nn

import fluoroscope as fs
from fluoroscope.studio.app import create_app
from fluoroscope.studio.guard.guard import Guard
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.studio import Studio
from tests.studio.browser.line import Line
from tests.studio.browser.window import Window

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MARKUP = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
_EACH_PASS = 0.02
THOUSAND = [f"class-{number}" for number in range(1000)]


def _linear(labels: list[str]) -> fs.Classifier:
    """A network of one layer for digits, other than blind to them."""
    with torch.random.fork_rng():
        torch.manual_seed(len(labels))
        module = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, len(labels))).eval()
    return fs.Classifier(module, input_size=28, channels=1, labels=labels)


class _Slow(nn.Module):
    """One that takes its time, so that there is some to do something meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = _linear(list("0123456789")).module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(_EACH_PASS)
        return self.inner(images)  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def studio_url() -> Iterator[str]:
    """A studio with the built-in networks and three that are a trial."""
    studio = Studio(
        Networks(
            {
                "digits-cnn": lambda: fs.load_model("digits-cnn"),
                "hostile": lambda: _linear([MARKUP, *(f"'\"&amp;{n}" for n in range(9))]),
                "slow": lambda: fs.Classifier(_Slow(), input_size=28, channels=1),
                "thousand": lambda: _linear(THOUSAND),
            }
        ),
        Pictures({"digits": lambda channels: fs.load_images("digits", channels=channels)}),
    )
    with serving(studio) as url:
        yield url


@contextmanager
def serving(studio: Studio) -> Iterator[str]:
    """The studio on a port of its own inside the block."""
    server = uvicorn.Server(uvicorn.Config(Guard(create_app(studio)), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


# One for each file of tests: while it is there, nothing else in its thread can have an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(_NAMES)}")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=_FLAGS)
        yield found
        found.close()


@pytest.fixture
def line(studio_url: str) -> Iterator[Line]:
    found = Line(studio_url)
    yield found
    found.cut()


@pytest.fixture(scope="session")
def axe_source() -> str:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe is not installed")
    return Path(axe.AXE_FILE_PATH).read_text("utf-8")


@pytest.fixture
def open_window(browser: Any, studio_url: str, axe_source: str) -> Iterator[Callable[..., Window]]:
    """Opens windows; what any of them complained of fails the test at its end."""
    opened: list[Window] = []

    def opening(
        path: str = "", *, url: str = studio_url, panels: bool = True, **options: Any
    ) -> Window:
        options = {"viewport": {"width": 1280, "height": 800}} | options
        window = Window(browser.new_context(**options), url, axe_source)
        opened.append(window)
        window.visit(path, panels)
        return window

    yield opening
    complaints = [window.close() for window in opened]
    assert [one for window in complaints for one in window] == []
