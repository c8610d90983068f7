"""The page that says which attack to take knows every attack, and none that is not there."""

import re
from pathlib import Path

from fluoroscope.attacks.registry import ATTACKS

PAGE = Path(__file__).parents[2] / "docs" / "attacks.md"


def test_every_attack_has_a_place_in_the_table() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    named = set(re.findall(r"`([a-z0-9|\\-]+)`", "\n".join(rows)))
    named = {part for name in named for part in re.split(r"\\?\|", name)}
    assert ATTACKS.keys() - named == set()
    assert {name for name in named - ATTACKS.keys() if not name.startswith("--")} == set()
