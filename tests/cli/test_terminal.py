"""What strangers wrote reaches the terminal as plain words, and streams that end do no harm."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fluoroscope.cli
from fluoroscope.cli.output import Output, harmless, json_text
from fluoroscope.errors import FluoroscopeError, ResultFormatError

Call = Callable[..., Any]
COMMAND = [sys.executable, "-c", "from fluoroscope.cli import main; main()"]
HOSTILE = "\x1b]0;owned\x07 \x9b31m \u202e [bold]:smile:[/] \r"


def test_words_are_plain_wherever_they_go(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(None)
    output.say(HOSTILE)
    output.table([HOSTILE], [[HOSTILE]], title=HOSTILE)
    with output.telling():
        import warnings

        from fluoroscope.errors import FluoroscopeWarning

        warnings.warn(HOSTILE, FluoroscopeWarning, stacklevel=1)
    said = "".join(capsys.readouterr())
    assert not any(sign in said for sign in "\x1b\x9b\x07\u202e\r")
    assert said.count("[bold]:smile:[/]") == 5


def test_words_are_as_many_as_somebody_reads() -> None:
    assert len(harmless("y" * 100_000)) < 2100
    assert harmless("y" * 2000) == "y" * 2000
    assert harmless("  a\n\tb\ud800") == "  a\n b "


def test_errors_are_harmless(fluoroscope: Call, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    about = {"format": "\x1b[31m" + "y" * 100_000, "identity": {"plan": {"stages": []}}}
    (run / "run.json").write_text(json.dumps(about))
    said = fluoroscope("runs", "show", str(run))
    assert said.code == 2
    assert "\x1b" not in said.err
    assert len(said.err) < 2100
    assert said.err.count("\n") == 1


def test_json_shows_nothing_raw_and_is_the_same_when_read() -> None:
    value = {"name": "é\x9b\u202e\ud800\U000e0001\x7f", "list": [1.5, "a\nb"]}
    text = json_text(value)
    assert json.loads(text) == value
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert "é" in text
    with pytest.raises(ResultFormatError, match="finite numbers"):
        json_text({"a": float("nan")})


def call(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *arguments], text=True, timeout=60, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    for arguments in (["attacks"], ["attacks", "--json", "-"]):
        with Path("/dev/full").open("w") as full:
            said = call(*arguments, stdout=full, stderr=subprocess.PIPE)
        assert said.returncode == 2
        assert said.stderr.count("\n") == 1
        assert "standard output cannot be written" in said.stderr


def test_whoever_has_read_enough_is_not_told() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    said = call("attacks", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (said.returncode, said.stderr) == (1, "")


def test_characters_that_the_terminal_lacks() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    said = call("attacks", "--json", "-", capture_output=True, env=environment)
    assert said.returncode == 0
    assert json.loads(said.stdout)


def test_an_end_of_file_is_not_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*_: object, **__: object) -> None:
        try:
            raise EOFError("damaged")
        except EOFError as problem:
            raise fluoroscope.cli.typer.Abort from problem

    monkeypatch.setattr(fluoroscope.cli, "_built", lambda: ends)
    with pytest.raises(EOFError, match="damaged"):
        fluoroscope.cli.main()


def test_sigterm_leaves_no_draft_and_no_lock(tmp_path: Path) -> None:
    work = [
        *("evaluate", "-m", "digits-cnn", "-d", "digits", "--limit", "1500", "--threat"),
        *("linf:0.2", "--part", "20", "--out", str(tmp_path)),
    ]
    command = subprocess.Popen([*COMMAND, *work], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(tmp_path.glob("parts/*.parquet")) and time.monotonic() < end:
        time.sleep(0.05)
    command.send_signal(signal.SIGTERM)
    assert command.wait(60) == 128 + signal.SIGTERM
    assert not [file for file in tmp_path.rglob("*") if file.name.startswith(".fluoroscope")]


def test_a_mistake_is_still_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise FluoroscopeError("no\nsuch thing")

    monkeypatch.setattr(fluoroscope.cli, "_built", lambda: wrong)
    with pytest.raises(SystemExit) as end:
        fluoroscope.cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == "fluoroscope: no such thing\n"
