"""The page on units: what it says to type runs, and every measure stands on it."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import fluoroscope as fs
from fluoroscope.cli import main
from fluoroscope.neurons.meaning.definitions import DEFINITIONS, NOISE

PAGE = (Path(__file__).parents[2] / "docs" / "neurons.md").read_text("utf-8")


def test_its_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.findall(r"^    (fluoroscope .*?)(?:  +#.*)?$", PAGE, re.MULTILINE)
    assert len(lines) >= 8
    monkeypatch.chdir(tmp_path)
    for line in lines:
        words = shlex.split(line)
        if "-d" in words and words[words.index("-d") + 1] == "digits":
            words += ["--limit", "60" if "detect" in words else "12"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code, line


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"fs": fs}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(code.replace("take(60)", "take(20)"), "docs/neurons.md", "exec"), names)


def test_every_measure_stands_in_the_table() -> None:
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| "))
    for about in DEFINITIONS.values():
        assert about.name.partition(" under ")[0].partition(",")[0] in rows, about.name
    assert f"σ = {NOISE}".replace("0.", ".") in PAGE
