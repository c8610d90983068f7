"""``fluoroscope trace``: one picture, two of them, a morph; and what does not go together."""

import json
from pathlib import Path
from typing import Any

import pytest

import fluoroscope as fs

Call = Any


def test_who_decided_about_a_misclassified_picture(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope("trace", "-m", "digits-cnn", "-i", "digits:5", "-c", "5", "--shown", "2",
                       "--out", str(tmp_path), "--json", "-")  # fmt: skip
    assert said.code == 0, said.err
    found = json.loads(said.out)["trace"]
    assert (found["wanted"], found["predicted"], found["layer"]) == ("5", "3", "5")
    assert len(found["units"]) == 64
    assert found["units"][0]["margin"] > 0 > found["units"][-1]["margin"]
    assert "and not 3" in found["summary"]
    names = {"bars.png", "bars.svg", "looked.png", "trace.json", "trace.safetensors"}
    assert {file.name for file in tmp_path.iterdir()} == names
    kept = fs.neurons.Trace.load(tmp_path)
    assert kept.describe() == found
    assert "conductance" in said.err


def test_two_pictures_and_a_morph(fluoroscope: Call, tmp_path: Path) -> None:
    out, walked = str(tmp_path / "out"), str(tmp_path / "morph")
    said = fluoroscope("trace", "-m", "digits-cnn", "-i", "digits:7", "--against", "digits:2",
                       "-d", "digits", "--limit", "20", "--shown", "1", "--put", "mean",
                       "--out", out)  # fmt: skip
    assert said.code == 0, said.err
    assert fs.neurons.Turned.load(out).record["put"] == "its mean over 20 pictures"
    assert "of 64 units of layer 5" in said.out
    begun = ("-m", "digits-cnn", "-i", "digits:7")
    fluoroscope("morph", *begun, "--to", "2", "--steps", "6", "--out", walked)
    said = fluoroscope("trace", *begun, "--morph", walked, "--out", out, "--frames", "4",
                       "--shown", "1")  # fmt: skip
    assert said.code == 0, said.err
    kept = {file.name for file in Path(out).iterdir()}
    assert {"bands.png", "along.json", "turned.json", "turned.png"} <= kept
    assert "frames" not in kept
    for arguments, word in (
        (["-m", "digits-robust", "--morph", walked], "--morph"),
        ([*begun[:2], "-i", "digits:2", "--morph", walked], "begins with another picture"),
    ):
        said = fluoroscope("trace", *arguments, "--out", out)
        assert said.code == 2
        assert word in said.err
        assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "neither --image nor --morph"),
        (["-i", "digits:7", "--layer", "55"], "--layer is '55', which digits-cnn does not have"),
        (["-i", "digits:7", "--against", "digits:2", "-c", "7"], "--rather-than"),
        (["-i", "digits:7", "--rather-than", "7"], "--rather-than goes with"),
        (["-i", "digits:7", "--put", "mean"], "--put mean was given without --data"),
        (
            ["-i", "digits:7", "--put", "median"],
            "--put is 'median'; expected zero, mean or",
        ),
        (["-i", "digits:7", "--put", "1e40"], "--put is 1e+40; expected finite numbers"),
        (["-i", "digits:7", "--morph", "nowhere"], "no morph"),
        (["--morph", "x", "-i", "digits:7", "--against", "digits:2"], "both --against and --morph"),
    ],
)
def test_what_does_not_go_together(
    fluoroscope: Call, arguments: list[str], words: str, tmp_path: Path
) -> None:
    said = fluoroscope("trace", "-m", "digits-cnn", *arguments, "--out", str(tmp_path))
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1
