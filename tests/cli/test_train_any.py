"""``fluoroscope train`` with networks and pictures of one's own, and what goes wrong with them."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import fluoroscope as fs

Call = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("without_curves")

CODE = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                         nn.Linear(16, 2))

def linear(): return nn.Sequential(nn.Flatten(), nn.Linear(432, 2))
def normed(): return nn.Sequential(nn.Flatten(), nn.Linear(432, 4), nn.BatchNorm1d(4),
                                   nn.Linear(4, 2))
def three(): return nn.Sequential(nn.Flatten(), nn.Linear(432, 3))
def frozen(): return make().requires_grad_(False)
def half(): return make().half()

class Breaking(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
    def forward(self, x):
        self.seen += self.training
        return self.net(x) * (float("nan") if self.seen > 6 else 1)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with code, and pictures of two things without splits."""
    (tmp_path / "nets.py").write_text(CODE, encoding="utf-8")
    for channel, name in enumerate(("dark red", "green")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(12):
            colour = [20 + number] * 3
            colour[channel] = 150 + number
            Image.new("RGB", (12, 12), tuple(colour)).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_last_line_goes_on_as_it_stands(fluoroscope: Call, here: Path) -> None:
    said = fluoroscope(
        "train", "python:nets.py:make", "-d", "photos", "--epochs", "2", "--batch-size", "4",
        "--learning-rate", "0.02", "--augment", "flip,shift", "--mean", "0.5,0.5,0.5",
        "--std", "0.25,0.25,0.25", "--input-size", "10",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "photos has no split for tests: 5 pictures of 24" in said.out
    assert "epoch 2: loss" in said.out
    last = said.out.splitlines()[-1]
    assert last.startswith("look into it: fluoroscope xray --model python:nets.py:make")
    assert "--mean 0.5,0.5,0.5 --std 0.25,0.25,0.25 --input-size 10" in last
    words = shlex.split(last.removeprefix("look into it: "))
    page = here / "page.html"
    model = fs.load_model("python:nets.py:make", checkpoint="out/train/nets-make.safetensors")
    assert model.labels == ("dark red", "green")  # which the weights state
    looked = fluoroscope(*words[1:], "--limit", "4", "--sections", "clean", "--out", str(page))
    assert looked.code == 0, looked.err
    assert page.stat().st_size > 10_000
    record = json.loads((here / "out/train/nets-make.json").read_text("utf-8"))
    again = fluoroscope(*shlex.split(record["command"])[1:], "--json", "-")
    assert json.loads(again.out)["sha256"] == record["sha256"]
    assert "what an earlier run left" in again.err
    # The last line looks at what was not learnt from, and sees what the training saw.
    kept = fs.load_images(words[words.index("--data") + 1])
    assert (len(kept), kept.labels) == (5, model.labels)
    assert record["data"]["test_kept"] == "nets-make.test.parquet"
    stated = fs.load_model(
        "python:nets.py:make", checkpoint="out/train/nets-make.safetensors",
        mean=[0.5] * 3, std=[0.25] * 3, input_size=10,
    )  # fmt: skip
    learner = fs.training.TrainingRun(
        "python:nets.py:make", "photos", out=here / "b", input_size=10, augment=None
    )
    assert torch.equal(
        torch.stack([(stated.fit(one.image) * 255).round().byte() for one in kept]),
        learner.data.test[0],
    )
    right = sum(
        int(stated(stated.fit(one.image)[None]).argmax()) == number
        for one, number in zip(kept, kept.class_numbers().tolist(), strict=True)
    )
    assert right / 5 == record["accuracy"]["test"]


def test_where_the_kept_pictures_cannot_be_written_it_is_said(
    fluoroscope: Call, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluoroscope.training.job.data.MEMORY", 10)
    said = fluoroscope(
        "train", "python:nets.py:make", "-d", "photos", "--epochs", "1", "--input-size", "10"
    )
    assert said.code == 0, said.err
    assert "--data photos" in said.out
    assert "photos holds the 19 pictures that were learnt from, too" in said.out
    record = json.loads((here / "out/train/nets-make.json").read_text("utf-8"))
    assert record["data"]["test_kept"] is None
    assert "flatters the network" in record["data"]["notes"][-1]
    assert not list(here.glob("out/train/*.parquet"))


def test_fewer_outputs_than_classes_is_not_mended_by_names(fluoroscope: Call, here: Path) -> None:
    (here / "photos/blue").mkdir()
    for number in range(3):
        Image.new("RGB", (12, 12), (0, 0, 200 + number)).save(here / f"photos/blue/{number}.png")
    said = fluoroscope("train", "python:nets.py:make", "-d", "photos")
    assert said.code == 2
    assert "expected a network with 3 outputs, or data of its classes" in said.err
    assert "--labels" not in said.err


def test_all_damaged_pictures_are_counted(fluoroscope: Call, here: Path) -> None:
    for name in ("3", "7"):
        whole = (here / f"photos/green/{name}.png").read_bytes()
        (here / f"photos/green/{name}.png").write_bytes(whole[:45])
    said = fluoroscope("train", "python:nets.py:make", "-d", "photos", "--input-size", "10")
    assert said.code == 2
    assert "2 pictures of 24 cannot be read: move" in said.err
    assert "3.png" in said.err
    assert "7.png" in said.err
    assert not (here / "out/train").exists()


def test_a_class_that_nothing_judges_is_named(fluoroscope: Call, here: Path) -> None:
    for number in range(2, 12):
        (here / f"photos/green/{number}.png").unlink()
    (here / "photos/green/1.png").unlink()
    said = fluoroscope("train", "python:nets.py:make", "-d", "photos", "--input-size", "10")
    assert said.code == 0, said.err
    words = "none of the test pictures is of 'green' (1 picture to learn from)"
    assert words in said.out
    record = json.loads((here / "out/train/nets-make.json").read_text("utf-8"))
    assert [one.partition(" is of ")[0] for one in record["data"]["notes"]] == [
        "none of the pictures held out to judge every epoch", "none of the test pictures",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["python:nets.py:nothing"], "has no function 'nothing'"),
        (["python:nowhere.py:make"], "there is no file nowhere.py"),
        (["python:nets.py:frozen"], "no weight of python:nets.py:frozen is trainable"),
        (["python:nets.py:half"], "computes in float16"),
        (["python:nets.py:three"], "or give it 2 outputs, one for each class to learn"),
        (["net.pt2"], "is an exported program"),
        (["python:nets.py:linear", "--input-size", "10"], "shapes cannot be multiplied"),
        (["python:nets.py:make", "--mean", "0.5"], "--mean is [0.5]; expected one finite number"),
        (["python:nets.py:make", "--augment", "turn"], "--augment is 'turn'; expected none"),
        (["python:nets.py:make", "--epochs", "0"], "--epochs is 0"),
        (["python:nets.py:make", "--batch-size", "0"], "--batch-size is 0"),
        (["python:nets.py:make", "--learning-rate", "nan"], "--learning-rate is nan"),
        (["python:nets.py:make", "--weight-decay", "-1"], "--weight-decay is -1.0"),
        (["python:nets.py:make", "--from-scratch"], "--from-scratch was given with python:nets"),
        (["python:nets.py:make", "--recipe", "selectiv"], "did you mean 'selective'?"),
        (["python:nets.py:make", "--recipe", "exclude"], "expected digits-linear or digits-cnn"),
        (["python:nets.py:make", "--checkpoint", "no.pt"], "no.pt"),
        (["python:nets.py:normed", "--batch-size", "1"], "larger --batch-size"),
        (["python:nets.py:Breaking", "--batch-size", "4"], "the loss is nan at step 7"),
        (["python:nets.py:make", "--learning-rate", "1e38"], "--learning-rate is 1e+38"),
    ],
)
def test_mistakes_are_one_line(
    fluoroscope: Call, arguments: list[str], says: str, here: Path
) -> None:
    Path("net.pt2").write_bytes(b"")
    said = fluoroscope("train", "--epochs", "2", *arguments, "-d", "photos")
    assert said.code == 2, said
    assert says in said.err
    assert len([line for line in said.err.splitlines() if "note" not in line]) == 1
    assert not (here / "out/train/nets-Breaking.safetensors").exists()


def test_a_number_that_is_none_leaves_the_checkpoint_of_before(
    fluoroscope: Call, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluoroscope.training.trainer.books.CHECKPOINT_EVERY", 0.0)
    arguments = ["train", "python:nets.py:Breaking", "-d", "photos", "--batch-size", "4"]
    for _ in range(2):  # and again from there, to the same end
        said = fluoroscope(*arguments)
        assert said.code == 2
        assert "the loss is nan at step 7; expected a finite number: lower the" in said.err
        assert [path.name for path in (here / "out/train").iterdir()] == [
            "nets-Breaking.checkpoint.safetensors"
        ]
    assert "going on after step 6" in said.out
    said = fluoroscope("train", "python:nets.py:linear", "-d", "photos", "--learning-rate", "1e10")
    assert said.code == 2
    assert re.search(r": 1\.(weight|bias) is not finite after step", said.err)
    assert "finite weights: lower the learning rate; the last checkpoint is of before" in said.err


def test_another_training_of_that_name_is_refused(
    fluoroscope: Call, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluoroscope.training.trainer.books.CHECKPOINT_EVERY", 0.0)
    arguments = ["train", "python:nets.py:make", "-d", "photos", "--epochs", "2"]
    stopping = monkeypatch.context()
    with stopping as patched:
        calls: list[int] = []

        def stop(step: Any) -> str:
            calls.append(step.number)
            if step.number == 2:
                raise KeyboardInterrupt
            return ""

        patched.setattr(sys.modules["fluoroscope.cli.train"], "terms_of", stop)
        said = fluoroscope(*arguments, "--batch-size", "8")
    assert said.code == 130
    assert "stopped after step 2 of 6; the same command goes on" in said.out
    assert calls == [1, 2]
    for more, told in (
        (["--batch-size", "9"], "batch_size was 8, now 9"),
        (["--batch-size", "8", "--mean", "0.5,0.5,0.5"], "another training (beside was"),
    ):
        refused = fluoroscope(*arguments, *more)
        assert refused.code == 2
        assert told in refused.err
        assert "give another directory, or delete the file" in refused.err
    said = fluoroscope(*arguments, "--batch-size", "8")
    assert said.code == 0, said.err
    assert "going on after step 2 of an earlier run" in said.out


def test_a_limit_takes_some_of_every_class(fluoroscope: Call, here: Path) -> None:
    said = fluoroscope(
        "train", "python:nets.py:make", "-d", "photos", "--epochs", "1", "--limit", "10",
        "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    data = json.loads(said.out)["data"]
    assert (data["train"], data["test"]) == (8, 2)
    assert "10 of 24, drawn evenly over the classes" in said.err
