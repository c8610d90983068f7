"""``fluoroscope audit``: a table, a file, JSON, and mistakes in a sentence."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

import fluoroscope as fs
from fluoroscope.attribution.audit import audit as auditing
from tests.cli.conftest import Said

Call = Callable[..., Said]
TWO = ("audit", "-m", "digits-cnn", "--limit", "3", "--method", "gradient")
BOTH = (*TWO, "--method", "guided-backprop")


def test_it_says_what_is_valid_and_keeps_it(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(*BOTH, "--out", str(tmp_path))
    assert said.code == 0, said.err
    assert "digits-cnn on 3 pictures of digits" in said.out
    for words in ("gradient ", "guided-backprop", "valid", "edges", "control", "relu 4"):
        assert words in said.out
    kept = fs.Audit.load(tmp_path)
    assert kept.methods == ("gradient", "guided-backprop")
    with mock.patch.object(auditing, "look", side_effect=AssertionError):
        again = fluoroscope(*BOTH, "--out", str(tmp_path), "--json", "-")
    assert again.code == 0, again.err
    told = json.loads(again.out)
    assert [one["verdict"] for one in told["methods"]] == ["valid", "valid"]
    assert told["complete"] is True


def test_verdicts_alone(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(*TWO, "--fast", "--out", str(tmp_path))
    assert said.code == 0, said.err
    assert "control" not in said.out
    assert not fs.Audit.load(tmp_path).controls


def test_stopped_it_says_how_to_go_on(fluoroscope: Call, tmp_path: Path) -> None:
    look = auditing.look

    def stops(*given: object) -> object:
        found = look(*given)  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)
        return found

    with mock.patch.object(auditing, "look", stops):
        said = fluoroscope(*TWO, "--out", str(tmp_path))
    assert said.code == 130
    assert "the same command goes on where this one stopped" in said.out
    with mock.patch.object(auditing, "look", side_effect=AssertionError):
        said = fluoroscope(*TWO, "--out", str(tmp_path))
    assert said.code == 0, said.err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("-m", "digits-cnn", "--method", "gradeint"), "did you mean gradient"),
        (("-m", "digits-cnn", "--method", "captum:liem"), "captum:lime"),
        (("-m", "digits-cnn", "-d", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_sentence(
    fluoroscope: Call, tmp_path: Path, given: tuple[str, ...], words: str
) -> None:
    said = fluoroscope("audit", *given, "--out", str(tmp_path))
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("text", ["mine", '{"methods": []}', "[1]"])
def test_a_file_of_somebody_elses_stays(fluoroscope: Call, tmp_path: Path, text: str) -> None:
    file = tmp_path / "audit.json"
    file.write_text(text)
    with mock.patch.object(auditing, "look", side_effect=AssertionError):
        said = fluoroscope(*TWO, "--fast", "--out", str(tmp_path))
    assert said.code == 2
    assert "audit.json is a file that no audit wrote, and stays" in said.err
    assert file.read_text() == text


def test_somebody_elses_network_needs_pictures(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net_to_audit.py").write_text(
        "from torch import nn\n"
        "def make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))\n"
    )
    said = fluoroscope("audit", "-m", "python:net_to_audit:make", "--input-size", "4", "--out", "x")
    assert said.code == 2
    assert "--data is missing" in said.err
