"""``fluoroscope invert assess``: what was saved, a folder, and what it says of both."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import fluoroscope as fs
from fluoroscope.cli.invert_assess import _report
from fluoroscope.cli.output import Output
from fluoroscope.data.digits import digits
from fluoroscope.inversion.measures.measure import Measure, Value
from fluoroscope.pictures.write import write_png
from fluoroscope.tensor_files import write_tensors

Call = Callable[..., object]


def saved(folder: Path, start: int = 600, count: int = 30, needs_data: bool = False) -> Path:
    images, labels = digits()
    tensors = {
        "images": images[start : start + count],
        "targets": labels[start : start + count],
        "towards": torch.ones(count),
    }
    tensors["towards"][-1] = -1
    folder.mkdir()
    write_tensors(folder / "portraits.safetensors", tensors)
    (folder / "portraits.json").write_text(json.dumps({"record": {"needs_data": needs_data}}))
    return folder


def test_saved_pictures_beside_the_digits(fluoroscope: Call, tmp_path: Path) -> None:
    target = saved(tmp_path / "made")
    out = tmp_path / "out"
    said = fluoroscope(
        "invert", "assess", str(target), "-m", "digits-cnn", "--limit", "200",
        "--random", str(saved(tmp_path / "random")), "--other-seed", str(target),
        "--out", str(out), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["record"]["second"] == "digits-robust"
    assert told["record"]["pictures"] == "29 pictures of 10 classes"  # one was against its class
    assert told["needs_data"] is False
    by_name = {one["name"]: one for one in told["measures"]}
    assert by_name["likeness to random weights"]["value"] == pytest.approx(1)
    assert by_name["agreement over seeds"]["value"] == pytest.approx(1)
    assert not by_name["copies, pixels"]["measured"]
    assert "THE SAME WITH RANDOM WEIGHTS" in told["headline"]
    assert "needs --train-split" in said.err
    assert (out / "layers.png").stat().st_size > 1000
    assert fs.inversion.Assessment.load(out).headline == told["headline"]
    for row in ("own accuracy, %", "Vendi within a class", "recall, %"):
        assert row in said.err


def test_a_generator_is_asked_for_samples_with_their_codes(
    fluoroscope: Call, tmp_path: Path
) -> None:
    model = fs.load_model("digits-cnn")
    made = fs.invert(model, steps=2, batch_size=8)
    made.save(tmp_path / "made")
    command = ("invert", "assess", str(tmp_path / "made"), "--samples", "3", "--limit", "100")
    out = ("--out", str(tmp_path / "out"))
    said = fluoroscope(*command, "-m", "digits-cnn", *out, "--json", "-")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["record"]["pictures"] == "30 pictures of 10 classes"
    assert {one["name"]: one["measured"] for one in told["measures"]}["KL to the code"]
    other = fluoroscope(*command, "-m", "digits-robust", *out)
    assert other.code == 2
    assert "another network" in other.err


def test_numbers_and_intervals_stay_whole_at_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    small = Value(0.00278, 1000, (0.00218, 0.00346))
    beside = {name: Value(0.0278, 1000) for name in ("real", "noise", "random")}
    measures = [
        Measure("own accuracy", Value(0.973, 1000, (0.912, 0.987)), beside, "share"),
        Measure("second accuracy", None, kind="share", missing="a second network"),
        Measure("KL to the code", small, beside),
        Measure("accuracy where a code leads", Value(1.0, 1000, (0.996, 1.0)), beside, "share"),
    ]
    found = fs.inversion.Assessment(
        measures=tuple(measures), flags=(), ways={}, needs_data=None, record={}
    )
    _report(Output(None), found, "title")
    said = "".join(capsys.readouterr())
    for whole in ("91.2–98.7", "0.0022–0.0035", "0.00278", "99.6–100", "KL to the code", "random"):
        assert whole in said, said
    assert max(len(line) for line in said.splitlines() if "–" in line) <= 80


def test_a_folder_of_pictures_that_leaks(fluoroscope: Call, tmp_path: Path) -> None:
    images, labels = digits()
    for part, start in (("train", 0), ("test", 60), ("made", 0)):
        for number in range(start, start + 60):
            place = tmp_path / ("made" if part == "made" else f"data/{part}")
            place = place / str(int(labels[number]))
            place.mkdir(parents=True, exist_ok=True)
            write_png(place / f"{number}.png", images[number])
    said = fluoroscope(
        "invert", "assess", str(tmp_path / "made"), "-m", "digits-cnn", "--data",
        str(tmp_path / "data"), "--split", "test", "--train-split", "train", "--needs-data",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "LEAKS" in said.out
    assert "60 of 60 pictures are training pictures" in said.out
    found = fs.inversion.Assessment.load(tmp_path / "out")
    assert found.needs_data is True
    assert found.record["against_training_pictures"] is True


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--second", "digits-cnn"), "--second is digits-cnn, the network under study itself"),
        (("--second", "digits-cm"), "digits-cnn"),
        (("--split", "test", "--data", "digits"), "digits"),
        (("--train-split", "train"), "--train-split is of a data set; expected --data with it"),
        (("--layer", "nine"), "--layer is 'nine'"),
    ],
)
def test_mistakes_in_a_sentence(
    options: tuple[str, ...], words: str, fluoroscope: Call, tmp_path: Path
) -> None:
    target = saved(tmp_path / "made")
    said = fluoroscope(
        "invert", "assess", str(target), "-m", "digits-cnn", *options,
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert said.code == 2, said.out
    assert words in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("harm", ["cut", "shape", "none"])
def test_harmed_files_are_told(harm: str, fluoroscope: Call, tmp_path: Path) -> None:
    target = saved(tmp_path / "made")
    tensors = target / "portraits.safetensors"
    if harm == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-9])
    elif harm == "shape":
        write_tensors(tensors, {"images": torch.zeros(2, 1, 2, 2), "targets": torch.zeros(3)})
    else:
        (target / "portraits.json").unlink()
        tensors.unlink()
    said = fluoroscope("invert", "assess", str(target), "-m", "digits-cnn")
    assert said.code == 2, said.out
    assert str(target) in said.err
    assert said.err.count("\n") == 1
