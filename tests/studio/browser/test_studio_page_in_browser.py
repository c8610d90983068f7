"""The studio's page in a browser: it asks for nothing of others, fits, and all can use it."""

from collections.abc import Callable

import httpx
import pytest

from tests.studio.browser.window import Window

Open = Callable[..., Window]


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 800), (3840, 2160)])
def test_nothing_sticks_out_and_axe_finds_nothing(
    open_window: Open, width: int, height: int
) -> None:
    window = open_window(viewport={"width": width, "height": height})
    assert window.sticks_out() == []
    assert window.violations() == []


def test_a_violation_would_be_found(open_window: Open) -> None:
    window = open_window()
    window.page.evaluate("document.body.append(document.createElement('button'))")
    assert ("light", "button-name") in {found[:2] for found in window.violations()}
    window.page.evaluate("fetch('http://192.0.2.1/').catch(() => 0)")
    window.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"top:0\">')")
    window.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p class=wide>.</p>')")
    window.page.evaluate("document.querySelector('.wide').style.width = '200vw'")
    assert any("wide" in one for one in window.sticks_out())
    complaints = "\n".join(window.close())
    assert "CSP: connect-src" in complaints
    assert "CSP: style-src" in complaints


def test_the_policy_allows_nothing_inline(studio_url: str) -> None:
    policy = httpx.get(studio_url).headers["content-security-policy"]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";") if part.strip())
    assert allowed["default-src"] == "'none'"
    assert allowed["script-src"] == allowed["style-src"] == allowed["connect-src"] == "'self'"
