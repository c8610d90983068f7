"""What can be said of a network on the command line, and how what it lacks is asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from fluoroscope.cli import app
from fluoroscope.cli.options import NETWORK
from fluoroscope.cli.output import begin, in_options, speak_of

GREY = """
from torch import nn
import fluoroscope as fs

def grey():
    return nn.Sequential(*fs.load_model("digits-linear").module.children())

def softmax():
    return nn.Sequential(fs.load_model("digits-cnn").module, nn.Softmax(1))
"""
ON_DIGITS = ["-m", "digits-linear", "-d", "digits", "--limit", "3"]
GREY_IT_IS = ["--channels", "1", "--input-size", "28"]


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "grey_nets.py").write_text(GREY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "predict",
        "gradient",
        "attribute",
        "portrait",
        "morph",
        "attack",
        "evaluate",
        "corrupt",
        "map",
        "xray",
        "trace",
    ],
)
def test_every_command_that_loads_a_network_takes_all_that_can_be_said_of_it(command: str) -> None:
    page = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300"}).output
    for name in NETWORK:
        assert f"--{name.replace('_', '-')}" in page


def test_a_plain_grey_network_is_described_and_read(nets: Path) -> None:
    stated = ["python:grey_nets:grey", *GREY_IT_IS]
    shown = CliRunner().invoke(app, ["models", "show", *stated, "--json", "-"])
    found = json.loads(shown.stdout)
    assert found["channels"] == 1
    assert found["input_size"] == [28, 28]
    assert found["first_look"]["doubts"] == []
    assert found["first_look"]["passes"] <= 16
    assert "digits" in found["first_look"]["shown"]
    read = CliRunner().invoke(app, ["predict", "-m", *stated, "--data", "digits", "--limit", "20"])
    assert read.exit_code == 0, read.output


@pytest.mark.parametrize("command", ["attack fgsm --eps 0.1", "evaluate --threat linf:0.1"])
def test_a_size_that_nobody_stated_is_that_of_the_pictures(nets: Path, command: str) -> None:
    words = [*command.split(), "-m", "python:grey_nets:grey", "--channels", "1", "-d", "digits"]
    if command.startswith("evaluate"):
        (nets / "plan.toml").write_text('[[stages]]\nattack = "fgsm"\n')
        words += ["--plan", "plan.toml"]
    done = CliRunner().invoke(app, [*words, "--limit", "20"])
    assert done.exit_code == 0, done.output


def test_where_names_are_stated_is_told_as_an_option(nets: Path) -> None:
    for name in "abcdefghij":
        (nets / "photos" / name).mkdir(parents=True)
        Image.new("L", (28, 28)).save(nets / "photos" / name / "one.png")
    words = ["labels", "-m", "python:grey_nets:grey", *GREY_IT_IS, "-d", "photos"]
    done = CliRunner().invoke(app, words)
    assert "--labels states names" in " ".join(done.output.split())
    assert "labels=" not in done.output


def test_what_it_returns_can_be_stated_and_is_doubted_otherwise(nets: Path) -> None:
    shown = ["models", "show", "python:grey_nets:softmax", *GREY_IT_IS, "--json", "-"]
    doubts = json.loads(CliRunner().invoke(app, shown).stdout)["first_look"]["doubts"]
    assert "probabilities" in doubts[0]
    stated = CliRunner().invoke(app, [*shown, "--outputs", "probabilities"])
    assert json.loads(stated.stdout)["first_look"]["doubts"] == []


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("the right channels= and input_size=", "the right --channels and --input-size"),
        ('(outputs="probabilities")', "(--outputs probabilities)"),
        ("one at a time (batch_size=1)", "one at a time (--batch-size 1)"),
        ("no success: successful=True leaves them", "no success: --successful leaves them"),
        ("pass images= of the right size", "pass --input-size of the right size"),
        ("to(dtype=torch.float32), runs/mean=3", "to(dtype=torch.float32), runs/mean=3"),
    ],
)  # fmt: skip
def test_arguments_are_said_as_options(said: str, heard: str) -> None:
    begin()
    speak_of({"successful": "successful"})
    assert in_options(said) == heard


@pytest.mark.parametrize(
    ("mistake", "heard"),
    [
        (["attack", "pgd", *ON_DIGITS], "far an image may move: --eps 8/255"),
        (["attack", "pgd", *ON_DIGITS, "--eps", "much"], "fluoroscope: --eps is 'much'; expected"),
        (
            ["attack", "pgd", *ON_DIGITS, "--eps", "1", "--param", "x"],
            "fluoroscope: --param is 'x'",
        ),
        (["attack", "patch", *ON_DIGITS, "--fit-on", "9"], "fluoroscope: --fit-on is 9 of 3"),
        (["evaluate", *ON_DIGITS, "--threat", "l9:1"], "fluoroscope: --threat is 'l9'; expected"),
        (["evaluate", *ON_DIGITS, "--workers", "2"], "--engine ray with them"),
        (["map", *ON_DIGITS, "--route", "1"], "fluoroscope: --route is '1'; expected"),
        (["corrupt", *ON_DIGITS, "--scale", "x"], "fluoroscope: --scale is 'x'; expected"),
        (["xray", *ON_DIGITS, "--sections", "x"], "fluoroscope: --sections holds 'x'; expected"),
        (["predict", *ON_DIGITS, "--std", "0"], "fluoroscope: --std is [0.0]; expected"),
        (["predict", *ON_DIGITS, "--channel-order", "x"], "fluoroscope: --channel-order is 'x'"),
        (
            ["predict", "-m", "digits-linear", "-d", "labels"],
            "fluoroscope: labels holds no pictures",
        ),
    ],
)
def test_mistakes_are_told_in_the_options_of_the_command(
    fluoroscope: Callable[..., Any], nets: Path, mistake: list[str], heard: str
) -> None:
    (nets / "labels").mkdir()
    (nets / "labels" / "a.txt").touch()
    said = fluoroscope(*mistake)
    assert said.code == 2
    assert heard in said.err


def test_pages_of_options_leave_room_for_words_at_80_columns() -> None:
    page = CliRunner().invoke(app, ["attack", "--help"], env={"COLUMNS": "80"}).output
    assert "[x>=1]" not in page
    assert "<" not in page.split("The network")[1]
    # The widest name of a type leaves the words half of the line.
    assert "Only so many pictures: the first, or some" in page
    told = CliRunner().invoke(app, ["attack", "pgd", *ON_DIGITS, "--batch-size", "0"])
    assert told.exit_code == 2


def test_a_network_that_nothing_is_doubtful_in_has_no_empty_lines(
    fluoroscope: Callable[..., Any],
) -> None:
    shown = fluoroscope("models", "show", "digits-cnn").out
    assert "doubts: none" in shown
    assert not [line for line in shown.splitlines() if line.rstrip().endswith("information:")]
