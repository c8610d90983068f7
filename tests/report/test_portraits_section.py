"""The section of portraits: its numbers, flags and control, what it keeps, when it is left out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import MARKUP, small
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.gradients.randomised import with_random_weights
from fluoroscope.inversion.measures.flags import Flag
from fluoroscope.report import portrayed
from fluoroscope.report.sections import portraits as section

ONLY: dict[str, Any] = {"sections": ["portraits"], "threat": "linf:0.1"}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portrayed, "STEPS", 3)
    monkeypatch.setattr(portrayed, "CLASSES", 4)


def found(report: fs.Report) -> dict[str, Any]:
    assert not report.missing, report.missing
    return report.describe()["sections"]["portraits"]  # type: ignore[no-any-return]


def other(classes: int) -> fs.Classifier:
    torch.manual_seed(99)
    module = nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.Flatten(),
                           nn.Linear(36, classes)).eval()  # fmt: skip
    return fs.Classifier(module, input_size=16, channels=3, name="the other")


def test_they_are_the_portraits_of_the_network_and_of_its_control(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, images, labels = small(3)
    seen: dict[str, Tensor] = {}
    real_assess = portrayed.assess

    def watched(*given: Any, **options: Any) -> Any:
        seen.update(made=given[1], classes=given[2], random=options["random"],
                    again=options["seeds"][0], real=options["real"][0])  # fmt: skip
        return real_assess(*given, **options)

    monkeypatch.setattr(portrayed, "assess", watched)
    one = found(fs.xray(model, images, labels, seed=5, **ONLY))
    assert one["classes"] == [0, 1, 2]
    assert one["method"] == "fourier"
    options: dict[str, Any] = {"steps": 3, "seed": 5}
    first = fs.portrait(model, [0, 1, 2], numbers=torch.zeros(3, dtype=torch.long), **options)
    second = fs.portrait(model, [0, 1, 2], numbers=torch.ones(3, dtype=torch.long), **options)
    assert torch.equal(seen["made"], torch.cat([first.images, second.images]))
    assert torch.equal(seen["again"], torch.cat([second.images, first.images]))
    assert seen["classes"].tolist() == [0, 1, 2, 0, 1, 2]
    twin = with_random_weights(model, seen["real"][:64], seed=5)
    control = fs.portrait(twin, [0, 1, 2], numbers=torch.zeros(3, dtype=torch.long), **options)
    assert torch.equal(seen["random"], control.images)
    assert one["probabilities"]["own"] == pytest.approx(first.probabilities.tolist())
    measures = {each["name"]: each for each in one["assessment"]["measures"]}
    like = torch.stack([torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
                        for a, b in zip(first.images, control.images, strict=True)])  # fmt: skip
    assert measures["likeness to random weights"]["value"] == pytest.approx(
        float(like.mean()), abs=1e-4
    )
    assert not measures["second accuracy"]["measured"]
    assert any("random weights 3 pictures stand" in note for note in one["assessment"]["notes"])


def test_flags_come_first_and_nothing_flagged_is_a_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, images, labels = small(3)
    real_assess = portrayed.assess

    def flagged(*given: Any, **options: Any) -> Any:
        from dataclasses import replace

        raised = (Flag("collapsed", "Collapsed: all classes show hardly more than one picture."),)
        return replace(real_assess(*given, **options), flags=raised)

    monkeypatch.setattr(portrayed, "assess", flagged)
    report = fs.xray(model, images, labels, **ONLY)
    assert report.summary.startswith("Do not take these portraits at their word")
    assert "flagged: collapsed." in report.summary
    assert "COLLAPSED" in found(report)["headline"]
    assert report.html.index("hardly more than one picture") < report.html.index("<img")
    assert "Not one picture for all" not in report.html
    for words in section._NOT:
        assert words.split("'")[0] in report.html


def test_a_second_network_is_asked_and_one_that_cannot_judge_is_refused() -> None:
    model, images, labels = small(3)
    without = fs.xray(model, images, labels, **ONLY)
    assert "no second network was asked" in without.summary
    one = found(fs.xray(model, images, labels, second=other(3), **ONLY))
    assert one["second"] == "the other"
    measures = {each["name"]: each for each in one["assessment"]["measures"]}
    assert measures["second accuracy"]["measured"]
    grey = fs.load_model("digits-linear")
    for wrong, words in ((model, "the network under study itself"), (grey, "1 channel")):
        with pytest.raises(fs.FluoroscopeError, match=words):
            fs.xray(model, images, labels, second=wrong, **ONLY)


def test_of_a_built_in_network_another_one_is_asked() -> None:
    data = fs.load_images("digits", channels=1).take(20)
    report = fs.xray(fs.load_model("digits-cnn"), data, sections=["portraits"])
    assert found(report)["second"] == "digits-robust"
    assert len(found(report)["classes"]) == 4
    assert report.html.count("<img") == 16


def test_a_finished_run_is_only_read_and_an_unfinished_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = small(3)
    whole = fs.xray(*given, run=tmp_path / "whole", **ONLY)
    painted: list[tuple[str, list[int]]] = []
    real_portrait = portrayed.portrait

    def watched(model: fs.Classifier, classes: list[int], **options: Any) -> Any:
        painted.append((model.name, classes))
        if len(painted) == 3:
            raise KeyboardInterrupt
        return real_portrait(model, classes, **options)

    monkeypatch.setattr(portrayed, "portrait", watched)
    assert found(fs.xray(*given, run=tmp_path / "whole", **ONLY)) == found(whole)
    assert not painted
    with pytest.raises(KeyboardInterrupt):
        fs.xray(*given, run=tmp_path / "other", **ONLY)
    again = fs.xray(*given, run=tmp_path / "other", **ONLY)
    assert len(painted) == 4  # the third alone was made anew
    assert found(again) == found(whole)
    assert again.html == whole.html


def test_what_there_was_no_time_for_is_said_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = small(3)
    real_portrait, made = portrayed.portrait, 0

    def slow(*one: Any, **options: Any) -> Any:
        nonlocal made
        made += 1
        if made > 1:
            options["cancelled"] = lambda: True
        return real_portrait(*one, **options)

    monkeypatch.setattr(portrayed, "portrait", slow)
    report = fs.xray(*given, run=tmp_path, **ONLY)
    assert report.describe()["record"]["cut"] == ["portraits"]
    assert "no time for portraits of the network with random weights" in report.html
    assert "no time for portraits from another start" in report.html
    assert "Not the same with random weights" not in report.html
    monkeypatch.setattr(portrayed, "portrait", real_portrait)
    assert fs.xray(*given, run=tmp_path, **ONLY).describe()["record"]["cut"] == []
    monkeypatch.setattr(portrayed, "_SECONDS", 0.0)
    monkeypatch.setattr(portrayed, "_OF_SPENT", 0.0)
    assert "too little time" in fs.xray(*given, **ONLY).missing["portraits"]


def test_of_large_pictures_as_many_as_there_was_time_for_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portrayed.Study, "large", True)
    monkeypatch.setattr(portrayed, "STEPS_LARGE", 2)
    monkeypatch.setattr(portrayed, "TOGETHER_LARGE", 1)
    given = small(3)
    real_portrait, made = portrayed.portrait, 0

    def slow(*one: Any, **options: Any) -> Any:
        nonlocal made
        made += 1
        options["cancelled"] = lambda: made > 2
        return real_portrait(*one, **options)

    monkeypatch.setattr(portrayed, "portrait", slow)
    report = fs.xray(*given, run=tmp_path, **ONLY)
    assert found(report)["classes"] == [0, 1]
    assert found(report)["unfinished"] == 1
    assert "The time was up before 1 more class." in report.html
    monkeypatch.setattr(portrayed, "portrait", real_portrait)
    assert found(fs.xray(*given, run=tmp_path, **ONLY))["classes"] == [0, 1, 2]


def test_networks_that_no_gradient_leads_are_left_out_in_a_sentence() -> None:
    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            levels: Tensor = (x * 255).detach().round() / 255
            return torch.stack([levels.mean((1, 2, 3)), -levels.mean((1, 2, 3))], 1)

    model = fs.Classifier(Steps(), input_size=16, channels=1, name="steps")
    images = torch.rand(8, 1, 16, 16)
    report = fs.xray(model, images, fs.predict(model, images).winners, at_chance=True, **ONLY)
    assert "gradient" in report.missing["portraits"]
    assert "This section was left out." in report.html


def test_those_that_fall_behind_are_drawn_and_names_stay_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(portrayed, "CLASSES", 2)
    names = [f"{number} {MARKUP}" for number in range(12)]
    model, images, _ = small(12, labels=names)
    images = images.repeat(10, 1, 1, 1)
    labels = fs.predict(model, images).winners
    last = int(labels.max())
    swapped = labels == last
    images = torch.where(swapped[:, None, None, None], images[~swapped][:1], images)
    report = fs.xray(model, images, labels, **ONLY)
    one = found(report)
    assert len(one["classes"]) == 2
    assert one["behind"] == [last]
    assert last in one["classes"]
    assert "falls behind the others" in report.html
    assert "<script>" not in report.html
