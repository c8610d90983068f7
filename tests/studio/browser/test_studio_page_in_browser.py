"""The studio's page in a browser: it asks for nothing of others, fits, and all can use it."""

from collections.abc import Callable

import pytest

from tests.studio.browser.window import Window

Open = Callable[..., Window]


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 800), (3840, 2160)])
def test_nothing_sticks_out_and_axe_finds_nothing(
    open_window: Open, width: int, height: int
) -> None:
    window = open_window(viewport={"width": width, "height": height})
    assert window.width_left() <= 0
    assert window.violations() == []
