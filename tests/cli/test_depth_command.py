"""``fluoroscope depth``: train, show, ablate and diagnose, one after the other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

SMALL = (
    "--scenes", "16", "--size", "16x24", "--epochs", "1", "--units", "8", "--bins", "4",
    "--nearest", "1.5",
)  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluoroscope.depth.training.TESTED", 6)


def test_from_the_training_to_the_diagnosis(
    fluoroscope: Callable[..., Any], tmp_path: Path
) -> None:
    network, plain, out = (str(tmp_path / name) for name in ("selective", "plain", "out"))
    said = fluoroscope("depth", "train", *SMALL, "-o", network, "--json", "-")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["settings"]["weight"] == 0.1
    assert told["test"]["scenes"] == 6
    assert "epoch 1: loss" in said.err
    assert "selectivity penalty " in said.err
    assert "mean depth selectivity of 8 units" in said.err
    assert told["selectivity"]["mean_of_assigned"] <= told["selectivity"]["mean"]
    assert said.err.splitlines()[-1] == f"look into it: fluoroscope depth show -n {network}"
    shutil.copytree(network, plain)

    few = ("--scenes", "5", "-n", network)
    said = fluoroscope("depth", "show", *few, "--against", plain, "-o", out, "--json", "-")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert set(told) == {network, plain}
    assert len(told[network]["selectivity"]["responses"]) == 8
    for name in ("scenes.png", "units.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width > 600
    said = fluoroscope("depth", "ablate", *few, "--size", "8x12", "-o", out, "--json", "-")
    assert said.code == 0, said.err
    assert len(json.loads(said.out)["after"]) == 4
    assert "without a bin's units the error rises there" in said.err
    assert (tmp_path / "out" / "ablation.png").is_file()
    said = fluoroscope("depth", "diagnose", *few, "--json", "-")
    assert said.code == 0, said.err
    assert json.loads(said.out)["scenes"] == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--selective", "-1"], "--selective is -1.0; expected 0 for depth alone"),
        (["train", "--size", "4x4"], "--size is 4x4; expected sides from 8"),
        (["train", "--size", "big"], "--size is 'big'"),
        (["train", "--units", "9999"], "--units is 9999"),
        (["train", "--nearest", "12"], "the first bin ends at 12.0 and the last at 10.0"),
        (["train", "--scenes", "900000"], "expected at most 1,024 MiB"),
        (["show", "-n", "nowhere"], "holds no depth network"),
        (["ablate", "-n", "nowhere"], "holds no depth network"),
        (["diagnose", "-n", "nowhere"], "holds no depth network"),
    ],
)
def test_mistakes_are_one_sentence(
    fluoroscope: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    said = fluoroscope("depth", *arguments)
    assert said.code == 2
    assert words in said.err
    assert len(said.err.strip().splitlines()) == 1
