"""Files of ours come neither among somebody's pictures nor into an adversarial set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

LINEAR = ["-m", "digits-linear"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("3", "5"):
        (tmp_path / "odd" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 200).save(tmp_path / "odd" / name / "one.png")
    return tmp_path / "odd"


@pytest.fixture
def led(tmp_path: Path) -> Path:
    (tmp_path / "led" / "data").mkdir(parents=True)
    (tmp_path / "led" / "adversarial.json").write_text("{}")
    return tmp_path / "led"


def held(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("within", [".", "below"])
def test_a_set_among_pictures_is_refused(
    fluoroscope: Callable[..., Any], pictures: Path, within: str
) -> None:
    before = held(pictures)
    command = ["neurons", "adversarial", *LINEAR, "-d", str(pictures), "--steps", "1"]
    said = fluoroscope(*command, "-o", str(pictures / within))
    assert said.code == 2
    assert "lies in the folder of the pictures" in said.err
    assert held(pictures) == before


def test_a_set_beside_other_files_is_refused(
    fluoroscope: Callable[..., Any], pictures: Path
) -> None:
    before = held(pictures)
    command = ["neurons", "adversarial", *LINEAR, "-d", "digits", "--limit", "2", "--steps", "1"]
    said = fluoroscope(*command, "-o", str(pictures))
    assert said.code == 2
    assert "holds '3', which is no adversarial set's" in said.err
    assert held(pictures) == before


@pytest.mark.parametrize(
    "command",
    [
        ["neurons", "read", "-d", "digits", "--limit", "9"],
        ["neurons", "show", "-d", "digits", "--limit", "9"],
        ["neurons", "consistency", "-d", "digits", "--limit", "9", "--adversarial", "digits"],
        ["neurons", "detect", "-d", "digits", "--limit", "9", "--adversarial", "digits"],
        ["trace", "-i", "digits:5"],
    ],
    ids=lambda command: command[1],
)
def test_results_in_a_set_are_refused(
    fluoroscope: Callable[..., Any], led: Path, command: list[str]
) -> None:
    before = held(led)
    said = fluoroscope(*command, *LINEAR, "-o", str(led))
    assert said.code == 2
    assert "holds an adversarial set" in said.err
    assert held(led) == before


def test_results_among_their_pictures_are_refused(
    fluoroscope: Callable[..., Any], pictures: Path
) -> None:
    before = held(pictures)
    said = fluoroscope("neurons", "read", *LINEAR, "-d", str(pictures), "-o", str(pictures))
    assert said.code == 2
    assert "is the folder of the pictures" in said.err
    assert held(pictures) == before
