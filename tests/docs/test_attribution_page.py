"""The page that says which map to believe knows every method."""

import re
from pathlib import Path

from fluoroscope.attribution.names import METHODS

PAGE = Path(__file__).parents[2] / "docs" / "attribution.md"


def test_every_method_has_a_place_in_the_table() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    named = set(re.findall(r"`([a-z0-9+-]+)`", "\n".join(rows)))
    assert METHODS.keys() - named == set()
