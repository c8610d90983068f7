"""The line that says what a command is at: on a terminal alone, and gone when something is said."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from pathlib import Path

import pytest

from fluoroscope.cli import waiting as room
from fluoroscope.cli.output import Output
from fluoroscope.cli.waiting import stoppable, waiting

COMMAND = [sys.executable, "-c", "from fluoroscope.cli import main; main()"]
PREDICT = ["predict", "-m", "digits-cnn", "-i", "digits:7", "--json", "-"]
GONE = "\r\x1b[K"


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It has a name, and Ctrl-C is heard, which background jobs may have been told not to."""
    monkeypatch.setenv("TERM", "xterm")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_words_are_there_at_once_and_gone_for_whatever_is_said() -> None:
    with redirect_stderr(Terminal()) as terminal, waiting.running():
        waiting.says("importing PyTorch")
        assert terminal.getvalue() == f"\r⠋ importing PyTorch{GONE[1:]}"
        Output("-").say("a line")
        assert f"{GONE[1:]}{GONE}a line" in terminal.getvalue()
        with waiting.hidden():
            before = terminal.getvalue()
            waiting.says("working")
            time.sleep(0.5)
            assert terminal.getvalue() == before
        time.sleep(0.3)
        assert " working" in terminal.getvalue()
    assert terminal.getvalue().endswith(GONE)
    waiting.says("nothing runs")
    assert terminal.getvalue().endswith(GONE)


def test_who_says_nothing_is_seen_to_be_at_work() -> None:
    with redirect_stderr(Terminal()) as terminal, waiting.running():
        time.sleep(0.1)
        assert not terminal.getvalue()
        time.sleep(0.6)
        assert " starting" in terminal.getvalue()


def test_a_line_is_not_longer_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(Terminal, "encoding", "ascii")
    with redirect_stderr(Terminal()) as terminal, waiting.running():
        waiting.says("loading a/very/long/name/of/a/network")
    assert terminal.getvalue().split("\x1b")[0] == "\r| loading a/very/lo"


def test_no_terminal_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    with waiting.running():
        waiting.says("importing PyTorch")
        time.sleep(0.5)
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_is_not_lost_in_what_a_library_makes_of_it() -> None:
    def turned_into_another() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as stop:
            raise ImportError("something was interrupted") from stop

    def swallowed() -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        waiting.says("loading")

    for library in (turned_into_another, swallowed):
        with pytest.raises(KeyboardInterrupt), stoppable():
            library()
    with pytest.raises(ImportError), stoppable():
        raise ImportError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def on_a_terminal(*, stop: bool, cwd: Path) -> tuple[int, str, str]:
    """Exit code, standard output, and what a terminal saw of standard error."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    child = subprocess.Popen(
        [*COMMAND, *PREDICT], stdout=subprocess.PIPE, stderr=theirs, cwd=cwd, env=environment
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            seen += os.read(ours, 4096)
        except OSError:  # nobody has the other end any more
            break
        if stop and b"importing PyTorch" in seen:
            stop = False
            child.send_signal(signal.SIGINT)
    os.close(ours)
    out, _ = child.communicate(timeout=60)
    return child.returncode, out.decode(), seen.decode()


def test_a_command_says_what_it_is_at_and_its_json_stays_alone(tmp_path: Path) -> None:
    code, out, seen = on_a_terminal(stop=False, cwd=tmp_path)
    assert code == 0
    assert json.loads(out)["model"] == "digits-cnn"
    assert seen.startswith("\r⠋ importing PyTorch")
    assert "loading digits-cnn" in seen
    line, _, table = seen.rpartition(GONE)
    assert "importing" in line
    assert "probability" in table


def test_ctrl_c_while_pytorch_is_imported_is_one_line(tmp_path: Path) -> None:
    code, out, seen = on_a_terminal(stop=True, cwd=tmp_path)
    assert (code, out) == (room.STOPPED, "")
    assert seen.replace("\r\n", "\n").split(GONE)[-1] == "fluoroscope: stopped\n"
    assert "Traceback" not in seen


IMPORTING = """
import signal, sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == "fluoroscope.cli.options":
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as stop:
                raise ImportError("something was interrupted") from stop
sys.meta_path.insert(0, Interrupted())
from fluoroscope.__main__ import main
main()
"""


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_the_command_line_is_imported_is_one_line(ignored: bool) -> None:
    ignore = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" if ignored else ""
    said = subprocess.run(
        [sys.executable, "-c", ignore + IMPORTING, "--version"], capture_output=True, text=True
    )
    if ignored:
        assert (said.returncode, said.stderr) == (0, "")
        assert said.stdout.startswith("fluoroscope ")
    else:
        assert (said.returncode, said.stdout) == (room.STOPPED, "")
        assert said.stderr == "fluoroscope: stopped\n"


def test_it_is_also_a_module() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "fluoroscope", "--version"], capture_output=True, text=True
    )
    assert said.stdout.startswith("fluoroscope "), said.stderr
