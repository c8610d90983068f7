"""``fluoroscope neurons list`` and ``read``: what they say, write and refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fluoroscope as fs

DIGITS = ("-m", "digits-cnn", "-d", "digits", "--limit", "20")


def test_layers_are_listed_with_their_units(fluoroscope: Callable[..., Any]) -> None:
    said = fluoroscope("neurons", "list", "-m", "digits-cnn")
    assert "64 channels, 7×7 places" in said.out
    assert "10 layers" in said.out
    found = json.loads(fluoroscope("neurons", "list", "-m", "digits-cnn", "--json", "-").out)
    assert [each["layer"] for each in found if each["usual"]] == ["5"]
    assert [found[2][key] for key in ("shape", "units", "kind")] == [[32, 14, 14], 32, "channels"]
    some = fluoroscope("neurons", "list", "-m", "digits-cnn", "--match", "linear", "--json", "-")
    assert [each["layer"] for each in json.loads(some.out)] == ["7", "9"]


def test_a_layer_is_read_and_kept(fluoroscope: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "read"
    said = fluoroscope("neurons", "read", *DIGITS, "--layer", "7", "--out", str(out), "--json", "-")
    assert said.code == 0, said.err
    [found] = json.loads(said.out)
    assert (found["layer"], found["units"], found["pictures"]) == ("7", 64, 20)
    assert "layer 7" in said.err
    values = fs.neurons.Activations.open(out, fs.load_model("digits-cnn")).values
    images = fs.load_images("digits", channels=1).take(20)
    whole = fs.neurons.read(fs.load_model("digits-cnn"), images, "7")
    np.testing.assert_array_equal(values, whole.values)


def test_several_layers_have_a_folder_each(fluoroscope: Callable[..., Any], tmp_path: Path) -> None:
    said = fluoroscope(
        "neurons", "read", *DIGITS, "--layer", "2", "--layer", "5", "--reduction", "max",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert said.code == 0, said.err
    assert fs.neurons.Activations.open(tmp_path / "2").values.shape == (20, 32)
    assert fs.neurons.Activations.open(tmp_path / "5").values.shape == (20, 64)


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (("--layer", "77"), "--layer is '77', which digits-cnn does not have; did you mean 7?"),
        (("--layer", "2", "--reduction", "median"), "--reduction is median; expected mean, max"),
        (("--layer", "2", "--reduction", "14,0"), "--reduction is 14,0, and the layer '2' has 196"),
        (
            ("--layer", "7", "--reduction", "99,0"),
            "--reduction is 99,0, and a unit of the layer '7'",
        ),
        (("--layer", "2", "--call", "1"), "--call is 1, and the layer '2' of digits-cnn is used"),
    ],
)
def test_refusals(
    fluoroscope: Callable[..., Any], tmp_path: Path, given: tuple[str, ...], refusal: str
) -> None:
    said = fluoroscope("neurons", "read", *DIGITS, *given, "--out", str(tmp_path))
    assert said.code == 2
    assert said.err.startswith(f"fluoroscope: {refusal}")
    assert said.err.count("\n") == 1


def test_another_reading_is_left_alone(fluoroscope: Callable[..., Any], tmp_path: Path) -> None:
    read = ("neurons", "read", *DIGITS, "--out", str(tmp_path))
    assert fluoroscope(*read).code == 0
    before = (tmp_path / "activations.npy").read_bytes()
    said = fluoroscope(*read, "--reduction", "max")
    assert said.code == 2
    assert "holds another reading: reduction is mean, and here max" in said.err
    assert (tmp_path / "activations.npy").read_bytes() == before
