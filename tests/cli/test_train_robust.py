"""``fluoroscope train`` with what is added to adversarial training, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fluoroscope.training.job.run import TrainingRun

Call = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("without_curves")
MART = ["--adversarial", "mart", "--eps", "0.1", "--adversarial-steps", "1"]
BALLS = ["--recipe", "multi-norm", "--norms", "linf:0.1,l1:2"]


@pytest.fixture(scope="module")
def data(bars: Callable[[int, int, int], Path]) -> str:
    """22 pictures to learn from, and 4 to test with."""
    return str(bars(2, 11, 2))


def test_all_goes_along_with_mart(fluoroscope: Call, data: str, tmp_path: Path) -> None:
    along = ["--ema", "0.9", "--awp", "0.01", "--second", "digits", "--second-share", "0.25"]
    asked = ["train", "digits-cnn", "-d", data, "--epochs", "2", "--batch-size", "16", *MART]
    said = fluoroscope(*asked, *along, "-o", str(tmp_path), "--json", "-")
    assert said.code == 0, said.err
    record = json.loads(said.out)
    assert record["adversarial"]["method"] == "mart"
    another = record["adversarial"]["test"][-1]  # beside FGSM and PGD, which it flatters itself by
    assert (another["attack"], another["loss"]) == ("APGD", "dlr")
    assert "survive APGD on the difference of logits ratio (100 steps, 1 start)" in said.err
    assert "flatters it" in record["adversarial"]["note"]
    assert "flatters it" in said.err
    assert [one["kind"] for one in record["beside"]] == [
        "AdversarialWeightPerturbation",
        "WeightAverage",
    ]
    assert record["beside"][1]["decay"] == 0.9
    assert record["second"]["share"] == 0.25
    assert record["second"]["note"] is None
    for words in ("--ema 0.9", "--awp 0.01", "--second digits", "--second-share 0.25"):
        assert words in record["command"]


def test_several_norms_are_judged_in_each(fluoroscope: Call, data: str, tmp_path: Path) -> None:
    asked = ["train", "digits-cnn", "-d", data, "--epochs", "1", *BALLS]
    said = fluoroscope(*asked, "--adversarial-steps", "2", "-o", str(tmp_path), "--json", "-")
    assert said.code == 0, said.err
    record = json.loads(said.out)
    assert [one["norm"] for one in record["adversarial"]["threats"]] == ["linf", "l1"]
    assert record["adversarial"]["steps"] == 2
    assert record["command"].count("--adversarial-steps 2") == 1
    judged = record["adversarial"]["test"]
    assert [(one["norm"], one["eps"]) for one in judged] == [("linf", 0.1), ("l1", 2.0)]
    assert "within 2 in L1 of 4 test pictures" in said.err
    assert ", attacked " in said.err  # it is watched


def test_a_second_source_that_holds_what_judges_is_told(
    fluoroscope: Call, data: str, tmp_path: Path
) -> None:
    second = ["--second", data, "--batch-size", "8"]
    asked = ["train", "digits-linear", "-d", data, "--epochs", "1", *second]
    said = fluoroscope(*asked, "-o", str(tmp_path), "--json", "-")
    assert said.code == 0, said.err
    assert "the second source holds 2 held-out pictures and 4 test pictures, bit" in said.err
    assert "flatter" in json.loads(said.out)["second"]["note"]


def test_a_run_with_a_second_source_goes_on_to_the_same_weights(data: str, tmp_path: Path) -> None:
    def run(folder: str) -> TrainingRun:
        return TrainingRun(
            "digits-linear", data, out=tmp_path / folder, epochs=3, batch_size=8,
            options={"second": "digits", "second_share": 0.5, "ema": 0.9},
        )  # fmt: skip

    whole = run("whole")
    steps = list(whole)
    # 20 of the 22 are learnt from, four in a batch.
    assert len(run("whole-again")) == len(steps) == 15
    for step in run("broken"):
        if step.number == 7:
            break
    again = run("broken")
    assert len(again) == len(list(again)) == 15 - again.behind + 1
    expected = whole.result.classifier.module.state_dict()
    for name, value in again.result.classifier.module.state_dict().items():
        assert torch.equal(value, expected[name])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--ema", "1"], "--ema is 1.0; expected 0 or more and less than 1"),
        (["--awp", "0"], "--awp is 0.0; expected more than 0"),
        (["--second-share", "0.5"], "expected --second beside it"),
        (["--second", "digits", "--second-share", "1.5"], "--second-share is 1.5; expected"),
        (["--second", "digits", "--second-share", "0.001"], "that is none; expected some of"),
        (["--second", "nowhere"], "nowhere"),
        (["--norms", "linf:0.1,l1:2"], "expected --recipe multi-norm beside it"),
        (["--recipe", "multi-norm"], "--norms is missing"),
        (["--recipe", "multi-norm", "--norms", "linf:0.1"], "expected two or more"),
        (["--recipe", "multi-norm", "--norms", "linf:0.1,l3:2"], "l3"),
        ([*BALLS, "--eps", "0.1"], "--eps is 0.1, and recipe multi-norm says itself"),
        ([*BALLS, "--adversarial", "pgd"], "recipe multi-norm says itself how pictures are moved"),
        (["--recipe", "exclude", "--ema", "0.9"], "takes nothing along"),
    ],
)
def test_mistakes_are_one_sentence(
    fluoroscope: Call, data: str, tmp_path: Path, options: list[str], says: str
) -> None:
    said = fluoroscope("train", "digits-cnn", "-d", data, *options, "-o", str(tmp_path / "out"))
    assert said.code == 2, said
    assert says in said.err
    assert said.err.count("\n") == 1
