"""The lines that jobs of attribution, units, portraits and reports tell, do the same in a shell."""

import json
import shlex
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fluoroscope.cli import app
from tests.studio.conftest import Served


def _pasted(told: list[dict[str, Any]], out: Path, page: str = "") -> Any:
    """What the command of a job writes as JSON."""
    assert told[-1]["state"] == "done", told[-1]
    words = shlex.split(told[0]["command"])
    assert words[0] == "fluoroscope"
    own = out / "own.json"
    made = CliRunner().invoke(app, [*words[1:], "--out", str(out / page), "--json", str(own)])
    assert made.exit_code == 0, made.output
    return json.loads(own.read_text())


def test_maps(served: Served, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"class": "7", "against": "2", "methods": ["deeplift"]}
    asked |= {"kind": "attribution", "network": "digits-cnn", "picture": "digits:7"}
    job = served.client.post("/api/jobs", json=asked).json()["id"]
    told = list(served.events(job))
    _pasted(told, tmp_path)
    (one,) = (each for each in told if each["event"] == "map")
    (found,) = json.loads((tmp_path / "attribution-deeplift.json").read_text())["maps"]
    highest = max(abs(found[end]) for end in ("lowest", "highest"))
    assert one["scale"]["beyond"] == pytest.approx(highest, rel=1e-6)
    assert found["target"] == "7 rather than 2"
    (drawn,) = tmp_path.glob("map-deeplift-*.png")
    left = served.client.get(f"/api/jobs/{job}/files/map-deeplift.png")
    assert np.array_equal(
        np.asarray(Image.open(BytesIO(left.content))), np.asarray(Image.open(drawn))
    )


def _pixels(file: Any) -> Any:
    return np.asarray(Image.open(file))


def test_an_audit(served: Served, tmp_path: Path) -> None:
    told = served.job(kind="audit", network="digits-cnn", quick=True, methods=["lrp", "grad-cam"])
    own = _pasted(told, tmp_path)
    said = {one["method"]: one for one in told if one["event"] == "verdict"}
    assert {one["method"]: one["verdict"] for one in own["methods"]} == {
        name: one["word"] for name, one in said.items()
    }
    assert own["record"]["pictures"] == told[0]["pictures"]


def test_units_that_turned(served: Served, tmp_path: Path) -> None:
    told = served.job(kind="units", network="digits-cnn", picture="digits:7", other="digits:3")
    rows = [one for one in told if one["event"] == "units"][-1]["rows"]
    own = _pasted(told, tmp_path)["turned"]
    assert [row["unit"] for row in rows if row["turned"]] == own["turned"][: len(rows)]
    favourites = dict(zip(own["shown"], own["favourites"], strict=True))
    for row in rows[:3]:  # the command looks at all pictures, the studio at some hundreds
        assert len(row["favourites"]) == len(favourites[row["unit"]])


def test_portraits(served: Served, tmp_path: Path) -> None:
    told = served.job(kind="portrait", network="digits-cnn", classes=["3", "8"], steps=9)
    own = _pasted(told, tmp_path)["portraits"]
    final = [one for one in told if one["event"] == "picture" and one["final"]]
    assert [one["probability"] for one in final] == [one["probability"] for one in own]


def test_a_report(served: Served, tmp_path: Path) -> None:
    told = served.job(kind="report", network="digits-cnn", limit=30, sections=["clean"])
    own = _pasted(told, tmp_path, "report.html")
    assert own["record"]["data"]["count"] == 30
    assert list(own["sections"]) == ["clean"]
