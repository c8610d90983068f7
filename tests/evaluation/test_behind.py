"""Classes that fall behind: found where they do, and hardly ever where none does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from short_plans import plan
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.intervals import wilson
from fluoroscope.evaluation.behind import classes_behind, in_words
from fluoroscope.evaluation.runs.stored import open_run


def _data(shares: list[float], each: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(shares)), each)
    right = np.concatenate([np.arange(each) < round(share * each) for share in shares])
    return labels, right


def test_a_class_far_below_is_named_with_its_numbers() -> None:
    labels, right = _data([1.0, 0.9, 0.3, 1.0], 20)
    (one,) = classes_behind(labels, right, ["a", "b", "c", "d"])
    assert (one.name, one.count, one.right, one.others, one.others_right) == ("c", 20, 6, 60, 58)
    assert one.interval == wilson(6, 20)
    (words,) = in_words([one])
    assert words.startswith("a class falls far behind the others in clean accuracy: c: 30.0")


@pytest.mark.parametrize(
    ("shares", "each"),
    [
        ([1.0, 1.0, 0.25, 1.0], 4),  # too few to say
        ([1.0, 0.95, 0.93, 1.0], 200),  # apart, but not far
        ([0.9, 0.8, 0.7, 0.9], 10),  # far, but not surely
        ([0.2], 50),  # no others
        ([0.0, 0.0], 50),
    ],
)
def test_what_is_no_finding(shares: list[float], each: int) -> None:
    assert classes_behind(*_data(shares, each)) == ()


def test_of_two_classes_the_lower_one_is_named() -> None:
    (one,) = classes_behind(*_data([1.0, 0.5], 30), measure="robust")
    assert (one.label, one.measure) == (1, "robust")
    assert "robust accuracy: 1: 50.0" in in_words([one])[0]


def test_equal_classes_are_hardly_ever_named() -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(50), 10)
    named = sum(bool(classes_behind(labels, draw.random(500) < 0.6)) for _ in range(200))
    assert named <= 0.05 * 200
    # Without the correction for many classes it would be far more.
    apart = 0
    for _ in range(200):
        right = draw.random(500) < 0.6
        apart += any(
            wilson(int(right[labels == one].sum()), 10)[1]
            < wilson(int(right[labels != one].sum()), 490)[0]
            for one in range(50)
        )
    assert apart > 0.2 * 200


class BlindTo(nn.Module):
    """A network that takes most of a class for another."""

    def __init__(self, module: nn.Module, label: int) -> None:
        super().__init__()
        self.module, self.label = module, label

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.module(images)
        return logits - 6 * nn.functional.one_hot(torch.tensor(self.label), logits.shape[1])


def test_a_verdict_says_which_class_falls_behind(tmp_path: Path) -> None:
    model = fs.load_model("digits-linear")
    model.module = BlindTo(model.module, 3)
    digits = fs.load_images("digits", channels=1).take(200)
    verdict = fs.evaluate(model, digits, threat="linf:0.02", plan=plan(), out=tmp_path, part=90)
    clean = [one for one in verdict.behind if one.measure == "clean"]
    assert [one.name for one in clean] == ["3"]
    batch = next(iter(digits.batches(200)))
    assert batch.labels is not None
    of = batch.labels == 3
    right = fs.predict(model, batch.images).winners == batch.labels
    assert (clean[0].count, clean[0].right) == (int(of.sum()), int(right[of].sum()))
    assert clean[0].others_right == int(right[~of].sum())
    assert any("falls far behind the others in clean accuracy: 3:" in one for one in verdict.notes)
    told = json.loads((tmp_path / "verdict.json").read_text())["behind"]
    assert told[0]["name"] == "3"
    assert open_run(tmp_path).verdict().behind == verdict.behind
    usual = fs.evaluate(fs.load_model("digits-linear"), digits, threat="linf:0.02", plan=plan())
    assert not [one for one in usual.behind if one.measure == "clean"]
