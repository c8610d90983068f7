"""``fluoroscope neurons adversarial``, from the command to the data set."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fluoroscope as fs


def test_a_set_is_made_and_taken_by_other_commands(
    fluoroscope: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "set"
    asked = ["neurons", "adversarial", "-m", "digits-linear", "--with", "digits-cnn"]
    asked += ["-d", "digits", "--limit", "6", "--targets", "2", "--steps", "5"]
    asked += ["--param", "step_size=0.05", "-o", str(out)]
    made = fluoroscope(*asked, "--json", "-")
    assert made.code == 0
    told = json.loads(made.out)
    assert told["pictures"] == 12
    assert [one["name"] for one in told["members"]] == ["digits-linear", "digits-cnn"]
    assert told["identity"]["parameters"]["step_size"] == 0.05
    assert told["members"][0]["success"] > 3
    assert (out / "adversarial.png").is_file()
    found = fs.load_images(out, channels=1)
    assert len(found) == 12
    assert fluoroscope("predict", "-m", "digits-linear", "-d", str(out), "--json", "-").code == 0
    again = fluoroscope(*asked, "--seed", "1")
    assert again.code == 2
    assert "holds another adversarial set: seed is 0, and here 1" in again.err
