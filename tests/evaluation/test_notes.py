"""What an attack warns of stands in the verdict, wherever that is read."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from short_plans import plan
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.evaluation.behind import in_words
from fluoroscope.evaluation.runs.stored import read_run
from fluoroscope.notices import collected, distinct, tell


class Changed(nn.Module):
    def __init__(self, rounded: bool) -> None:
        super().__init__()
        self.inner, self.rounded = fs.load_model("digits-linear").module, rounded

    def forward(self, x: Tensor) -> Tensor:
        return self.inner((4 * x).round() / 4 if self.rounded else nn.functional.dropout(x, 0.1))


@pytest.mark.parametrize(("rounded", "words"), [(True, "gradient of zero"), (False, "differently")])
def test_a_verdict_says_what_its_attacks_said(
    rounded: bool, words: str, few: fs.ImageSet, tmp_path: Path
) -> None:
    model = fs.Classifier(Changed(rounded), channels=1, input_size=28, mean=(0,), std=(1,))

    def verdict() -> fs.Verdict:
        return fs.evaluate(
            model, few, threat="linf:0.02", plan=plan(), part=25, out=tmp_path / "run"
        )

    found = verdict()
    assert sum(words in note for note in found.notes) == 1  # of three parts
    assert verdict().notes == found.notes  # nothing was searched again
    assert read_run(tmp_path / "run").notes == found.notes
    kept = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert kept["notes"] == list(found.notes)


def test_no_note_on_an_honest_network(small: fs.Classifier, few: fs.ImageSet) -> None:
    # That this network is weak at a class is no fault of the run.
    found = fs.evaluate(small, few, threat="linf:0.02", plan=plan())
    assert found.notes == in_words(found.behind)
    assert [(one.right, one.count) for one in found.behind] == [(1, 6)]


def test_all_read_as_one_class_is_noted(few: fs.ImageSet) -> None:
    class Same(Changed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1e3 * torch.eye(10)[4]

    model = fs.Classifier(Same(rounded=True), channels=1, input_size=28)
    found = fs.evaluate(model, few, threat="linf:0.02", plan=plan(), at_chance=True)
    assert "all 60 pictures are predicted as one class, number 4" in found.notes


def test_what_is_collected_is_not_warned_of_and_touches_no_filter() -> None:
    before = list(warnings.filters)
    with collected() as told, warnings.catch_warnings():
        warnings.simplefilter("error")
        tell("one")
    assert told == ["one"]
    assert warnings.filters == before
    with pytest.warns(fs.FluoroscopeWarning, match="two"):
        tell("two")


def test_of_notes_that_differ_in_numbers_there_is_one() -> None:
    assert distinct(["3 of 4", "a", "5 of 12", "a"]) == ("3 of 4", "a")
