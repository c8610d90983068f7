"""The section of what units mean: its numbers, its pictures, what it keeps, when it is left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import MARKUP, small
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.neurons.meaning.consistency import consistency
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.neurons.reading.read import read
from fluoroscope.neurons.reading.units import find_units
from fluoroscope.report import meant
from fluoroscope.report.sections import meanings as section
from fluoroscope.tensor_files import read_tensors

ONLY: dict[str, Any] = {"sections": ["consistency"], "threat": "linf:0.5"}


@pytest.fixture(autouse=True)
def quick_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reaches the target on networks that learnt nothing."""
    attack = fs.attack("ensemble-optimisation", weight=0.0, steps=10, step_size=0.1)
    monkeypatch.setattr(meant, "BEYOND", attack)
    monkeypatch.setattr(meant, "FEWEST", 8)


def found(report: fs.Report) -> dict[str, Any]:
    assert not report.missing, report.missing
    return report.describe()["sections"]["consistency"]  # type: ignore[no-any-return]


def test_numbers_are_those_of_the_pictures_that_were_made(tmp_path: Path) -> None:
    model, images, labels = small(3)
    one = found(fs.xray(model, images, labels, seed=4, run=tmp_path, **ONLY))
    [file] = tmp_path.glob("led-*.safetensors")
    kept, _ = read_tensors(file)
    right = (fs.predict(model, images).winners == labels).nonzero()[:, 0].tolist()
    assert one["tried"] == len(right) == len(kept["images"])
    # Each is of a picture that is classified correctly, and led to another of the classes.
    sources = [
        min(right, key=lambda row: float((images[row] - made).norm())) for made in kept["images"]
    ]
    assert sorted(sources) == right
    assert (kept["targets"] != labels[sources]).all()
    assert len(kept["targets"].unique()) == 3
    numbers = torch.tensor(sources)
    attack = fs.attack("pgd", eps=0.5, norm="linf", steps=20)
    again = attack(
        model, images[sources], kept["targets"], targeted=True, keep="last", grid=8, seed=4,
        numbers=numbers,
    )  # fmt: skip
    torch.testing.assert_close(kept["images"], again.images, atol=1.01 / 255, rtol=0)
    moved = (kept["images"] - images[sources]).abs().amax((1, 2, 3))
    assert float(moved.max()) <= 0.5 + 1e-6
    there = fs.predict(model, kept["images"]).winners == kept["targets"]
    assert one["adversarial"] == int(there.sum())
    assert one["attack"] == attack.stated
    assert one["distance"] == pytest.approx(float(moved[there].median()))
    rows = torch.arange(len(sources))[there].tolist()
    real = read(model, (images, labels), "2")
    made = read(model, (kept["images"][there], labels[[sources[row] for row in rows]]), "2")
    columns = {name: made.rows[name].to_pylist() for name in made.rows.column_names}
    columns |= {"target": kept["targets"][there].tolist(),
                "source": [sources[row] for row in rows]}  # fmt: skip
    made = Activations.of(made.values, find_units(model, "2"), columns, classes=model.labels,
                          record=made.record)  # fmt: skip
    own = consistency(real, made, "weights", model=model, draws=5)
    for name in ("level", "level_adversarial", "cs1", "cs2", "r1", "r2", "relative_sensitivity"):
        assert one["numbers"][name]["value"] == pytest.approx(own.layer[name].value, abs=1e-5), name
    for each in one["units"]:
        assert each["cs1"] == pytest.approx(own.units["cs1"][each["unit"]], abs=1e-5)


@pytest.mark.parametrize(
    ("threat", "said"), [("linf:0.5", "keep to the bound"), ("linf:0.004", "go beyond the bound")]
)
def test_the_head_says_whether_pictures_keep_to_the_bound_of_the_report(
    threat: str, said: str
) -> None:
    report = fs.xray(*small(3), sections=["consistency"], threat=threat)
    one = found(report)
    moved = "half of them moved by no more than"
    assert said in report.html
    assert moved in report.html
    assert report.html.index(moved) < report.html.index("and what they answer to")
    within = float(threat.partition(":")[2]) + 1e-6
    assert (one["distance"] <= within) == said.startswith("keep")


def test_units_that_are_shown_are_the_most_consistent_and_the_most_misleading() -> None:
    level = np.array([0.2, 0.9, 0.8, 0.7, 0.3, np.nan])
    cs1 = np.array([0.0, 0.5, 0.9, 0.1, 0.4, np.nan])
    assert meant._chosen(level, cs1) == [1, 2, 3]
    assert meant._chosen(level[:1], cs1[:1]) == [0]
    assert meant._chosen(level[5:], cs1[5:]) == []


def test_the_pictures_of_a_unit_are_those_that_activate_it_most() -> None:
    model, images, labels = small(3)
    report = fs.xray(model, images, labels, **ONLY)
    one = found(report)
    shown = [block for block in report.sections[0].blocks if type(block).__name__ == "Gallery"]
    cards = shown[0].cards  # type: ignore[union-attr]
    assert [card.title for card in cards] == [f"Unit {each['unit']}" for each in one["units"]]
    # Of so few pictures a unit's numbers are not shown, and it is said what they would be of.
    assert one["top"] == max(1, one["adversarial"] // 10) < meant.FEW
    assert all(not card.text for card in cards)
    assert f"of its top {one['top']} picture" in report.html
    values = read(model, (images, labels), "2").values
    for card, each in zip(cards, one["units"], strict=True):
        order = np.argsort(-values[:, each["unit"]], kind="stable")[: meant.PICTURES]
        told = [f"real {labels[row]}" for row in order.tolist()]
        assert [one.caption for one in card.pictures][: meant.PICTURES] == told
        assert all(" led to " in one.caption for one in card.pictures[meant.PICTURES :])


def test_a_finished_run_is_only_read_and_an_unfinished_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = small(3)
    monkeypatch.setattr(meant, "TOGETHER", 8)
    whole = fs.xray(*given, run=tmp_path / "whole", **ONLY)
    led: list[list[int]] = []
    real_lead = meant._lead

    def watched(study: Any, rows: list[int], attack: Any) -> Any:
        led.append(rows)
        if len(led) == 2:
            raise KeyboardInterrupt
        return real_lead(study, rows, attack)

    monkeypatch.setattr(meant, "_lead", watched)
    assert fs.xray(*given, run=tmp_path / "whole", **ONLY).html == whole.html
    assert not led
    with pytest.raises(KeyboardInterrupt):
        fs.xray(*given, run=tmp_path / "other", **ONLY)
    assert fs.xray(*given, run=tmp_path / "other", **ONLY).html == whole.html
    assert [len(rows) for rows in led] == [8, 8, 8, 5]


def test_what_there_was_no_time_for_is_said_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = small(3)
    monkeypatch.setattr(meant, "TOGETHER", 12)
    with monkeypatch.context() as patched:
        patched.setattr(meant, "_SECONDS", 0.0)
        patched.setattr(meant, "_OF_SPENT", 0.0)
        report = fs.xray(*given, run=tmp_path, **ONLY)
    assert found(report)["tried"] == 12
    assert report.record["cut"] == ["consistency"]
    assert "The time was up before 9 more pictures." in report.html
    again = fs.xray(*given, run=tmp_path, **ONLY)
    assert found(again)["tried"] == 21
    assert again.record["cut"] == []


@pytest.mark.parametrize("kind", ["few", "one class", "no gradient", "no target", "no layer"])
def test_where_it_cannot_be_told_one_sentence_says_why(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Detached(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Tensor) -> Any:
            return self.module(x.detach())

    class Bare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)), 0.5 - x.mean((1, 2, 3))], 1)

    model, images, labels = small(3)
    options: dict[str, Any] = {**ONLY, "at_chance": True}
    words = {
        "few": "3 pictures classified correctly", "one class": "of 1 class",
        "no gradient": "differentiably", "no target": "could be led",
        "no layer": "no layer whose units can be told",
    }  # fmt: skip
    if kind == "few":
        images, labels = images[1:4], labels[1:4]
    elif kind == "one class":
        common = int(labels.mode().values)
        images = images[labels == common][:1].repeat(12, 1, 1, 1)
        labels = fs.predict(model, images).winners
    elif kind == "no gradient":
        model.module = Detached(model.module)
        labels = fs.predict(model, images).winners
    elif kind == "no target":
        options["threat"] = "linf:0.004"
        monkeypatch.setattr(meant, "BEYOND", fs.attack("ensemble-optimisation", steps=1,
                                                       step_size=1e-6))  # fmt: skip
    else:
        model = fs.Classifier(Bare(), input_size=16, channels=3)
        labels = fs.predict(model, images).winners
    why = fs.xray(model, images, labels, **options).missing["consistency"]
    assert words[kind] in why, why
    assert why.endswith(".")
    assert "\n" not in why


def test_words_follow_the_numbers() -> None:
    def told(
        cs1: tuple[float, float], cs2: tuple[float, float], r1: tuple[float, float],
        chance: float = 0.05,
    ) -> str:  # fmt: skip
        def value(ends: tuple[float, float]) -> meant.Value:
            return meant.Value(sum(ends) / 2, ends)

        units = find_units(fs.load_model("digits-linear"), "1")
        numbers = {"cs1": value(cs1), "cs2": value(cs2), "r1": value(r1)}
        numbers |= {f"{name}_chance": value((chance, chance)) for name in ("cs1", "cs2")}
        one = meant.Meant(units, 2, 10, 9, 9, 9, "", numbers, [], [], meant.BEYOND, 0.1, 10)
        return section._in_words(one)

    units = find_units(fs.load_model("digits-linear"), "1")
    two = {name: meant.Value(0.1, (0, 0.2)) for name in ("cs1", "cs2")}
    few = meant.Meant(units, 9, 40, 9, 9, 9, "", two, [], [], meant.BEYOND, 0.1, 10)
    assert "cannot be told from 40 pictures of 9 classes" in section._in_words(few)
    keep = told((0.8, 0.9), (0.1, 0.2), (0.7, 0.9))
    assert "mostly keep to what pictures show (CS1 0.85, CS2 0.15)" in keep
    assert "nearer to their own class than" in keep
    lose = told((0.1, 0.2), (0.8, 0.9), (1.1, 1.3))
    assert lose.startswith("Do not read the units")
    assert "nearer to the class that they were led to" in lose
    assert "keep neither surely" in told((0.4, 0.5), (0.1, 0.2), (0.7, 0.9), chance=0.45)
    assert "keep neither surely" in told((0.1, 0.2), (0.4, 0.5), (0.7, 0.9), chance=0.45)
    open_ = told((0.4, 0.7), (0.5, 0.9), (0.9, 1.1))
    assert "keep neither surely" in open_
    assert "about as near" in open_


def test_names_stay_text_and_what_not_to_conclude_is_said() -> None:
    model, images, labels = small(3, labels=[f"{number} {MARKUP}" for number in range(3)])
    report = fs.xray(model, images, labels, **ONLY)
    assert "<script>" not in report.html
    for words in section._NOT:
        assert words.split("'")[0] in report.html
