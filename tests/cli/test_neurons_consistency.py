"""``fluoroscope neurons consistency``: what it says, what it keeps, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fluoroscope as fs
from fluoroscope.data.digits import digits
from fluoroscope.pictures.write import to_pil

Call = Callable[..., object]
MODEL = ("-m", "digits-cnn", "-d", "digits", "--limit", "40")


@pytest.fixture(scope="module")
def adversarial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every digit of forty, led to the next class by moving half of the way to one of its."""
    folder = tmp_path_factory.mktemp("adversarial")
    images, labels = digits()
    images, labels = images[:40], labels[:40]
    rows: dict[str, list[object]] = {"image": [], "label": [], "target": [], "source": []}
    for source, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        target = (label + 1) % 10
        goal = images[(labels == target).nonzero()[0, 0]]
        file = folder / "one.png"
        to_pil(0.4 * image + 0.6 * goal).save(file)
        rows["image"].append({"bytes": file.read_bytes(), "path": None})
        file.unlink()
        for name, value in (("label", label), ("target", target), ("source", source)):
            rows[name].append(value)
    pq.write_table(pa.table(rows), folder / "test.parquet")
    return folder


def test_what_it_says_and_keeps(fluoroscope: Call, adversarial: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = ("neurons", "consistency", *MODEL, "--adversarial", str(adversarial), "--out", str(out))
    said = fluoroscope(*call, "--json", "-", "--top", "4")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["record"]["layer"] == fs.neurons.usual_layer(fs.load_model("digits-cnn"))
    assert told["record"]["pictures"] == {"real": 40, "adversarial": 40}
    assert told["similarity"]["kind"] == "weights"
    assert told["definitions"]["cs2"]["reading"] == "inferred"
    for row in ("CS1 (true classes)", "CS1 at chance", "r2 (source, nearest)", "label flips, noise",
                "units shared", "most consistent", "inferred"):  # fmt: skip
        assert row in said.err
    assert all(len(line) <= 80 for line in said.err.splitlines() if "│" in line or "─" in line)
    for name in ("levels.png", "representations.png"):
        assert np.asarray(Image.open(out / name)).std() > 10
    found = fs.neurons.Consistency.load(out)
    assert found.headline == told["headline"]
    # Again: nothing is read anew, and with the same seed everything is as it was.
    before = (out / "real" / "activations.npy").stat().st_mtime_ns
    again = fluoroscope(*call, "--json", "-", "--top", "4")
    assert json.loads(again.out) == told
    assert (out / "real" / "activations.npy").stat().st_mtime_ns == before
    other = fluoroscope(*call, "--similarity", "confusion", "--noise", "0", "--successful")
    assert other.code == 0, other.err
    assert "cosine of what the pictures of two classes are predicted as" in other.out
    assert "label flips, noise" not in other.out


def test_what_is_refused(fluoroscope: Call, adversarial: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree.json"
    tree.write_text(json.dumps({"round": ["0", "6", "8", "9"], "straight": ["1", "4", "7"]}))
    led = ("--adversarial", str(adversarial), "-o", str(tmp_path / "out"))
    for options, words in (
        ((), "--adversarial is missing"),
        ((*led, "--similarity", "weigths"), "--similarity is 'weigths'; did you mean 'weights'?"),
        ((*led, "--similarity", str(tree)), "lacks 3 of 10 classes (2, 3, 5)"),
        ((*led, "--top", "40"), "--top is 40 of 40 pictures"),
        ((*led, "--layer", "nowhere"), "--layer is 'nowhere'"),
        ((*led, "--concepts", "camera"), "no column 'camera'"),
        (("--adversarial", "digits", "-o", str(tmp_path / "other")), "column 'target'"),
    ):
        said = fluoroscope("neurons", "consistency", *MODEL, *options)
        assert said.code == 2
        assert words in said.err
        assert "Traceback" not in said.err
    assert "fluoroscope neurons adversarial" in fluoroscope("neurons", "consistency", *MODEL).err
