"""``fluoroscope neurons detect``, from the command to its numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fluoroscope as fs


def test_the_command_says_what_is_detected_and_what_not(
    fluoroscope: Callable[..., Any], tmp_path: Path
) -> None:
    model, data = fs.load_model("digits-linear"), fs.load_images("digits")
    led = tmp_path / "led"
    fs.neurons.adversarial_set(model, data.take(10, first=True), out=led, targets=2)
    asked = ["neurons", "detect", "-m", "digits-linear", "-d", "digits", "--limit", "300"]
    asked += ["--first", "--adversarial", str(led), "--layer", "1", "--steps", "4"]
    said = fluoroscope(*asked, "-o", str(tmp_path / "out"), "--json", "-")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["groups"]["adversarial"]["pictures"] > 5
    assert 0 <= told["groups"]["adversarial"]["from_clean"]["mean"]["auroc"] <= 1
    assert "moved: median root mean square" in said.err
    assert (tmp_path / "out" / "roc.png").is_file()
    assert json.loads((tmp_path / "out" / "detection.json").read_text())["headline"]
    wrong = fluoroscope(*asked[:-6], "--adversarial", "digits")
    assert wrong.code == 2
    assert "does not say what its pictures were led to" in wrong.err
