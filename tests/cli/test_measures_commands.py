"""``fluoroscope corrupt`` and ``fluoroscope transfer``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fluoroscope as fs


def test_corrupt(fluoroscope: Callable[..., Any], tmp_path: Path) -> None:
    said = fluoroscope(
        "corrupt", "-m", "digits-linear", "-d", "digits", "--limit", "25", "--corruption", "jpeg",
        "--corruption", "contrast", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    found = json.loads(said.out)
    assert said.code == 0
    assert [row["corruption"] for row in found["rows"]] == ["jpeg", "contrast"]
    data = fs.load_images("digits", channels=1).take(25)
    model = fs.load_model("digits-linear")
    table = fs.corruption_accuracy(model, data, corruptions=["jpeg", "contrast"])
    assert found["mean_accuracy"] == table.mean_accuracy
    assert "mean under corruption" in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"corruption.png", "corrupted.png"}


def test_transfer(fluoroscope: Callable[..., Any], tmp_path: Path) -> None:
    said = fluoroscope(
        "transfer", "-m", "digits-linear", "-m", "digits-cnn", "-d", "digits", "--limit", "25",
        "--eps", "0.2", "--steps", "3", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    found = json.loads(said.out)
    assert said.code == 0
    assert found["models"] == ["digits-linear", "digits-cnn"]
    models = [fs.load_model(name) for name in found["models"]]
    data = fs.load_images("digits", channels=1).take(25)
    matrix = fs.transfer_matrix(models, data, fs.attack("mi-fgsm", eps=0.2, steps=3))
    assert found["fooled"] == json.loads(json.dumps(matrix.describe()["fooled"]))
    assert "made on 2" in said.err
    assert (tmp_path / "transfer.png").is_file()


def test_mistakes_are_one_line(fluoroscope: Callable[..., Any], tmp_path: Path) -> None:
    for arguments, words in (
        (("transfer", "-m", "digits-cnn", "-d", "digits"), "expected two or more"),
        (("corrupt", "-m", "digits-cnn", "-d", "digits", "--corruption", "rain"), "'rain'"),
        (("corrupt", "-m", "digits-cnn", "-d", "digits", "--scale", "big"), "scale is 'big'"),
    ):
        said = fluoroscope(*arguments, "--out", str(tmp_path))
        assert said.code == 2
        assert words in said.err
