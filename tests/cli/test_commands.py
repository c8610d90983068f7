"""Every command on the built-in networks: what it says, writes and refuses."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fluoroscope as fs
from fluoroscope.data.names import check_image
from fluoroscope.engine.intervals import wilson
from fluoroscope.pictures.write import write_png

Call = Callable[..., object]


def test_morph_writes_files_and_json(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(
        "morph", "--model", "digits-cnn", "--image", "digits:7", "--to", "2", "--gif",
        "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["model"] == "digits-cnn"
    assert found["from"] == "7"
    assert found["to"] == "2"
    assert found["reached"] is True
    assert found["steps"][-1]["winner"] == "2"
    assert found["way_stations"][0]["label"] == "7"
    assert (tmp_path / "morph.gif").is_file()
    assert fs.MorphResult.load(tmp_path).reached


def test_a_morph_says_each_step_once_and_when_it_happened(
    fluoroscope: Call, tmp_path: Path
) -> None:
    said = fluoroscope(
        "morph", "-m", "digits-cnn", "-i", "digits:7", "--to", "2", "--steps", "6", "--out",
        str(tmp_path),
    )  # fmt: skip
    result = fs.MorphResult.load(tmp_path)
    assert result.way_stations[-1] == (6, 2)  # the end is a way station
    rows = [line.split() for line in said.out.splitlines()]
    assert [row[:2] for row in rows if row and row[0].isdecimal() and len(row) == 6] == [
        ["0", "7"], ["6", "2"],
    ]  # fmt: skip
    assert "7 (98.8 %) became 2 at step 6" in said.out


def test_an_interrupted_morph_leaves_what_it_reached(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([False] * 4)

    @contextmanager
    def interrupted() -> Iterator[Callable[[], bool]]:
        yield lambda: next(asked, True)

    monkeypatch.setattr(sys.modules["fluoroscope.cli.morph"], "interruptible", interrupted)
    said = fluoroscope(
        "morph", "-m", "digits-cnn", "-i", "digits:7", "--to", "2", "--out", str(tmp_path),
        "--json", "-",
    )  # fmt: skip
    assert said.code == 130
    assert len(json.loads(said.out)["steps"]) == 5
    assert len(fs.MorphResult.load(tmp_path).winners) == 5
    assert "stopped after 4 of 40 steps; the files are whole" in said.err


def test_each_command_has_a_directory_of_its_own(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = ("-m", "digits-linear", "-d", "digits", "--limit", "20")
    for name, arguments in {
        "morph": ("-m", "digits-linear", "-i", "digits:7", "--to", "2", "--steps", "2"),
        "gradient": ("-m", "digits-linear", "-i", "digits:7"),
        "attack": ("fgsm", *pictures, "--eps", "0.1"),
        "corrupt": (*pictures, "--scale", "imagenet-c", "--corruption", "contrast"),
        "xray": (*pictures, "--sections", "clean"),
    }.items():
        before = set(tmp_path.glob("out/*"))
        said = fluoroscope(name, *arguments)
        assert said.code == 0, said.err
        assert set(tmp_path.glob("out/*")) - before == {tmp_path / "out" / name}
    assert (tmp_path / "out/xray/report.html").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_gradient_replaces_what_an_earlier_one_left_and_nothing_else(
    fluoroscope: Call, tmp_path: Path
) -> None:
    (tmp_path / "gradient-on-grey-mine.png").write_bytes(b"mine")
    (tmp_path / "gradient-times-50-3.png").write_bytes(b"of an earlier version")
    given = ("gradient", "-m", "digits-linear", "-i", "digits:5", "--out", str(tmp_path))
    assert fluoroscope(*given, "-c", "5", "-c", "8").code == 0
    assert fluoroscope(*given, "-c", "3").code == 0
    assert {path.name for path in tmp_path.glob("gradient-*.png")} == {
        "gradient-on-grey-mine.png", "gradient-on-grey-3-3.png",
    }  # fmt: skip


def test_json_goes_to_a_file_whole(fluoroscope: Call, tmp_path: Path) -> None:
    target = tmp_path / "said.json"
    said = fluoroscope(
        "morph", "-m", "digits-linear", "-i", "noise", "--away", "--steps", "3",
        "--out", str(tmp_path / "out"), "--json", str(target),
    )  # fmt: skip
    assert said.code == 0, said.err
    assert json.loads(target.read_text())["leave"] in "0123456789"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["said.json"]


def test_eight_bits_survive_the_png(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(
        "morph", "-m", "digits-cnn", "-i", "digits:3", "--to", "8", "--eps", "40/255", "--steps",
        "30", "--8bit", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    again = fluoroscope(
        "predict", "-m", "digits-cnn", "-i", str(tmp_path / "result.png"), "--json", "-"
    )
    top = json.loads(again.out)["pictures"][0]["top"][0]
    end = json.loads(said.out)["steps"][-1]["top"][0]
    assert top["label"] == end["label"]
    assert top["probability"] == pytest.approx(end["probability"], abs=1e-5)


def test_same_seed_same_json(fluoroscope: Call, tmp_path: Path) -> None:
    arguments = ["morph", "-m", "digits-linear", "-i", "noise", "--to", "3", "--steps", "4"]
    texts = [
        fluoroscope(*arguments, "--seed", seed, "--out", str(tmp_path), "--json", "-").out
        for seed in ("1", "1", "2")
    ]
    assert texts[0] == texts[1] != texts[2]


def test_predict_pictures_and_accuracy(fluoroscope: Call) -> None:
    said = fluoroscope("predict", "-m", "digits-cnn", "-i", "digits:7", "-i", "digits:1")
    assert said.code == 0, said.err
    assert "digits:7" in said.out
    counted = fluoroscope("predict", "-m", "digits-cnn", "--data", "digits", "--limit", "100",
                          "--json", "-")  # fmt: skip
    found = json.loads(counted.out)
    assert found["pictures"] == 100
    assert found["right"] == round(found["accuracy"] * 100)
    assert found["accuracy"] > 0.9
    assert found["interval"] == list(wilson(found["right"], 100))
    assert "95 % interval" in counted.err
    batch = next(fs.load_images("digits", channels=1).take(100).batches(100))
    said = fs.predict(fs.load_model("digits-cnn"), batch.images)
    rows = found["rows"]
    assert [row["predicted"] for row in rows] == [str(digit) for digit in said.winners.tolist()]
    assert [row["label"] for row in rows] == [str(digit) for digit in batch.labels.tolist()]
    assert [row["name"] for row in rows] == list(batch.names)
    assert sum(row["correct"] for row in rows) == found["right"]
    likely = torch.tensor([row["probability"] for row in rows])
    torch.testing.assert_close(likely, said.probabilities.amax(1))


def test_predictions_are_rows_of_a_spreadsheet(fluoroscope: Call, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["=cmd()", *"123456789"]))
    network = ("predict", "-m", "digits-cnn", "--labels", str(names))
    table = tmp_path / "rows.csv"
    assert fluoroscope(*network, "-i", "digits:0", "-i", "digits:7", "--csv", str(table)).code == 0
    rows = list(csv.DictReader(table.open()))
    assert [row["predicted"] for row in rows] == ["'=cmd()", "7"]
    assert [row["image"] for row in rows] == ["digits:0", "digits:7"]
    printed = fluoroscope(
        "predict", "-m", "digits-cnn", "-d", "digits", "--limit", "3", "--csv", "-"
    )
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [row["correct"] for row in rows] == ["True"] * 3
    both = fluoroscope("predict", "-m", "digits-cnn", "-d", "digits", "--csv", "-", "--json", "-")
    assert both.code == 2


def test_gradient_writes_maps_and_exact_floats(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(
        "gradient", "-m", "digits-linear", "-i", "digits:5", "-c", "5", "-c", "8",
        "--check", "784", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert [row["label"] for row in found["gradients"]] == ["5", "8"]
    assert all(check["relative_error"] < 1e-6 and check["passed"] for check in found["checks"])
    tensors = load_file(tmp_path / "gradient.safetensors")
    expected = fs.input_gradient(
        fs.load_model("digits-linear"), tensors["image"].expand(2, 1, 28, 28), [5, 8]
    )
    assert torch.equal(tensors["gradients"], expected)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"gradient.png", "gradient.svg", "gradient-on-grey-5-5.png"} <= names


def test_models_show_tells_the_normalisation_and_who_states_it(
    fluoroscope: Call, shared: Path
) -> None:
    path = shared / "models" / "mobilenet_v1_0.25_128"
    found = json.loads(fluoroscope("models", "show", str(path), "--json", "-").out)
    assert list(found["mean"]) == [0.5, 0.5, 0.5]
    assert list(found["input_size"]) == [128, 128]
    assert "preprocessor_config.json" in found["stated_by"]
    said = fluoroscope("models", "show", str(path))
    assert said.code == 0
    assert "preprocessor_config.json" in said.out


def test_a_set_of_weights_is_chosen_by_name(fluoroscope: Call, tmp_path: Path) -> None:
    weights = fs.load_model("digits-linear").module.state_dict()
    zeros = {name: torch.zeros_like(value) for name, value in weights.items()}
    path = tmp_path / "net.pth"
    torch.save({"state_dict": weights, "ema": zeros}, path)
    show = ("models", "show", "digits-linear", "--checkpoint", str(path), "--json", "-")
    said = fluoroscope(*show)
    assert said.code == 2
    assert "2 sets of weights that fit and differ (state_dict, ema)" in said.err
    said = fluoroscope(*show, "--checkpoint-key", "state_dict")
    shown = fs.describe_model("digits-linear")["sha256"]
    assert json.loads(said.out)["sha256"] == shown


def test_models_list_names_the_built_in_ones(fluoroscope: Call) -> None:
    said = fluoroscope("models", "list")
    assert said.code == 0, said.err
    assert "digits-linear" in said.out
    assert "digits-cnn" in said.out
    json.loads(fluoroscope("models", "list", "--json", "-").out)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["predict", "-m", "digits-cn", "-i", "digits:7"], "did you mean 'digits-cnn'"),
        (["predict", "-m", "digits-cnn", "-i", "digits:9999"], "1796"),
        (["predict", "-m", "digits-cnn", "-i", "nowhere.png"], "nowhere.png"),
        (["predict", "-m", "digits-cnn", "-i", __file__], "picture"),
        (["predict", "-m", "digits-cnn"], "neither of --data and --image"),
        (["attack", "fgsm", "-m", "digits-cnn"], "neither of --data and --image"),
        (
            ["attack", "fgsm", "-m", "digits-cnn", "-d", "x", "-i", "y"],
            "both of --data and --image",
        ),
        (["predict", "-m", "digits-cnn", "-i", "digits:7", "--limit", "3"], "--limit chooses"),
        (["predict", "-m", "digits-cnn", "--data", "digits", "--split", "dev"], "dev"),
        (["predict", "-m", "torchvision/resnot18", "-i", "digits:7"], "resnet18"),
        (["predict", "-m", "python:no.such:net", "-i", "digits:7"], "no.such"),
        (["morph", "-m", "digits-cnn", "-i", "digits:7", "--to", "eleven"], "eleven"),
        (["morph", "-m", "digits-cnn", "-i", "digits:7", "--to", "2", "--eps", "-1"], "eps"),
        (["morph", "-m", "digits-cnn", "-i", "digits:7", "--to", "2", "--eps", "8/0"], "eps"),
        (["morph", "-m", "digits-cnn", "-i", "digits:7"], "just one"),
        (["morph", "-m", "digits-cnn", "-i", "digits:7", "--to", "2", "--steps", "0"], "steps"),
        (["morph", "-m", "digits-cnn", "-i", "digits:7", "--to", "2", "--steps", "x"], "steps"),
        (["morph", "-m", "digits-cnn", "--to", "2"], "--image"),
        (["morph", "-m", "digits-cnn", "-i", "digits:7", "--to", "2", "--out", __file__], "cannot"),
        (["gradient", "-m", "digits-cnn", "-i", "digits:7", "--objective", "x"], "objective"),
        (["models", "show", "no-such-model"], "no-such-model"),
        (["morphs"], "morphs"),
        (["morph", "--typo"], "--typo"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_two(
    fluoroscope: Call, arguments: list[str], says: str, tmp_path: Path, monkeypatch: object
) -> None:
    monkeypatch.chdir(tmp_path)
    said = fluoroscope(*arguments)
    assert said.code == 2, said
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert says in said.err
    assert "Traceback" not in said.err
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    "command", [[], ["models"], ["predict"], ["gradient"], ["morph"], ["train"]]
)
def test_help_has_examples(fluoroscope: Call, command: list[str]) -> None:
    said = fluoroscope(*command, "--help")
    assert said.code == 0
    assert "fluoroscope" in said.out
    if command and command != ["models"]:
        assert "Example" in said.out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['fluoroscope', '--help']\n"
        "from fluoroscope.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'torchvision', 'PIL', 'pydantic', 'matplotlib', 'sklearn'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, fluoroscope; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pictures_without_labels_are_predicted_one_by_one(
    fluoroscope: Call, tmp_path: Path
) -> None:
    images, folder = fs.load_images("digits", channels=1), tmp_path / "loose"
    folder.mkdir()
    for index in range(22):
        write_png(folder / f"{index:02}.png", images[index].image)
    asked = ("predict", "-m", "digits-cnn")
    said = fluoroscope(
        *asked, "-d", str(folder), "--top", "2", "--csv", str(tmp_path / "all.csv"),
        "--batch-size", "5", "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert "accuracy" not in told
    assert any("has no labels" in note for note in told["notes"])
    assert said.err.count("note: ") == 1
    alone = json.loads(
        fluoroscope(*asked, "-i", str(folder / "07.png"), "--top", "2", "--json", "-").out
    )
    [seven] = alone["pictures"]
    assert told["pictures"][7]["image"] == "07.png"
    for one, other in zip(told["pictures"][7]["top"], seven["top"], strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)
    assert "19.png" in said.err
    assert "20.png" not in said.err
    assert "and 2 pictures more" in said.err
    rows = (tmp_path / "all.csv").read_text().splitlines()
    assert rows[0] == "index,name,predicted,probability"
    assert len(rows) == 23
    assert rows[8].startswith("7,07.png,7,0.9")

    refused = fluoroscope(*asked, "-d", str(folder), "--slice", "camera")
    assert (refused.code, "expected labelled data, or no --slice" in refused.err) == (2, True)
    with pytest.raises(fs.FluoroscopeError, match="give the folder as data"):
        check_image(str(folder))  # before a network is loaded
    assert "is a folder; expected one picture" in fluoroscope(*asked, "-i", str(folder)).err


def test_an_interrupted_table_of_corruptions_draws_what_is_done(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = iter([False] * 3), []

    @contextmanager
    def interrupted() -> Iterator[Callable[[], bool]]:
        yield lambda: next(asked, True)

    command = sys.modules["fluoroscope.cli.corrupt"]
    monkeypatch.setattr(command, "interruptible", interrupted)
    monkeypatch.setattr(command.waiting, "says", told.append)
    said = fluoroscope(
        "corrupt", "-m", "digits-cnn", "-d", "digits", "--limit", "40", "--batch-size", "20",
        "--corruption", "contrast", "--severity", "1", "--out", str(tmp_path), "--at-chance",
    )  # fmt: skip
    assert said.code == 130, said.err
    assert "after 20 of 40 pictures" in said.out
    assert told[-1] == "stopping, drawing what is done"
    assert [path.name for path in tmp_path.iterdir()] == ["corruption.png"]
