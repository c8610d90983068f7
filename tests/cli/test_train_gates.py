"""``fluoroscope train --recipe gates``: what it leaves and says, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fluoroscope.training import load_gates
from fluoroscope.words import percent

Call = Callable[..., object]


@pytest.fixture(scope="module")
def data(bars: Callable[[int, int, int], Path]) -> Path:
    """22 pictures to learn from, and 4 to test with."""
    return bars(2, 11, 2)


def test_leaves_the_gates_beside_the_weights_and_says_what_they_are(
    fluoroscope: Call, data: Path, tmp_path: Path
) -> None:
    said = fluoroscope(
        "train", "digits-cnn", "--data", str(data), "--epochs", "2", "--recipe", "gates",
        "--gate-warm-up", "0", "--gate-every", "1", "--layer", "3", "--out", str(tmp_path),
        "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    record = json.loads(said.out)
    gates = load_gates(tmp_path / "digits-cnn.gates.safetensors")
    assert (gates.layer, tuple(gates.values.shape)) == ("3", (10, 32))
    assert gates.values.amax(0).tolist() == [1.0] * 32
    assert record["gates"]["density"] == pytest.approx(gates.density)
    assert record["gates"]["pictures"] == 4
    assert record["loss"]["kind"] == "ClassGates"
    assert record["loss"]["warm_up"] == 0  # nought is a number, and no option left out
    assert "--gate-warm-up 0" in record["command"]
    with Image.open(tmp_path / "digits-cnn.gates.png") as picture:
        assert picture.width > 1000
    assert "each of 32 filters of the layer 3 is open to" in said.err
    assert "warning: gates are open to" in said.err  # two epochs are few
    assert [one.partition(" on average")[0] for one in record["doubts"]] == [
        f"gates are open to {percent(gates.density)}"
    ]
    looked = fluoroscope(
        "neurons", "read", "-m", "digits-cnn", "--checkpoint",
        str(tmp_path / "digits-cnn.safetensors"), "-d", "digits", "--limit", "20", "--layer", "3",
        "--out", str(tmp_path / "read"), "--json", "-",
    )  # fmt: skip
    assert looked.code == 0, looked.err
    [read] = json.loads(looked.out)
    assert 0 < read["by_chance"] < 1
    assert "mutual information" in looked.err


@pytest.mark.parametrize(
    ("network", "options", "says"),
    [
        ("digits-cnn", ["--gate-density", "2"], "--gate-density is 2.0; expected a number from 0"),
        ("digits-cnn", ["--gate-every", "0"], "--gate-every is 0; expected 1 or more"),
        ("digits-cnn", ["--gate-warm-up", "2"], "so nothing would be gated"),
        ("digits-cnn", ["--layer", "9"], "--layer is '9', which gives out (10,)"),
        ("digits-cnn", ["--layer", "nowhere"], "--layer is 'nowhere', which digits-cnn does not"),
        ("digits-linear", [], "the network has no convolution"),
    ],
)
def test_refuses_in_one_sentence(
    fluoroscope: Call, data: Path, tmp_path: Path, network: str, options: list[str], says: str
) -> None:
    said = fluoroscope(
        "train", network, "--data", str(data), "--epochs", "2", "--recipe", "gates", *options,
        "--out", str(tmp_path),
    )  # fmt: skip
    assert said.code == 2
    assert says in said.err.splitlines()[-1]
    assert not list(tmp_path.glob("*.safetensors"))


def test_gates_without_their_recipe(fluoroscope: Call, data: Path, tmp_path: Path) -> None:
    said = fluoroscope(
        "train", "digits-cnn", "-d", str(data), "--gate-warm-up", "0", "-o", str(tmp_path)
    )
    assert said.code == 2
    assert "--gate-warm-up is 0, but no recipe was asked for" in said.err
    assert "--recipe gates" in said.err
