"""``--require``, ``--junit`` and ``--slice``, and the workflow that uses them."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import typer
from PIL import Image

import fluoroscope as fs

Call = Callable[..., Any]
DOCS = Path(__file__).parents[2] / "docs"
PLAN = '[[stages]]\nattack = "fgsm"\n'
QUICK = ("--model", "digits-linear", "--data", "digits", "--limit", "30", "--threat", "linf:0.02")


@pytest.fixture
def plan(tmp_path: Path) -> str:
    """A file of one quick stage."""
    (tmp_path / "quick.toml").write_text(PLAN)
    return str(tmp_path / "quick.toml")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Digits as files, every other one of a camera that turns them dark."""
    rows = ["file_name,camera"]
    for sample in fs.load_images("digits", channels=1).take(40):
        dark = sample.index % 2 == 1
        file = tmp_path / "photos" / str(sample.label) / f"{sample.index:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        grey = sample.image[0].numpy() * (0.02 if dark else 1)
        Image.fromarray((grey * 255).round().astype(np.uint8)).save(file)
        rows.append(f"{file.name},{'[b]night' if dark else 'day'}")
    (tmp_path / "photos" / "metadata.csv").write_text("\n".join(rows))
    return tmp_path / "photos"


def test_what_is_not_met_ends_with_three_and_a_line_each(
    fluoroscope: Call, plan: str, tmp_path: Path
) -> None:
    pytest.importorskip("junitparser")
    run, file = str(tmp_path / "run"), tmp_path / "out.xml"
    done = fluoroscope(
        "evaluate", *QUICK, "--plan", plan, "--out", run, "--json", "-", "--junit", str(file),
        "--require", "robust>=99%, clean>=0.5 class.low>=0.99",
    )  # fmt: skip
    assert done.code == 3
    said = json.loads(done.out)["requirements"]
    assert [one["status"] for one in said] == ["not met", "met", "not met"]
    lines = [line for line in done.err.splitlines() if line.startswith("fluoroscope: ")]
    assert [line.split()[1] for line in lines] == ["robust>=99%", "class.low>=0.99"]
    assert "is not met: robust accuracy" in lines[0]
    assert file.read_text().count("<failure") == 2
    assert f"wrote {file}" in done.err.replace("\n", "")
    shown = fluoroscope("runs", "show", run, "--require", "clean>=0.5")
    assert (shown.code, shown.err) == (0, "")
    assert "clean>=0.5" in shown.out
    assert fluoroscope("runs", "show", run, "--require", "pictures>=31").code == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--require", "robst>=0.6"], "--require holds 'robst>=0.6'"),
        (["--require", "robust>=60"], "--require holds 'robust>=60', which is more than all"),
        (["--require", "slice>=0.6"], "--require asks for an accuracy of slices"),
        (["--junit", "out.xml"], "--junit writes how requirements came out; expected --require"),
        (["--slice", "camera"], "digits has no column 'camera'"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "xray"])
def test_mistakes_are_one_sentence_and_come_first(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str,
    options: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    done = fluoroscope(command, *QUICK, *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("fluoroscope: ")
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


def test_text_that_nobody_can_read_is_refused_before_a_network_is_loaded(fluoroscope: Call) -> None:
    done = fluoroscope("evaluate", "-m", "python:no.such:net", "-d", "digits", "--require", "x")
    assert done.code == 2
    assert "--require holds 'x'" in done.err


def test_slices_of_a_table_beside_class_folders(
    fluoroscope: Call, plan: str, photos: Path, tmp_path: Path
) -> None:
    options = ("--model", "digits-linear", "--data", str(photos), "--slice", "camera")
    run = str(tmp_path / "run")
    done = fluoroscope(
        "evaluate", *options, "--threat", "linf:0.02", "--plan", plan, "--out", run,
        "--require", "slice>=0.9",
    )  # fmt: skip
    assert done.code == 3
    assert "slice>=0.9 is not met: camera [b]night: clean accuracy" in done.err
    assert "clean accuracy falls far behind the others for camera [b]night" in done.out
    shown = fluoroscope("runs", "show", run)
    assert re.search(r"\[b\]night +20 ", shown.out)
    alone = fluoroscope("predict", *options, "--json", "-")
    (slicing,) = json.loads(alone.out)["slices"]
    values = {one["value"]: one["clean_accuracy"] for one in slicing["slices"]}
    assert values["day"] > values["[b]night"]
    named = fluoroscope("labels", "--model", "digits-linear", "--data", str(photos), "--json", "-")
    assert json.loads(named.out)["columns"] == {"camera": "2 values: day, [b]night"}
    assert "camera" in named.err


def test_a_page_shows_what_was_required_and_the_slices(
    fluoroscope: Call, photos: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    done = fluoroscope(
        "xray", "--model", "digits-linear", "--data", str(photos), "--threat", "linf:0.02",
        "--sections", "verdict,pictures", "--slice", "camera", "--require", "clean>=0.99 robust>=0",
        "--out", str(page), "--json", "-", "--budget", "0.001s",
    )  # fmt: skip
    assert done.code == 3
    said = json.loads(done.out)
    assert [one["status"] for one in said["requirements"]] == ["cannot be shown"] * 2
    model, few = fs.load_model("digits-linear"), fs.load_images(photos, channels=1).take(8)
    report = fs.xray(
        model, few, threat="linf:0.1", sections=["verdict", "pictures"], slices=["camera"],
        require="clean>=0.99 clean>=0",
    )  # fmt: skip
    assert [one.status for one in report.requirements] == ["not met", "met"]
    assert "1 of 2 requirements met, 1 not met." in report.html
    assert "✗ not met" in report.html
    assert ">[b]night</" in report.html
    assert len(re.findall(r"<p>picture \d/\d{3}\.png</p>", report.html)) >= 2


def commands() -> list[list[str]]:
    """The command lines of the workflow, as its shell reads them."""
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((DOCS / "fluoroscope-workflow.yml").read_text())
    assert set(workflow) >= {"name", "jobs"}
    steps = workflow["jobs"]["evaluate"]["steps"]
    lines = [shlex.split(step["run"]) for step in steps if "run" in step]
    return [words[1:] for words in lines if words[0] == "fluoroscope"]


def test_the_workflow_runs_as_it_stands(
    fluoroscope: Call, plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("junitparser")
    monkeypatch.chdir(tmp_path)
    evaluate, page = commands()
    done = fluoroscope(*evaluate, "--limit", "4", "--plan", plan, "--model", "digits-linear")
    assert done.code in (0, 3), done.err  # of four pictures one may be misclassified
    root = ElementTree.parse(tmp_path / "out" / "fluoroscope.xml").getroot()
    cases = [case.get("name") for case in root.iter("testcase")]
    assert cases[:4] == evaluate[evaluate.index("--require") + 1].split()
    assert len(cases) > 20
    from fluoroscope.cli import app

    group = typer.main.get_command(app)
    command = group.get_command(typer.Context(group), page[0])  # type: ignore[attr-defined]
    assert command.make_context(page[0], page[1:]).params["budget"] == "10m"


def test_the_page_on_continuous_integration_says_what_the_workflow_does() -> None:
    required = [words[words.index("--require") + 1] for words in commands() if "--require" in words]
    assert f'--require "{required[0]}"' in (DOCS / "ci.md").read_text()
