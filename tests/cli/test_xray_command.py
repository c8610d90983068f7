"""``fluoroscope xray``: a page from one command, and mistakes in a line."""

import hashlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from safetensors.torch import save_file

import fluoroscope as fs
from fluoroscope.cli import app
from fluoroscope.cli.options import SAME_CASE
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.evaluation.plans import PLANS
from fluoroscope.pictures.write import write_png
from fluoroscope.report.sections import find_sections

Call = Callable[..., object]


def test_writes_a_page_and_says_what_it_found(fluoroscope: Call, tmp_path: Path) -> None:
    page = tmp_path / "made" / "report.html"
    said = fluoroscope(
        "xray", "--model", "digits-linear", "--data", "digits", "--limit", "40",
        "--sections", "clean,next", "--out", str(page), "--json", "-",
    )  # fmt: skip
    assert said.code == 0
    found = json.loads(said.out)
    assert list(found["sections"]) == ["clean", "next"]
    assert str(page) in said.err
    text = page.read_text("utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "fluoroscope xray --model digits-linear" in text
    assert found["record"]["command"].startswith("fluoroscope xray")


def _folders(root: Path, count: int) -> Path:
    """Digits as files in class folders of a split."""
    digits = fs.load_images("digits", channels=1).take(count)
    for number in range(count):
        sample = digits[number]
        folder = root / "test" / f"digit {sample.label}"
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{number}.png", sample.image)
    return root


def test_the_command_to_confirm_runs_and_looks_at_the_same(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, weights = tmp_path / "class names.txt", tmp_path / "weights.safetensors"
    names.write_text("\n".join(f"digit {number}" for number in range(10)), "utf-8")
    module = fs.load_model("digits-linear").module
    save_file({name: 1.5 * value for name, value in module.state_dict().items()}, weights)
    given = [
        "--checkpoint", str(weights), "--labels", str(names), "--mean", "0", "--std", "1.0",
        "--outputs", "logits", "--channels", "1", "--split", "test", "--limit", "20", "--first",
        "--8bit", "--plain", "--seed", "3",
    ]  # fmt: skip
    said = fluoroscope(
        "xray", "-m", "digits-linear", "-d", str(_folders(tmp_path / "data", 24)), *given,
        "--sections", "verdict,next", "--threat", "linf:0.012345678", "--budget", "40s",
        "--out", str(tmp_path / "page.html"), "--json", "-",
    )  # fmt: skip
    assert said.code == 0
    found = json.loads(said.out)
    steps = found["sections"]["next"]["steps"]
    (advised,) = [step["command"] for step in steps if step["title"].startswith("Confirm")]
    words = shlex.split(advised)
    assert words[:2] == ["fluoroscope", "evaluate"]
    assert "--device" not in words
    # The plan itself takes minutes; that the command finds network, data and bound takes none.
    attack = fs.attack("fgsm", eps=0.012345678)
    monkeypatch.setitem(PLANS, "standard", lambda _: Plan("standard", (Stage("fgsm", attack),)))
    monkeypatch.chdir(tmp_path)
    assert fluoroscope(*words[1:]).code == 0
    identity = json.loads((tmp_path / "out" / "standard" / "run.json").read_text())["identity"]
    record = found["record"]
    assert identity["model_sha256"] == record["model_sha256"]
    assert identity["threat"]["eps"] == 0.012345678
    assert (identity["seed"], identity["grid"], identity["prepared"]) == (3, 8, [])
    assert (identity["data"]["count"], identity["data"]["split"]) == (20, "test")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert record["model_files"] == {"weights.safetensors": digest}
    assert digest in (tmp_path / "page.html").read_text("utf-8")


def test_what_two_commands_say_of_the_same_case_is_handed_on() -> None:
    def options(name: str) -> set[str]:
        command = typer.main.get_command(app)
        return {one.name for one in command.commands[name].params if one.name}  # type: ignore[attr-defined]

    both = options("xray") & options("evaluate")
    # What these are for is another matter in each command, or said by the advice itself.
    said_by_itself = {"threat", "on_grid", "plain", "seed"}
    others = {"out", "json", "at_chance", "require", "junit", "slices", "help", "second"}
    assert both - set(SAME_CASE) <= said_by_itself | others
    assert set(SAME_CASE) <= both & options("corrupt")


def test_what_is_said_of_it_stands_on_the_page_as_text(fluoroscope: Call, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    said = fluoroscope(
        "xray", "-m", "digits-linear", "-d", "digits", "--limit", "20", "--sections", "next",
        "--title", "Spring <script>release</script>", "--model-version", "2.1 <b>",
        "--data-description", "From the & mail room", "--out", str(page), "--json", "-",
    )  # fmt: skip
    text = page.read_text("utf-8")
    assert "<title>Spring &lt;script&gt;release&lt;/script&gt;</title>" in text
    assert "<h1>Spring &lt;script&gt;" in text
    assert "2.1 &lt;b&gt;" in text
    assert "From the &amp; mail room" in text
    assert "<script>" not in text
    assert json.loads(said.out)["record"]["stated"]["version"] == "2.1 <b>"


def test_a_small_page_has_a_size_and_without_pictures_no_channels(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluoroscope.pictures.display.said_at_length", lambda _: "Pictures show it")
    monkeypatch.setattr("fluoroscope.report.audited.methods", lambda: ["gradient"])
    page = tmp_path / "page.html"
    given = ("xray", "-m", "digits-linear", "-d", "digits", "--limit", "20", "--out", str(page))
    said = fluoroscope(*given, "--sections", "clean")
    assert f"({page.stat().st_size / 1e3:.0f} kB)" in said.out
    assert "Pictures show" not in said.err + said.out
    said = fluoroscope(*given, "--sections", "gradients")
    assert "Pictures show" in said.err + said.out


def test_a_budget_that_is_too_small_still_gives_a_page(fluoroscope: Call, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    said = fluoroscope(
        "xray", "-m", "digits-linear", "-d", "digits", "--limit", "30", "--budget", "0.001s",
        "--out", str(page),
    )  # fmt: skip
    assert said.code == 0
    assert "left out: verdict" in said.out
    assert "the time was up" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "soon"], "budget is 'soon'"),
        (["--budget", "0m"], "budget is '0m'"),
        (["--sections", "verdict,colour"], "colour"),
        (["--threat", "linf"], "bound"),
        (["--threat", "8/255"], "8/255"),
        (["--limit", "10", "--run", "/dev/null/run"], "/dev/null/run"),
        (["--limit", "10", "--sections", "clean", "--out", "/dev/null/page.html"], "/dev/null"),
    ],
)
def test_a_mistake_is_one_line(fluoroscope: Call, options: list[str], message: str) -> None:
    said = fluoroscope("xray", "-m", "digits-linear", "-d", "digits", *options)
    assert said.code == 2
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_help_names_every_section(fluoroscope: Call) -> None:
    told = " ".join(fluoroscope("xray", "--help").out.replace("│", " ").split())
    ordered = [one.name for one in find_sections(None)]
    assert f"Only these, with commas: {', '.join(ordered)}." in told


def test_help_names_all_sections(fluoroscope: Call) -> None:
    said = " ".join(fluoroscope("xray", "--help").out.replace("│", " ").split())
    assert ", ".join(one.name for one in find_sections()) in said
