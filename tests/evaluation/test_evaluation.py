"""Verdicts against a slow reading of the same attacks, and runs that go on."""

from pathlib import Path

import pytest
import torch

import fluoroscope as fs
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.evaluation.runs.run_directory import RunDirectory


def plan() -> Plan:
    fgsm, pgd = (fs.attack(name, eps=0.05) for name in ("fgsm", "pgd"))
    return Plan("short", (Stage("fgsm", fgsm), Stage("pgd", pgd)))


@pytest.fixture(scope="module")
def model() -> fs.Classifier:
    return fs.load_model("digits-cnn")


@pytest.fixture(scope="module")
def digits() -> fs.ImageSet:
    return fs.load_images("digits", channels=1).take(60)


def test_counts_what_each_attack_of_the_plan_leaves(
    model: fs.Classifier, digits: fs.ImageSet
) -> None:
    verdict = fs.evaluate(model, digits, threat="linf:0.05", plan=plan(), part=25)
    batch = next(iter(digits.batches(60)))
    assert batch.labels is not None
    right = fs.predict(model, batch.images).winners == batch.labels
    expected, surviving = [int(right.sum())], right
    for stage in plan().stages:
        result = stage.attack(model, batch.images, batch.labels)
        surviving = surviving & ~result.success
        expected.append(int(surviving.sum()))
    assert round(verdict.clean_accuracy * 60) == expected[0]
    assert [round(each.robust_accuracy * 60) for each in verdict.components] == expected[1:]
    assert verdict.robust_accuracy == verdict.components[-1].robust_accuracy
    assert [each.given for each in verdict.components] == expected[:2]
    assert verdict.complete


def test_a_run_that_was_stopped_ends_with_the_same_rows(
    model: fs.Classifier, digits: fs.ImageSet, tmp_path: Path
) -> None:
    def rows(name: str) -> dict[str, list[object]]:
        table = RunDirectory(tmp_path / name).tables().drop_columns(["seconds"])
        return dict(table.to_pydict())

    options = {"threat": "linf:0.05", "plan": plan(), "part": 25}
    fs.evaluate(model, digits, out=tmp_path / "whole", **options)
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 30

    partial = fs.evaluate(model, digits, out=tmp_path / "stopped", cancelled=stop, **options)
    assert not partial.complete
    fs.evaluate(model, digits, out=tmp_path / "stopped", **options)
    assert rows("stopped") == rows("whole")


def test_a_batch_of_images_does_as_well(model: fs.Classifier, digits: fs.ImageSet) -> None:
    batch = next(iter(digits.batches(60)))
    options = {"threat": fs.Linf(0.05), "plan": plan()}
    one = fs.evaluate(model, batch.images, batch.labels, **options)
    other = fs.evaluate(model, digits, **options)
    assert one.robust_accuracy == other.robust_accuracy
    assert one.forwards == other.forwards


def test_a_network_at_chance_is_refused(digits: fs.ImageSet) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    model = fs.Classifier(module, channels=1, input_size=28)
    with pytest.raises(fs.FluoroscopeError, match="no better than chance"):
        fs.evaluate(model, digits, threat="linf:0.05", plan=plan())
