"""``fluoroscope train --recipe selective``: from the command to units, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def data(bars: Callable[[int, int, int], Path]) -> str:
    """22 pictures to learn from, and 4 to test with."""
    return str(bars(2, 11, 2))


def test_it_trains_alone_and_against_attacks(fluoroscope: Call, data: str, tmp_path: Path) -> None:
    asked = ["train", "digits-cnn", "-d", data, "--epochs", "1", "--recipe", "selective"]
    said = fluoroscope(*asked, "--weight", "2", "-o", str(tmp_path / "plain"), "--json", "-")
    assert said.code == 0, said.err
    record = json.loads(said.out)
    assert "--recipe selective --weight 2.0" in record["command"]
    assert "selectivity penalty" in said.err
    columns = (tmp_path / "plain" / "digits-cnn.curves.csv").read_text().splitlines()[0].split(",")
    assert len(set(columns)) == len(columns)
    found = record["selective"]
    assert (found["layer"], found["units"], found["pictures"]) == ("4", 64, 4)
    assert found["class_of_unit"] == [unit * 10 // 64 for unit in range(64)]
    there = [one for one in found["selectivity_of_unit"] if one is not None]
    assert len(there) == sum(own < 2 for own in found["class_of_unit"])  # two classes are shown
    assert found["selectivity"] == pytest.approx(sum(there) / len(there))
    most = found["answer_most_to_their_own"]
    assert f"{most} of 64 units of the layer 4 answer most to their own class, 6.4 wo" in said.err
    hardened = ["--adversarial", "pgd", "--eps", "0.1", "--adversarial-steps", "1"]
    said = fluoroscope(*asked, *hardened, "--layer", "7", "-o", str(tmp_path), "--json", "-")
    assert said.code == 0, said.err
    assert json.loads(said.out)["adversarial"]["method"] == "pgd"
    with_weights = ["--checkpoint", str(tmp_path / "digits-cnn.safetensors")]
    said = fluoroscope("predict", "-m", "digits-cnn", *with_weights, "-i", "digits:3")
    assert said.code == 0, said.err


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        ("digits-cnn", ["--weight", "0"], "--weight is 0.0; expected a number above 0"),
        ("digits-cnn", ["--layer", "conv9"], "--layer is 'conv9', which digits-cnn does not have"),
        ("digits-linear", [], "--layer is missing, and Sequential has no convolution"),
        ("digits-cnn", ["--outside", "digits"], "--recipe exclude beside it"),
    ],
)
def test_mistakes_are_one_sentence(
    fluoroscope: Call, data: str, tmp_path: Path, network: str, options: list[str], words: str
) -> None:
    asked = ["train", network, "-d", data, "--recipe", "selective", *options]
    said = fluoroscope(*asked, "-o", str(tmp_path))
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1
