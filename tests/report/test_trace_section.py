"""The section of who decided: its effects, its maps, what it keeps, and when it is left out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import MARKUP, small
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.neurons.reading.units import find_units
from fluoroscope.report import traced
from fluoroscope.report.sections import traces as section
from fluoroscope.tensor_files import read_tensors

ONLY: dict[str, Any] = {"sections": ["trace"], "threat": "linf:0.1"}


@pytest.fixture(autouse=True)
def as_many_as_users_get(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports that other files look at have fewer, for as long as the tests run."""
    monkeypatch.setattr(traced, "EACH", 3)


def found(report: fs.Report) -> dict[str, Any]:
    assert not report.missing, report.missing
    return report.describe()["sections"]["trace"]  # type: ignore[no-any-return]


def margins(logits: Tensor, label: int) -> Tensor:
    others = logits.clone()
    others[:, label] = -torch.inf
    return logits[:, label] - others.amax(1)


def test_effects_are_what_is_lost_without_each_unit() -> None:
    model, images, labels = small(3)
    one = found(fs.xray(model, images, labels, **ONLY))
    assert one["layer"]["layer"] == "2"
    read = fs.predict(model, images).winners
    for kind in ("typical", "misclassified"):
        assert len(one[kind]) == 3
        for told in one[kind]:
            assert (told["label"] == told["became"]) == (kind == "typical")
            assert told["label"] == labels[told["index"]]
            assert told["became"] == read[told["index"]]
            with torch.no_grad():
                inside = model.module[:3](images[told["index"]][None])
                logits = model.module[3:](inside)
                whole = margins(logits, told["became"])
                effects = []
                for unit in range(4):
                    without = inside.clone()
                    without[:, unit] = 0
                    effects.append(whole - margins(model.module[3:](without), told["became"]))
                gone = inside.clone()
                gone[:, told["smallest_set"] or []] = 0
                flipped = int(model.module[3:](gone).argmax()) != told["became"]
            assert told["margin"] == pytest.approx(float(whole), abs=1e-5)
            assert told["effects"] == pytest.approx(torch.cat(effects).tolist(), abs=1e-5)
            assert flipped == bool(told["smallest_set"])
            order = torch.cat(effects).argsort(descending=True).tolist()
            spoke = [unit for unit in order if effects[unit] > 0][:3]
            assert told["units"] == spoke


def test_typical_ones_are_of_several_classes_and_wrong_ones_the_surest() -> None:
    model, images, labels = small(3)
    one = found(fs.xray(model, images, labels, **ONLY))
    assert {told["label"] for told in one["typical"]} == set(labels.tolist())
    said = fs.predict(model, images)
    sure, wrong = said.probabilities.amax(1), said.winners != labels
    indices = [told["index"] for told in one["misclassified"]]
    assert sure[indices].tolist() == sorted(sure[wrong].tolist(), reverse=True)[:3]


class Halves(nn.Module):
    """A unit that sees the left half of a picture, and one that sees the right."""

    def forward(self, x: Tensor) -> Tensor:
        left = (torch.arange(x.shape[3]) < x.shape[3] // 2).to(x)
        return torch.cat([x * left, x * (1 - left)], 1)


class Sums(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 10 * x.mean((2, 3))


def test_maps_show_where_a_unit_spoke(tmp_path: Path) -> None:
    model = fs.Classifier(nn.Sequential(Halves(), Sums()), input_size=16, channels=1)
    images = torch.rand(12, 1, 16, 16)
    labels = fs.predict(model, images).winners
    fs.xray(model, images, labels, run=tmp_path, at_chance=True, **ONLY)
    files = [read_tensors(file)[0] for file in tmp_path.glob("trace-*.safetensors")]
    assert len(files) == 3
    for kept in files:
        left = bool(kept["effects"][0] > 0)
        [told] = kept["maps"]
        assert (told[:, :8] > 0).all() == left
        assert (told[:, 8:] > 0).all() == (not left)
        assert not told[:, 8:].any() if left else not told[:, :8].any()


def test_a_finished_run_is_only_read_and_an_unfinished_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = small(3)
    whole = fs.xray(*given, run=tmp_path / "whole", **ONLY)
    asked: list[int] = []
    real_trace = traced.trace

    def watched(*one: Any, **options: Any) -> Any:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real_trace(*one, **options)

    monkeypatch.setattr(traced, "trace", watched)
    assert fs.xray(*given, run=tmp_path / "whole", **ONLY).html == whole.html
    assert not asked
    with pytest.raises(KeyboardInterrupt):
        fs.xray(*given, run=tmp_path / "other", **ONLY)
    assert fs.xray(*given, run=tmp_path / "other", **ONLY).html == whole.html
    assert len(asked) == 3 + 4  # the two that were finished are not made again


def test_what_there_was_no_time_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "_SECONDS", 0.0)
    monkeypatch.setattr(traced, "_OF_SPENT", 0.0)
    report = fs.xray(*small(3), **ONLY)
    one = found(report)
    assert (len(one["typical"]), len(one["misclassified"]), one["unfinished"]) == (1, 0, 5)
    assert "The time was up before 5 more pictures." in report.html
    assert report.record["cut"] == ["trace"]
    assert "No picture is misclassified" not in report.html


def test_where_no_unit_decides_alone_that_is_what_the_head_says() -> None:
    units = find_units(small(3)[0], "2")

    def decided(margin: float, smallest: list[int]) -> traced.Decided:
        effects = torch.tensor([2.0, 1.0, 0.0, 0.0])
        return traced.Decided(0, 0, 0, 0.9, torch.zeros(3, 8, 8), margin, effects, {}, smallest,
                              None)  # fmt: skip

    def said(*kinds: list[traced.Decided]) -> str:
        return section._in_words(traced.Traced(units, *kinds, 0), [*kinds[0], *kinds[1]])

    hard, easy = decided(2.5, [0, 1]), decided(1.5, [0])
    assert said([hard, hard], []) == (
        "No single unit of the 4 of the layer '2' decides about any of 2 typical pictures. To "
        "change the class 2 units have to go together."
    )
    assert "decides about none of 1 typical picture and 1 of 1 misclassified picture:" in said(
        [hard], [easy]
    )


def test_where_nothing_is_misclassified_it_says_so() -> None:
    model, images, _ = small(3)
    report = fs.xray(model, images, fs.predict(model, images).winners, **ONLY)
    assert found(report)["misclassified"] == []
    assert "No picture is misclassified" in report.html


def test_a_network_without_a_gradient_is_traced_without_approximations() -> None:
    class Steps(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Tensor) -> Any:
            return self.module((x * 255).round() / 255).detach()

    model, images, labels = small(3)
    model.module = Steps(model.module)
    report = fs.xray(model, images, labels, **ONLY)
    assert found(report)["typical"][0]["agreement"].keys() == {"activation"}
    assert report.html.count("<img") == 6  # no map


def test_a_network_without_layers_is_left_out_in_a_sentence() -> None:
    class Bare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)), 0.5 - x.mean((1, 2, 3))], 1)

    model = fs.Classifier(Bare(), input_size=16, channels=1)
    images = torch.rand(8, 1, 16, 16)
    report = fs.xray(model, images, fs.predict(model, images).winners, at_chance=True, **ONLY)
    assert "no layer whose units can be told" in report.missing["trace"]


def test_layers_without_maps_are_traced_too() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    model = fs.Classifier(module, input_size=16, channels=1)
    images = torch.rand(12, 1, 16, 16)
    report = fs.xray(model, images, fs.predict(model, images).winners, at_chance=True, **ONLY)
    assert found(report)["layer"]["units"] == 8
    typical = found(report)["typical"]
    assert report.html.count("<img") == sum(1 + len(one["units"]) for one in typical)
    assert "none before it has maps" in report.html


def test_names_stay_text_and_what_not_to_conclude_is_said() -> None:
    model, images, labels = small(3, labels=[f"{number} {MARKUP}" for number in range(3)])
    report = fs.xray(model, images, labels, **ONLY)
    assert "<script>" not in report.html
    for words in section._NOT:
        assert words.split("'")[0] in report.html
