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
