"""What a report advises: it fits what was found, and what it says to run runs."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import small

import fluoroscope as fs
from fluoroscope.evaluation.check import Check
from fluoroscope.evaluation.curve import Curve
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.evaluation.plans import PLANS
from fluoroscope.report import study as studies
from fluoroscope.report.hardened import training_of
from fluoroscope.report.references import Reference, measured, references

pytestmark = pytest.mark.usefixtures("quick")

BRIEF: dict[str, Any] = {"threat": "linf:0.02", "sections": ["verdict", "next"]}


def steps_of(report: fs.Report) -> dict[str, dict[str, Any]]:
    steps = report.describe()["sections"]["next"]["steps"]
    return {step["title"].split()[0]: step for step in steps}


def verdict_of(report: fs.Report) -> str:
    """The words of the section, checks included."""
    return report.html[report.html.index('id="verdict"') : report.html.index('id="next"')]


@pytest.mark.parametrize("normalised", [False, True])
def test_the_training_that_is_advised_runs_and_moves_the_weights(normalised: bool) -> None:
    model, images, labels = small(3)
    if normalised:
        model = model.restated(mean=(0.1, 0.2, 0.3), std=(0.9, 0.8, 0.7))
    report = fs.xray(model, images, labels, threat=fs.Linf(0.2), sections=["verdict", "next"])
    command = steps_of(report)["Train"]["command"]
    given = {"network": model.module, "images": images[:6], "labels": labels[:6]}
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    exec(command, given)
    after = model.module.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    if normalised:
        pixels = torch.rand(2, 3, 16, 16)
        first = given["network"][0](pixels)
        torch.testing.assert_close(first, model.preprocessing.normalize(pixels))


@pytest.mark.parametrize("as_batch", [True, False])
def test_the_call_that_confirms_runs_and_looks_at_the_same(
    as_batch: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if as_batch:
        model, images, labels = small(3)
        given: dict[str, Any] = {"model": model, "images": images, "labels": labels}
    else:
        digits = fs.load_images("digits", channels=1).take(20)
        given = {"model": fs.load_model("digits-cnn"), "images": digits}
    report = fs.xray(*given.values(), **BRIEF, seed=2, grid=8)
    command = steps_of(report)["Confirm"]["command"]
    attack = fs.attack("fgsm", eps=0.02)
    monkeypatch.setitem(PLANS, "standard", lambda _: Plan("standard", (Stage("fgsm", attack),)))
    monkeypatch.chdir(tmp_path)
    exec(command, dict(given))
    found = fs.evaluate(*given.values(), threat="linf:0.02", seed=2, grid=8, out="out/standard")
    assert found.record["identity"]["model_sha256"] == report.record["model_sha256"]
    assert (tmp_path / "out" / "standard" / "run.json").exists()


@pytest.mark.parametrize(
    ("failing", "plan"), [("differentiable", "black-box"), ("randomness", "rand")]
)
def test_the_plan_that_confirms_is_one_for_such_a_network(
    failing: str, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        studies, "trust_checks", lambda *_, **__: (Check(failing, "fail", "it is so"),)
    )
    step = steps_of(fs.xray(*small(3), **BRIEF))["Confirm"]
    assert f'plan="{plan}"' in step["command"]


def _reference(median: float, hardened: bool) -> Reference:
    return Reference("one", "", hardened, 3, 32, 10, "data", 10, "linf", (0.0,), (1.0,), median)


def _curve(*distances: float) -> Curve:
    return Curve("linf", np.array(distances), np.zeros(len(distances), dtype=np.int64))


@pytest.mark.parametrize(
    ("distances", "others", "status", "expected"),
    [
        ((0.01, 0.012, 0.014), (_reference(0.01, False),), "pass", "clean"),
        ((0.04, 0.05, 0.06), (_reference(0.01, False),), "pass", "hardened"),
        ((0.04, 0.05, 0.06), (_reference(0.01, False),), "fail", "unknown"),
        ((0.02, 0.025, 0.026), (_reference(0.01, False),), "pass", "unknown"),
        ((math.inf,) * 3, (_reference(0.01, False),), "pass", "hardened"),
        ((0.04, 0.05, 0.06), (_reference(0.001, True),), "pass", "hardened"),
        ((0.001, 0.002, 0.003), (), "pass", "clean"),
        ((0.005, 0.03, 0.04, 0.05), (), "pass", "hardened"),
        ((0.0, 0.0), (), "pass", "unknown"),
    ],
)
def test_whether_it_looks_hardened(
    distances: tuple[float, ...], others: tuple[Reference, ...], status: str, expected: str
) -> None:
    model = SimpleNamespace(input_size=(32, 32), channels=3, num_classes=10)
    trust = {"verdict": {"trust": [{"status": status}]}}
    study: Any = SimpleNamespace(model=model, images=None, data=trust)
    assert training_of(study, _curve(*distances), others) == expected
    model.num_classes = 2  # incomparable with ten classes, and far apart by themselves
    found = training_of(study, _curve(*distances), others)
    assert found == ("clean" if distances[-1] == 0.003 else "unknown")


@pytest.mark.parametrize(("model", "hardened"), [("digits-cnn", False), ("digits-robust", True)])
def test_a_hardened_network_is_not_told_that_it_was_trained_on_clean_pictures_alone(
    model: str, hardened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        studies, "trust_checks", lambda *_, **__: (Check("randomness", "pass", "none"),)
    )
    digits = fs.load_images("digits", channels=1).take(20)
    bim = fs.attack("bim", eps=0.4, steps=20)
    monkeypatch.setattr(studies, "VERDICT", Plan("short", (Stage("bim", bim),)))
    report = fs.xray(fs.load_model(model), digits, threat="linf:0.4", sections=["verdict", "next"])
    steps = steps_of(report)
    assert ("Choose" in steps) == hardened
    assert ("Train" in steps) == (not hardened)
    alone = "as they do of any network that was trained on clean pictures alone"
    assert (alone in report.html) == (not hardened)


def test_a_class_that_falls_behind_is_a_finding_and_something_to_do() -> None:
    model, images, _ = small(3, labels=["cat", "dog", "<i>eel</i>"])
    images = images.repeat(3, 1, 1, 1)
    labels = fs.predict(model, images).winners
    others = (labels != 2).nonzero().squeeze(1)
    labels[others[:20]] = 2  # of what is labelled so it gets few right, and all of the others
    report = fs.xray(model, images, labels, **BRIEF)
    named = "falls far behind the others in clean accuracy: &lt;i&gt;eel&lt;/i&gt;"
    assert named in verdict_of(report)
    assert "Not alike for all classes" in verdict_of(report)
    assert steps_of(report)["Find"]["title"] == "Find out why it fails on <i>eel</i>"
    fine = fs.xray(*small(3), **BRIEF)
    assert "Not alike" not in fine.html
    assert "Find" not in {title for title in steps_of(fine) if "fails on" in title}


def test_nothing_is_said_of_borders_where_there_are_two_classes_or_few_searches() -> None:
    for classes in (2, 3):
        model, images, labels = small(classes)
        report = fs.xray(model, images, labels, threat="linf:0.02", sections=["map", "next"])
        assert "Collect" not in steps_of(report)
        assert "of 1 picture alone" in report.html


def _checks(made: int, open_: int, pictures: int = 64) -> tuple[Check, ...]:
    return (
        *(Check(f"check {n}", "pass", "fine", {"pictures": pictures}) for n in range(made)),
        *(Check(f"check {made + n}", "not made", "It was stopped.") for n in range(open_)),
    )


def test_checks_cut_short_are_no_reason_to_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "trust_checks", lambda *_, **__: _checks(5, 6))
    text = verdict_of(fs.xray(*small(3), **BRIEF))
    assert "That is open: of 12 checks 6 were made" in text
    assert "Nothing speaks against it" not in text
    assert text.count('<span class="mark">not known</span>') == 6
    monkeypatch.setattr(studies, "trust_checks", lambda *_, **__: _checks(11, 0))
    assert "Nothing speaks against it: all 12 checks" in verdict_of(fs.xray(*small(3), **BRIEF))


def test_checks_on_few_pictures_say_what_they_could_have_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(studies, "trust_checks", lambda *_, **__: _checks(11, 0, 4))
    text = verdict_of(fs.xray(*small(3), **BRIEF))
    assert "Nothing speaks against it" not in text
    assert "4 pictures alone: most of them only see a fault that shows on 2 of these" in text
    assert text.count('<li class="few">') == 2 * 11  # short, and with what each saw
    monkeypatch.setattr(studies, "trust_checks", lambda *_, **__: _checks(11, 0, 32))
    assert '<li class="few">' not in verdict_of(fs.xray(*small(3), **BRIEF))


def test_what_was_required_and_missed_is_something_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "trust_checks", lambda *_, **__: _checks(11, 0))
    given = {**BRIEF, "named": "--model m --data d"}
    report = fs.xray(*small(3), **given, require="clean>=0.9 class>=0.99 robust>=0.99 pictures>=1")
    clean, robust = (
        step for step in report.describe()["sections"]["next"]["steps"] if "Reach" in step["title"]
    )
    assert clean["title"].endswith("clean pictures: clean>=0.9 and class>=0.99")
    # Every eighth picture is labelled otherwise than it is predicted.
    wrong = clean["why"].partition("first: ")[2].partition(". Mend")[0]
    assert sorted(wrong.replace(" and", ",").split(", ")) == ["0", "16", "8"]
    assert clean["command"].startswith("fluoroscope predict --model m --data d --csv ")
    assert robust["title"].endswith("under attack: robust>=0.99")
    assert "training.fit" in robust["command"]
    met = fs.xray(*small(3), **given, require="clean>=0.1 robust>=0")
    assert "Reach" not in steps_of(met)


def test_there_is_one_clean_accuracy_where_time_was_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "PART", 8)
    monkeypatch.setattr(studies, "SHARE", 0.0)
    model, images, labels = small(3)
    right = int((fs.predict(model, images).winners == labels).sum())
    report = fs.xray(
        model, images, labels, threat="linf:0.02", sections=["verdict", "clean", "next"],
        budget="100s", require=f"clean>={right / 24:.6f} robust>=0",
    )  # fmt: skip
    verdict = report.describe()["sections"]["verdict"]
    assert verdict["count"] == 8
    # Clean, all were looked at; under attack not.
    assert [one["status"] for one in verdict["requirements"]] == ["met", "cannot be shown"]
    assert verdict["requirements"][0]["measured"] == pytest.approx(right / 24)
    share = f"{100 * right / 24:.1f}\N{NARROW NO-BREAK SPACE}%"
    assert report.summary.startswith(f"small-3 classifies {share} of 24 pictures correctly")
    attacked = f"{100 * verdict['clean_accuracy']:.1f}\N{NARROW NO-BREAK SPACE}%"
    words = f"attack 8 of them, drawn at random, of which it classifies {attacked} correctly."
    assert words in report.summary
    assert "Give it more time: 8 of 24 pictures were attacked" in report.html
    assert "Look at more pictures" not in report.html
    numbers = report.html.split('<dl class="numbers">')[1:3]
    assert all(f'<dd class="value">{share}</dd>' in one for one in numbers)
    assert "; of the 8 pictures attacked" in numbers[0]


def test_references_are_of_the_same_kind() -> None:
    for norm in ("linf", "l2"):
        grey = {one.model for one in references(norm, 1, 28)}
        assert grey == {"digits-cnn", "digits-robust"}
        colour = {one.model for one in references(norm, 3, 32)}
        assert colour == {"cifar-plain", "cifar-hardened"}
        large = references(norm, 3, 224)
        assert large
        assert not {one.model for one in large} & (grey | colour)
        for channels, side in ((1, 224), (3, 1024), (4, 32), (2, 28)):
            assert references(norm, channels, side) == ()
    plain, hard = (
        next(one for one in references("linf", 3, 32) if one.hardened is kind)
        for kind in (False, True)
    )
    assert hard.median > 3 * plain.median
    for one in measured():
        assert one.count >= 100
        assert list(one.eps) == sorted(one.eps)
        assert list(one.accuracy) == sorted(one.accuracy, reverse=True)


def test_a_page_without_networks_of_its_kind_shows_none() -> None:
    model, images, labels = small(3, channels=2)
    report = fs.xray(model, images, labels, threat="linf:0.02", sections=["curve"])
    assert "Dashed" not in report.html
    assert "stroke-dasharray" not in report.html
    model, images, labels = small(3)
    report = fs.xray(model, images, labels, threat="linf:0.02", sections=["curve"])
    assert "cifar-plain" in report.html
    assert "digits-cnn" not in report.html
