"""``fluoroscope xray``: a page from one command, and mistakes in a line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

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


def test_commands_that_it_advises_name_the_same_network(fluoroscope: Call, tmp_path: Path) -> None:
    page, names = tmp_path / "page.html", tmp_path / "class names.txt"
    names.write_text("\n".join(f"digit {number}" for number in range(10)), "utf-8")
    said = fluoroscope(
        "xray", "-m", "digits-robust", "-d", "digits", "--limit", "20", "--labels", str(names),
        "--mean", "0", "--std", "1.0", "--outputs", "logits", "--channels", "1",
        "--sections", "verdict,next", "--threat", "linf:0.02", "--out", str(page), "--json", "-",
    )  # fmt: skip
    assert said.code == 0
    steps = json.loads(said.out)["sections"]["next"]["steps"]
    (advised,) = [step["command"] for step in steps if step["title"].startswith("Confirm")]
    assert advised.startswith("fluoroscope evaluate --model digits-robust --data digits ")
    for option in (
        f"--labels '{names}'", "--mean 0", "--std 1.0", "--outputs logits", "--channels 1",
        "--threat linf:0.02 --plan standard",
    ):  # fmt: skip
        assert option in advised
    assert "--limit" not in advised
    assert "--device" not in advised


def test_a_small_page_has_a_size_and_without_pictures_no_channels(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluoroscope.pictures.display.said_at_length", lambda _: "Pictures show it")
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
