"""``fluoroscope report``, as a user calls it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_two_runs_on_one_page(fluoroscope: Callable[..., Any], tmp_path: Path) -> None:
    kept = []
    for model in ("digits-linear", "digits-cnn"):
        kept.append(str(tmp_path / model))
        done = fluoroscope(
            "xray", "-m", model, "-d", "digits", "--limit", "12", "--threat", "linf:0.15",
            "--sections", "curve", "--run", kept[-1], "--out", str(tmp_path / "x.html"),
        )  # fmt: skip
        assert done.code == 0, done.err
    out = tmp_path / "page.html"
    done = fluoroscope(
        "report", "compare", *kept, "--out", str(out), "--json", "-", "--title", "Before & after"
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["record"]["compared"] is True
    assert "Before &amp; after" in out.read_text()
    assert "left out: gradients" in done.err
    wrong = fluoroscope("report", "compare", kept[0], str(tmp_path))
    assert wrong.code == 2
    assert "holds no evaluation" in wrong.err
