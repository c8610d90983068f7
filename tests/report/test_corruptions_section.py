"""The section on corruptions: its numbers, its pictures, what it keeps, and when it stops."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fluoroscope as fs
from fluoroscope.engine.labels import labelled
from fluoroscope.evaluation.corruptions.catalogue import FIFTEEN, corrupt
from fluoroscope.report.sections import corruptions as section
from fluoroscope.report.sections import next as next_steps
from fluoroscope.report.study import Study

ONLY = ["corruptions"]


def images_of(count: int, channels: int = 1) -> torch.Tensor:
    drawn = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(1))
    return (255 * drawn).round() / 255


def network(channels: int = 1) -> fs.Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 3))
    return fs.Classifier(module, channels=channels, input_size=8)


def found(report: fs.Report) -> dict[str, Any]:
    assert not report.missing, report.missing
    return report.describe()["sections"]["corruptions"]  # type: ignore[no-any-return]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section, "_PICTURES", 12)
    monkeypatch.setattr(section, "_BATCH", 4)


@pytest.mark.usefixtures("small")
def test_its_numbers_are_the_table_of_its_sample() -> None:
    model, images = network(), images_of(30)
    labels = fs.predict(model, images).winners
    report = fs.xray(model, images, labels, threat="linf:0.1", sections=ONLY, seed=3)
    one = found(report)
    study = Study(model, labelled(model, images, labels), fs.Linf(0.1), seed=3)
    chosen = list(study.images.indices)[:12]
    right = 0
    for row in one["rows"]:
        for place, severity in enumerate((1, 2, 3, 4, 5)):
            numbers = torch.tensor(chosen)
            seen = corrupt(images[chosen], row["corruption"], severity, seed=3, numbers=numbers)
            same = int((fs.predict(model, seen).winners == labels[chosen]).sum())
            assert row["right"][place] == same
            right += same
    assert one["count"] == 12
    assert one["mean_accuracy"] == pytest.approx(right / (12 * 75))
    assert [row["corruption"] for row in one["rows"]] == list(FIFTEEN)
    lowest = min(one["rows"], key=lambda row: row["mean_accuracy"])
    assert one["worst"] == lowest["corruption"]
    assert section.spoken(one["worst"]) in report.html
    example = one["example"]
    for name, shown in example["corruptions"].items():
        for severity in range(1, shown["severity"] + 1):
            seen = corrupt(
                images[[example["index"]]], name, severity, seed=3,
                numbers=torch.tensor([example["index"]]),
            )  # fmt: skip
            winner = int(fs.predict(model, seen).winners)
            if severity < shown["severity"]:
                assert winner == example["label"]
        assert winner == shown["class"]
        assert shown["severity"] == 5 or shown["class"] != example["label"]
    assert report.html.count("<img") == 16


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("channels", [2, 3, 13])
def test_any_number_of_channels(channels: int) -> None:
    model, images = network(channels), images_of(6, channels)
    report = fs.xray(
        model, images, fs.predict(model, images).winners, threat="linf:0.1", sections=ONLY
    )
    assert len(found(report)["rows"]) == (15 if channels == 3 else 14)
    assert ("left out" in report.html) == (channels != 3)


@pytest.mark.usefixtures("small")
def test_a_finished_run_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = network(), images_of(12)
    given = (model, images, fs.predict(model, images).winners)
    options: dict[str, Any] = {"threat": "linf:0.1", "sections": ONLY, "run": tmp_path}
    first = found(fs.xray(*given, **options))

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(section, "corruption_accuracy", never)
    again = found(fs.xray(*given, **options))
    assert json.loads(json.dumps(first)) == json.loads(json.dumps(again))


@pytest.mark.usefixtures("small")
def test_it_stops_when_told_and_keeps_nothing_unfinished(tmp_path: Path) -> None:
    model, images = network(), images_of(12)
    given = (model, images, fs.predict(model, images).winners)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 100

    options: dict[str, Any] = {"threat": "linf:0.1", "sections": ONLY, "run": tmp_path}
    report = fs.xray(*given, **options, cancelled=stop)
    assert found(report)["count"] == 4
    assert "Time was up after 4 of 12 pictures." in report.html
    assert report.describe()["record"]["cut"] == ["corruptions"]
    assert found(fs.xray(*given, **options))["count"] == 12
    none = fs.xray(*given, threat="linf:0.1", sections=ONLY, cancelled=lambda: asked > 0)
    assert "stopped before it was done" in none.missing["corruptions"]


def test_advice_where_one_is_far_worse() -> None:
    def rows(*means: float) -> dict[str, Any]:
        names = list(FIFTEEN)[: len(means)]
        return {
            "rows": [
                {"corruption": name, "mean_accuracy": mean,
                 "mean_interval": (mean - 0.1, mean + 0.1)}
                for name, mean in zip(names, means, strict=True)
            ]
        }  # fmt: skip

    model = fs.load_model("digits-linear")
    study = Study(model, fs.load_images("digits", channels=1).take(3), fs.Linf(0.1))
    for data, advised in ((rows(0.9, 0.6, 0.9), True), (rows(0.9, 0.75, 0.9), False), ({}, False)):
        study.data = {"corruptions": data} if data else {}
        steps = list(next_steps._corruption(study))
        assert bool(steps) == advised
    study.data, study.named = {"corruptions": rows(0.9, 0.2, 0.9)}, "-m net -d data"
    [step] = next_steps._corruption(study)
    assert "shot noise" in step.title
    assert step.command == "fluoroscope corrupt -m net -d data --corruption shot-noise"


@pytest.mark.parametrize(
    ("means", "clean", "many", "words"),
    [
        ((0.5, 0.6), 0.9, 1000, "Worst is glass blur: "),
        ((0.5, 0.5), 0.9, 1000, "Worst are glass blur and frost: "),
        ((0.5, 0.5), 0.6, 10, "the differences may come by chance"),
        ((0.1, 0.9), 0.6, 10, "the difference on average may come by chance"),
    ],
)
def test_what_is_equally_bad_or_may_be_chance_is_said(
    means: tuple[float, float], clean: float, many: int, words: str
) -> None:
    rows = [
        {"corruption": name, "mean_accuracy": mean, "mean_interval": [0.0, 1.0]}
        for name, mean in zip(("glass-blur", "frost"), means, strict=True)
    ]
    table = {
        "rows": rows, "mean_accuracy": sum(means) / 2, "clean_accuracy": clean, "count": many
    }  # fmt: skip
    said = section._in_words(table)
    assert words in said
    assert ("chance" in said) == (many == 10)
