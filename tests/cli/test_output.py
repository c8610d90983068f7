"""What is data stays data: no markup, no emoji, and nothing that steers a terminal."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fluoroscope.cli.output import Output, harmless, one_line

STRANGE = "\x1b]0;owned\x07\x1b[31m[red]:smile:\u202e\x9b5m\ud800é"


def test_signs_that_do_something() -> None:
    assert harmless(STRANGE) == " ]0;owned  [31m[red]:smile:  5m é"
    assert harmless("two\nlines\tof\rtext") == "two\nlines of text"
    assert one_line("two\nlines") == "two lines"
    long = one_line("a" * 10_000 + "end")
    assert len(long) < 2100
    assert long.endswith("end")


def test_lines_tables_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output("-")
    output.say(STRANGE)
    output.table([STRANGE, "n>"], [[STRANGE, 1]], title=STRANGE)
    output.json({"label": STRANGE})
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert all(sign.isprintable() or sign == "\n" for sign in text)
        assert ":smile:" in text
    assert json.loads(said.out) == {"label": STRANGE}
    assert "é" in said.out


def test_a_mistake_is_one_harmless_line(fluoroscope: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "\x1b]0;owned\x07\x1b[31m"
    folder.mkdir()
    (folder / "a.png").write_text("broken")
    said = fluoroscope("predict", "-m", "digits-linear", "-d", str(folder))
    assert said.code == 2
    assert "No such option" not in said.err
    assert said.err.count("\n") == 1
    assert said.err[:-1].isprintable()


def test_at_80_columns_long_words_leave_a_bar_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fluoroscope.cli import output as module

    monkeypatch.setattr(module, "_EVERY", 0.0)
    screen, output = StringIO(), Output(None)
    output._progress = Console(file=screen, force_terminal=True, width=80)  # type: ignore[assignment]
    with output.measuring() as move:
        move(0.0, "beginning")
        monkeypatch.setattr(module.TimeLeft, "at", lambda *_: "12:34 left")
        move(0.25, "words " * 20)
    shown = screen.getvalue()
    assert "12:34 left" in shown
    assert "words w… " in shown
    assert " 25%" in shown
