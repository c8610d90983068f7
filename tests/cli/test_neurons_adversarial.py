"""``fluoroscope neurons adversarial``, from the command to the data set."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


def test_examples_are_of_several_classes(
    fluoroscope: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fluoroscope.pictures import pairs

    shown: list[pairs.Pair] = []
    sheet = pairs.pair_sheet
    monkeypatch.setattr(pairs, "pair_sheet", lambda each: shown.extend(each) or sheet(each))
    data = fs.load_images("digits")
    folder = tmp_path / "in"
    for place in range(120):
        one = data[place]
        if one.label in (0, 1):
            at = folder / f"{one.label}"
            at.mkdir(parents=True, exist_ok=True)
            fs.pictures.write.write_png(at / f"{place:03}.png", one.image)
    said = fluoroscope(
        "neurons", "adversarial", "-m", "digits-linear", "-d", str(folder), "--targets", "1",
        "--steps", "10", "--param", "step_size=0.05", "-o", str(tmp_path / "out"),
    )  # fmt: skip
    assert said.code == 0, said.err
    assert len({one.read_before for one in shown}) > 1


def test_ctrl_c_before_anything_is_made_is_no_mistake(
    fluoroscope: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fluoroscope.neurons.adversarial import making

    real = making._Search.part

    def stopped(*given: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return real(*given)

    monkeypatch.setattr(making._Search, "part", stopped)
    said = fluoroscope(
        "neurons", "adversarial", "-m", "digits-linear", "-d", "digits", "--limit", "5",
        "-o", str(tmp_path / "out"),
    )  # fmt: skip
    assert said.code == 130
    assert "cancelled before the first part" in said.out
