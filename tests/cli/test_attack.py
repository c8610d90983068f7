"""``fluoroscope attack`` and ``fluoroscope attacks``, as a user calls them."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file

import fluoroscope as fs
from fluoroscope.attacks import registry
from fluoroscope.pictures import curves
from fluoroscope.pictures.write import write_png
from fluoroscope.words import Ruler

Call = Callable[..., Any]
MODEL = fs.load_model("digits-cnn")
DIGITS = ["--model", "digits-cnn", "--data", "digits", "--limit", "12"]


def test_attack_leaves_rows_tensors_and_pictures(fluoroscope: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = fluoroscope("attack", "pgd", *DIGITS, "--eps", "0.1", "--out", str(out), "--json", "-")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["count"] == 12
    assert said["fooled"] > 8
    rows = parquet.read_table(out / "part-00000.parquet").to_pydict()
    assert rows["index"] == list(range(12))
    assert sum(rows["success"]) == said["fooled"] + said["at_start"]
    assert max(rows["distance"]) <= 0.1 + 1e-6
    tensors = load_file(out / "part-00000.safetensors")
    away = (tensors["images"] - tensors["originals"]).abs().flatten(1).amax(1)
    torch.testing.assert_close(away, tensors["distance"])
    record = json.loads((out / "part-00000.json").read_text())
    assert record["parameters"]["threat"] == {"norm": "linf", "eps": 0.1}
    assert (out / "pictures.png").stat().st_size > 10_000
    assert "fooled" in done.err


@pytest.mark.parametrize(
    ("image", "name", "index", "label"),
    [("digits:7", "digits:7", 7, 7), ("FILE", "FILE", 0, None), ("grey", "grey:0", 0, None)],
)
def test_one_picture_is_attacked(
    fluoroscope: Call, tmp_path: Path, image: str, name: str, index: int, label: int | None
) -> None:
    file = tmp_path / "seven.png"
    write_png(file, fs.open_image("digits:7", channels=1).image)
    image, name = image.replace("FILE", str(file)), name.replace("FILE", str(file))
    done = fluoroscope(
        "attack", "fgsm", "-m", "digits-cnn", "-i", image, "--eps", "0.3", "-o", str(tmp_path)
    )
    assert done.code == 0, done.err
    rows = parquet.read_table(tmp_path / "part-00000.parquet").to_pydict()
    assert (rows["name"], rows["index"]) == ([name], [index])
    if label is not None:
        assert rows["class"] == [label]
    assert ("without a label" in done.out) == (label is None)


@pytest.mark.parametrize("given", [("--images", "digits"), ("--images=digits",)])
def test_the_name_that_data_had_before_is_understood_but_not_shown(
    fluoroscope: Call, tmp_path: Path, given: tuple[str, ...]
) -> None:
    done = fluoroscope(
        "attack", "fgsm", "-m", "digits-linear", *given, "--limit", "2", "--eps", "0.1", "-o",
        str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert json.loads(done.out)["count"] == 2
    assert "--images" not in fluoroscope("attack", "--help").out


def test_a_mask_is_a_picture(fluoroscope: Call, tmp_path: Path) -> None:
    mask = torch.zeros(1, 28, 28)
    mask[:, 8:20, 8:14] = 1
    write_png(tmp_path / "mask.png", mask)
    out = tmp_path / "out"
    done = fluoroscope(
        "attack", "pgd", *DIGITS, "--eps", "0.3", "--mask", str(tmp_path / "mask.png"),
        "--out", str(out),
    )  # fmt: skip
    assert done.code == 0, done.err
    tensors = load_file(out / "part-00000.safetensors")
    changed = (tensors["images"] != tensors["originals"]).any(0)
    assert changed.any()
    assert (changed <= (mask == 1)).all()
    refused = fluoroscope(
        "attack", "simba", *DIGITS, "--eps", "0.3", "--mask", str(tmp_path / "mask.png"),
        "--out", str(out), "--norm", "l2",
    )  # fmt: skip
    assert refused.code == 2
    assert "mask was given, and SimBA" in refused.err


def test_a_second_attack_leaves_nothing_of_the_first(fluoroscope: Call, tmp_path: Path) -> None:
    common = ("-m", "digits-linear", "--data", "digits", "--limit", "3", "--out", str(tmp_path))
    fluoroscope("attack", "deepfool", *common, "--to", "all")
    assert (tmp_path / "curve.png").exists()
    said = fluoroscope("attack", "fgsm", *common, "--eps", "0.001")
    assert "removed 10 parts that an earlier attack had left there" in said.out
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "part-00000.json", "part-00000.parquet", "part-00000.safetensors",
    ]  # fmt: skip


def test_one_picture_is_said_and_shown(fluoroscope: Call, tmp_path: Path) -> None:
    one = ("-m", "digits-cnn", "--image", "digits:7", "--out", str(tmp_path))
    done = fluoroscope("attack", "pgd", *one, "--eps", "0.1", "--json", "-")
    assert done.code == 0, done.err
    ends = json.loads(done.out)["picture"]
    seven = fs.predict(MODEL, fs.open_image("digits:7", channels=1).image).probabilities
    assert (ends["from"], ends["success"]) == ("7", True)
    assert ends["from_probability"] == pytest.approx(float(seven.max()))
    assert ends["distance"] == pytest.approx(0.1)
    became = f"{ends['to']} ({100 * ends['to_probability']:.1f} %)"
    assert f"7 (98.8 %) became {became} by a change of at most 0.1 a pixel\n" in done.err, done.err
    assert (tmp_path / "slide.png").exists()
    held = fluoroscope("attack", "pgd", *one, "--eps", "0.001")
    assert (
        "7 (98.8 %) was not fooled: no change that fools the network was found within 0.001 a pixel"
        in held.out
    )
    assert not (tmp_path / "slide.png").exists()  # nothing was changed, so there is nothing to see
    already = fluoroscope("attack", "pgd", *one, "--eps", "0.1", "--to", "7")
    assert "7 (98.8 %) before anything was changed, the wanted class" in already.out
    assert "1 of 1 picture was classified as the wanted class before anything was" in already.out
    assert "not counted as a targeted success by a search" in " ".join(already.out.split())
    several = fluoroscope("attack", "pgd", *DIGITS, "--eps", "0.1", "--out", str(tmp_path))
    assert several.code == 0
    assert not (tmp_path / "slide.png").exists()


def test_one_run_has_one_median(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []
    real = curves.success_curve

    def observed(*given: Any, half: float, **how: Any) -> Any:
        drawn.append(half)
        return real(*given, half=half, **how)

    monkeypatch.setattr(curves, "success_curve", observed)
    done = fluoroscope("attack", "deepfool", *DIGITS, "--out", str(tmp_path), "--json", "-")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    rows = parquet.read_table(tmp_path / "part-00000.parquet").to_pydict()
    searched = zip(rows["distance"], rows["success"], rows["at_start"], strict=True)
    far = [
        distance if success else math.inf for distance, success, already in searched if not already
    ]
    assert said["median_distance"] == sorted(far)[(len(far) - 1) // 2] == drawn[0]
    assert f"{drawn[0]:.3g}" in done.err


def test_the_closest_success_has_a_curve(fluoroscope: Call, tmp_path: Path) -> None:
    done = fluoroscope("attack", "deepfool", *DIGITS, "--norm", "l2", "--out", str(tmp_path))
    assert done.code == 0, done.err
    assert (tmp_path / "curve.png").is_file()


def test_a_search_by_decisions_begins_from_given_pictures(
    fluoroscope: Call, tmp_path: Path
) -> None:
    done = fluoroscope(
        "attack", "hopskipjump", *DIGITS, "--to", "3", "--others", "digits", "--param",
        "queries=150", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["fooled"] == said["searched"] > 5
    assert said["record"]["parameters"]["starts"]["shape"] == [1000, 1, 28, 28]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pdg", "--eps", "0.1"], "did you mean pgd"),
        (["pgd"], "pgd needs an eps"),
        (["pgd", "--eps", "much"], "eps is 'much'"),
        (["pgd", "--eps", "0.1", "--norm", "l9"], "not defined for the norm"),
        (["fgsm", "--eps", "0.1", "--steps", "4"], "no parameter 'steps'"),
        (["pgd", "--eps", "0.1", "--param", "steps"], "NAME=VALUE"),
        (["pgd", "--eps", "0.1", "--to", "eleven"], "eleven"),
        (["pgd", "--eps", "0.1", "--keep", "all"], "keep is 'all'"),
        (["square", "--eps", "0.1", "--param", "queries=0"], "queries is 0"),
        (["boundary", "--to", "3"], "starts is missing"),
        (["feature-adversary", "--eps", "0.1"], "guides=... and layer=..., or on the command"),
        (["boundary", "--others", "no/such-folder.d"], "no/such-folder.d"),
        (["square", "--eps", "0.1", "--through", "di"], "Square reads no gradient"),
        (["pgd", "--eps", "0.1", "--through", "id"], "expected one of di, ti, si, admix, ghost"),
        (["pgd", "--eps", "0.1", "--others", "digits"], "pgd takes no other pictures"),
        (["pgd", "--eps", "0.1", "--transfer-to", "digits-cmm"], "digits-cmm"),
    ],
)
def test_mistakes_are_one_line(
    fluoroscope: Call, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = fluoroscope("attack", *arguments, *DIGITS, "--out", str(tmp_path))
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_time_that_runs_out_leaves_what_was_found(fluoroscope: Call, tmp_path: Path) -> None:
    done = fluoroscope(
        "attack", "pgd", *DIGITS, "--eps", "0.0001", "--steps", "100000", "--max-seconds", "1",
        "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert 0 < said["unfinished"] <= 12
    assert said["record"]["prepared"] == ["channels last"]
    again = fluoroscope(
        "attack", "fgsm", *DIGITS, "--eps", "0.1", "--plain", "--out", str(tmp_path), "--json", "-"
    )
    assert json.loads(again.out)["record"]["prepared"] == []


def test_attacks_lists_them_all(fluoroscope: Call) -> None:
    done = fluoroscope("attacks", "--json", "-")
    assert [each["name"] for each in json.loads(done.out)] == list(registry.ATTACKS)
    table = fluoroscope("attacks")
    assert "Madry" in table.out


def test_an_interrupted_attack_leaves_what_was_finished(tmp_path: Path) -> None:
    command = [
        sys.executable, "-c", "from fluoroscope.cli import main; main()", "attack", "pgd",
        "--model", "digits-cnn", "--data", "digits", "--limit", "300", "--eps", "0.0001",
        "--steps", "3000", "--batch-size", "16", "--out", str(tmp_path / "out"), "--json", "-",
    ]  # fmt: skip
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"COLUMNS": "80"}
    )
    while not tmp_path.joinpath("out").is_dir():
        time.sleep(0.2)
    time.sleep(3)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    rows = parquet.read_table(tmp_path / "out" / "part-00000.parquet").to_pydict()
    assert len(rows["index"]) == 300
    assert not all(rows["finished"])
    assert json.loads(said)["unfinished"] == 300 - sum(rows["finished"])


@pytest.mark.parametrize(
    ("method", "own", "files"),
    [
        ("universal", ["--eps", "0.2"], ["universal.png", "universal-amplified.png"]),
        ("patch", ["--to", "3"], ["patch.png", "patch-print.png"]),
    ],
)
def test_what_is_made_for_all_pictures_is_written(
    fluoroscope: Call, tmp_path: Path, method: str, own: list[str], files: list[str]
) -> None:
    done = fluoroscope(
        "attack", method, *DIGITS, *own, "--fit-on", "8", "--param", "epochs=3",
        "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["count"] == 4
    assert said["fitted"] == {"pictures": 8, "epochs": 3, "others_attacked": True}
    rows = parquet.read_table(tmp_path / "part-00000.parquet").to_pydict()
    assert rows["index"] == [8, 9, 10, 11]
    made = load_file(tmp_path / f"{method}.safetensors")[method]
    assert made.abs().max() > 0
    for file in files:
        assert (tmp_path / file).stat().st_size > 50
    assert "learnt from 8 pictures, 3" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pgd", "--eps", "0.1", "--fit-on", "5"], "fit-on is 5; pgd makes nothing"),
        (["patch", "--fit-on", "12"], "fit-on is 12 of 12"),
        (["patch", "--to", "random"], "leads all pictures to one class"),
        (["patch", "--param", "patch=3"], "to hold; expected a tensor"),
        (["patch", "--param", "share=0.9"], "expected at most the pictures' 28"),
        (["universal", "--eps", "0.1", "--steps", "3"], "no parameter 'steps'"),
    ],
)
def test_mistakes_with_what_is_made_for_all(
    fluoroscope: Call, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = fluoroscope("attack", *arguments, *DIGITS, "--out", str(tmp_path))
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_what_fools_one_network_is_shown_to_others(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "others.py").write_text(
        "import fluoroscope as fs\n"
        "from torch import nn\n"
        "class Always(nn.Module):\n"
        "    def __init__(self, digit):\n"
        "        super().__init__()\n"
        "        self.digit = digit\n"
        "    def forward(self, x):\n"
        "        logits = 0 * x.flatten(1)[:, :10]\n"
        "        logits[:, self.digit] += 1\n"
        "        return logits\n"
        "def three():\n"
        "    return fs.Classifier(Always(3), channels=1, input_size=14)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    done = fluoroscope(
        "attack", "mi-fgsm", *DIGITS, "--eps", "0.1", "--transfer-to", "digits-cnn",
        "--transfer-to", "python:others:three", "--out", str(tmp_path / "out"), "--json", "-",
    )  # fmt: skip
    assert done.code == 0, done.err
    said = json.loads(done.out)
    itself, three = said["transfer"]
    assert said["record"]["keep"] == "last"
    assert said["fooled"] > 5
    # The network itself is fooled by all of them; the one that classifies all as 3 by none.
    assert (itself["searched"], itself["fooled"]) == (said["fooled"], said["fooled"])
    assert three["success_rate"] == 0
    rows = parquet.read_table(tmp_path / "out" / "part-00000.parquet").to_pydict()
    threes = sum(
        digit == 3 and success
        for digit, success in zip(rows["class"], rows["success"], strict=True)
    )
    assert three["searched"] == threes
    assert three["at_start"] == said["fooled"] - threes
    assert "of these fool digits-cnn" in done.err
    towards = fluoroscope(
        "attack", "mi-fgsm", *DIGITS, "--eps", "0.2", "--to", "3", "--transfer-to",
        "python:others:three", "--out", str(tmp_path / "out"), "--json", "-",
    )  # fmt: skip
    [three] = json.loads(towards.out)["transfer"]
    assert three["at_start"] == json.loads(towards.out)["fooled"]
    assert three["success_rate"] is None


def test_attacks_go_through_changes_of_the_input(fluoroscope: Call, tmp_path: Path) -> None:
    def passes(*arguments: str) -> tuple[str, float]:
        done = fluoroscope(
            "attack", *arguments, *DIGITS, "--eps", "0.1", "--steps", "2", "--keep", "last",
            "--out", str(tmp_path), "--json", "-",
        )  # fmt: skip
        assert done.code == 0, done.err
        said = json.loads(done.out)
        assert said["record"]["prepared"] == ([] if "--plain" in arguments else ["channels last"])
        return said["record"]["model"], said["backwards_mean"]

    assert passes("bim", "--through", "ti", "--through", "si") == (
        "TranslationInvariant of ScaleInvariant of digits-cnn", 10
    )  # fmt: skip
    assert passes("pgd", "--through", "admix", "--others", "digits")[1] == 30
    assert passes("admix") == ("digits-cnn", 30)
    assert passes("mi-fgsm", "--through", "di", "--plain")[1] == 2


def test_a_picture_without_a_label_cannot_be_misclassified_before(
    fluoroscope: Call, tmp_path: Path
) -> None:
    seven = fs.open_image("digits:7", channels=1).image
    write_png(tmp_path / "seven.png", seven)
    own = ("-m", "digits-cnn", "--out", str(tmp_path / "out"))
    unknown = fluoroscope("attack", "deepfool", *own, "-i", str(tmp_path / "seven.png"))
    known = fluoroscope("attack", "deepfool", *own, "-i", "digits:7")
    assert "misclassified before" not in unknown.out
    assert "misclassified before" in known.out
    for one in (unknown, known):
        assert one.code == 0
        assert "L2 distance" in one.out
        assert "median" not in one.out
    assert not (tmp_path / "out" / "curve.png").exists()  # of one picture it would be one step


def test_a_bound_is_said_with_its_unit() -> None:
    assert Ruler("linf", 3).limit(8 / 255) == "8/255 a pixel"
    assert Ruler("l0", 1).limit(1.0) == "1 pixel"
    assert Ruler("l2", 1).limit(0.5) == "a Euclidean length of 0.5"
