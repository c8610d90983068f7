"""``fluoroscope map``: what it writes, says and refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fluoroscope as fs


def test_writes_the_map_and_says_the_way(fluoroscope: Callable[..., Any], tmp_path: Path) -> None:
    said = fluoroscope(
        "map", "-m", "digits-cnn", "--data", "digits", "--limit", "30", "--classes", "1;4;7",
        "--pictures", "1", "--route", "1;7", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["pairs_measured"] == 6
    assert found["route"]["classes"][0] == "1"
    assert "(straight:" in said.err
    assert (tmp_path / "class_map.png").is_file()
    assert fs.ClassMap.load(tmp_path / "class_map.json").norm == "linf"


def test_a_route_has_two_ends(fluoroscope: Callable[..., Any], tmp_path: Path) -> None:
    said = fluoroscope(
        "map", "-m", "digits-cnn", "--data", "digits", "--route", "1", "--out", str(tmp_path)
    )
    assert said.code == 2
    assert "expected two labels" in said.err
