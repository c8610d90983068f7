"""A morph as one goes through it: links, steps, the end of patience, and lost connections."""

import re
from collections.abc import Callable
from typing import Any

from tests.studio.browser.line import Line
from tests.studio.browser.window import Window

Open = Callable[..., Window]
SHORT = "?network=digits-cnn&picture=digits:7&to=2&eps=0.3&steps=20"
LONG = "?network=slow&picture=digits:7&to=2&eps=0.3&steps=100&at=100"


def step_of(window: Window) -> Any:
    return window.panel("Morph").get_by_role("slider")


def ended(window: Window) -> None:
    """Wait until there is nothing to stop any more."""
    stop = window.panel("Morph").get_by_role("button", name="Stop", exact=True)
    stop.and_(window.page.locator(":disabled")).wait_for()


def test_a_first_visit_moves_by_itself(open_window: Open) -> None:
    window = open_window()
    window.panel("Morph").get_by_role("button", name="Pause").wait_for()
    window.panel("Morph").get_by_role("button", name="Play").wait_for()  # it came to the end
    window.see("Step 40 of 40")
    assert window.violations() == []


def test_a_link_reproduces_the_view(open_window: Open) -> None:
    window = open_window(f"{SHORT}&at=5")
    window.see("Step 5 of 20")
    said = step_of(window).get_attribute("aria-valuetext")
    assert re.match(r"Step 5 of 20: \S+ (> )?[\d.]+ %", said)
    ended(window)
    window.page.keyboard.press("End")
    window.see("Step 20 of 20")
    window.page.wait_for_url(lambda url: "at=" not in url or "at=20" in url)
    step_of(window).focus()
    window.page.keyboard.press("Home")
    for _ in range(5):
        window.page.keyboard.press("ArrowRight")
    window.page.wait_for_url("**at=5*")
    other = open_window(window.page.url.removeprefix(window.url).lstrip("/"))
    other.see("Step 5 of 20")
    assert step_of(other).get_attribute("aria-valuetext") == said


def test_a_long_morph_is_stopped(open_window: Open) -> None:
    window = open_window(LONG)
    window.panel("Morph").get_by_role("slider").and_(window.page.locator(":enabled")).wait_for()
    with window.page.expect_request(lambda one: one.method == "DELETE") as asked:
        window.panel("Morph").get_by_role("button", name="Stop").click()
    window.see("Stopped. What came until then is shown.")
    assert asked.value.response().json()["id"] == asked.value.url.rpartition("/")[2]
    assert int(step_of(window).get_attribute("aria-valuetext").split()[1]) < 100
    assert window.violations() == []


def test_a_lost_connection_comes_back_and_nothing_is_missing(open_window: Open, line: Line) -> None:
    window = open_window(LONG, url=line.url)
    window.expected = ["ERR_"]
    window.see("Running…")
    line.drop()
    window.see("Step 100 of 100")
    assert [job["kind"] for job in window.posted].count("morph") == 1


def test_a_server_that_is_gone_is_said_and_that_it_is_back(open_window: Open, line: Line) -> None:
    window = open_window(LONG, url=line.url)
    window.expected = ["ERR_"]
    window.see("Running…")
    line.cut()
    window.see("The connection is lost; coming back…")
    window.see("The studio does not answer.")
    assert window.violations() == []
    line.mend()
    window.panel("Morph").get_by_text("does not answer").wait_for(state="hidden")
