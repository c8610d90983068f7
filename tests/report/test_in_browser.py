"""The page in a browser without a network: it asks for nothing, fits, and all can read it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_networks import MARKUP, small

import fluoroscope as fs

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


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


@pytest.fixture(scope="module")
def wide(quick: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with names as long and as hostile as they come."""
    labels = [f"{number}-{'long' * 30}" for number in range(11)] + [MARKUP]
    model, images, numbers = small(12, labels=labels)
    model.name = "a-network-" + "with-a-name-" * 12
    report = fs.xray(
        model, images, numbers, threat="linf:0.02", command=f"xray {'very' * 60}",
        sections=["verdict", "clean", "pictures", "map", "next"],
    )  # fmt: skip
    return report.save(tmp_path_factory.mktemp("wide") / "report.html")


@pytest.fixture(scope="module")
def file(page: fs.Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page.save(tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1366, 768), (375, 667)])
@pytest.mark.parametrize("which", ["file", "wide"])
def test_page_asks_for_nothing_and_all_can_read_it(
    browser: Any, request: pytest.FixtureRequest, which: str, width: int, height: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe is not installed")
    path = request.getfixturevalue(which)
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True,
        bypass_csp=False,
    )  # fmt: skip
    try:
        tab = context.new_page()
        said: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda one: asked.append(one.url))
        tab.goto(path.as_uri())
        tab.wait_for_load_state("networkidle")
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        assert said == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        # Opened, the tables must not stick out either.
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        loaded = "[...document.images].every(one => one.complete && one.naturalWidth > 0)"
        assert tab.evaluate(loaded)
        script = axe.AXE_FILE_PATH if hasattr(axe, "AXE_FILE_PATH") else None
        source = Path(script or Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")
        tab.evaluate(source)
        found = tab.evaluate("axe.run()")
        problems = [
            (one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"])
            for one in found["violations"]
        ]
        assert problems == []
    finally:
        context.close()


def test_page_prints(browser: Any, file: Path) -> None:
    context = browser.new_context(offline=True, color_scheme="dark")
    try:
        tab = context.new_page()
        tab.goto(file.as_uri())
        printed = tab.pdf(format="A4", prefer_css_page_size=True)
        assert printed.startswith(b"%PDF")
        assert 2 <= printed.count(b"/Type /Page\n") <= 20 or b"/Count" in printed
        tab.emulate_media(media="print")
        ink = tab.evaluate("getComputedStyle(document.body).color")
        assert ink == "rgb(0, 0, 0)"
    finally:
        context.close()
