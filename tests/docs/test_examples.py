"""The example notebooks as they are kept: run, small, and of nobody's machine. That they run is
tested by running them.
"""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


def cells(name: str) -> list[Any]:
    found = nbformat.read(EXAMPLES / name, as_version=4).cells
    return [cell for cell in found if cell.cell_type == "code"]


def test_there_is_one_for_each_user() -> None:
    assert NOTEBOOKS == ["engineer.ipynb", "researcher.ipynb", "teacher.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_they_show_is_kept(name: str) -> None:
    text = (EXAMPLES / name).read_text("utf-8")
    assert len(text) < 1_000_000
    # Places of the machine that made it, and when that was.
    assert not re.search(r"/(tmp|home|root|work|Users)/|iopub", text)
    made = cells(name)
    assert 6 <= len(made) <= 12
    assert [cell.execution_count for cell in made] == list(range(1, len(made) + 1))
    for cell in made:
        assert cell.outputs
        for output in cell.outputs:
            assert output.output_type in ("execute_result", "stream")
            assert output.get("name") != "stderr"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_results_are_shown_as_they_show_themselves(name: str) -> None:
    shown = [
        output.data
        for cell in cells(name)
        for output in cell.outputs
        if output.output_type == "execute_result" and output.data["text/plain"].startswith("<")
    ]
    assert len(shown) >= 5
    for data in shown:
        assert "\n" not in data["text/plain"]
        assert data["text/html"].startswith('<div class="fluoroscope">')
