"""How a training went: its points, its file, and its picture."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from fluoroscope.errors import ModelFormatError
from fluoroscope.pictures.training_curves import training_curves
from fluoroscope.training.job.history import History, Keeping, Point
from fluoroscope.training.job.run import TrainingRun
from fluoroscope.training.job.trained import curves_of
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.fitting import fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import FitStep, Moment, Terms

IMAGES = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1))
LABELS = (IMAGES.mean((1, 2, 3)) > 0.5).long()


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))


def two_terms(
    module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
) -> tuple[Terms, Tensor]:
    logits = module(images)
    found = {"clean": nn.functional.cross_entropy(logits, labels)}
    if moment.epoch > 1:  # a term that comes later
        found["=size"] = logits.square().mean()
    return found, logits


def fitted(kept: Keeping, until: int | None = None, **more: Any) -> list[FitStep]:
    steps = []
    for step in fit_stream(
        module(), IMAGES, LABELS, Recipe(epochs=3, batch_size=8), loss=two_terms,
        beside=[kept], held_out=(IMAGES[:7], LABELS[:7]), **more,
    ):  # fmt: skip
        steps.append(step)
        if step.number == until:
            break
    return steps


def kept_at_most(points: int) -> Keeping:
    return History(points).begin(nn.Identity(), 2)


def test_a_point_is_the_mean_of_its_steps() -> None:
    kept = kept_at_most(6)
    steps = fitted(kept)
    assert [point.step for point in kept.points] == [3, 5, 8, 10, 13, 15]
    start = 0
    for point in kept.points:
        own = steps[start : point.step]
        assert point.loss == pytest.approx(sum(step.loss for step in own) / len(own))
        assert point.accuracy == pytest.approx(sum(step.accuracy for step in own) / len(own))
        assert point.learning_rate == own[-1].learning_rate
        assert (point.epoch, point.held_out) == (own[-1].epoch, own[-1].held_out)
        sizes = [step.terms["=size"] for step in own if "=size" in step.terms]
        expected = {"=size": pytest.approx(sum(sizes) / len(sizes))} if sizes else {}
        assert {name: value for name, value in point.terms.items() if name == "=size"} == expected
        start = point.step
    for epoch, point in enumerate(kept.epochs, 1):
        own = steps[5 * epoch - 5 : 5 * epoch]
        assert point.loss == pytest.approx(sum(step.loss for step in own) / 5)
        assert point.accuracy == pytest.approx(sum(step.accuracy for step in own) / 5)
        assert (point.epoch, point.step, point.held_out) == (epoch, 5 * epoch, own[-1].held_out)


def test_after_a_kill_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluoroscope.training.trainer.books.CHECKPOINT_EVERY", 0.0)
    whole = kept_at_most(4)
    fitted(whole)
    for stop in range(1, 15):
        place = tmp_path / f"{stop}.safetensors"
        fitted(kept_at_most(4), stop, checkpoint=place)
        again = kept_at_most(4)
        fitted(again, checkpoint=place)
        assert again.points == whole.points
        assert again.csv() == whole.csv()


def test_a_checkpoint_without_or_with_a_strange_history() -> None:
    kept = kept_at_most(4)
    kept.restore({})
    assert kept.points == []
    for strange in ({"words": torch.tensor([65])}, {"words": torch.tensor(list(b"[[],{}]"))}):
        with pytest.raises(ModelFormatError, match="history in the checkpoint"):
            kept.restore({"points": torch.zeros(1, 7), **strange})


def test_its_file_has_a_line_for_each_point_and_no_formula() -> None:
    kept = kept_at_most(400)
    fitted(kept)
    rows = list(csv.reader(io.StringIO(kept.csv())))
    assert rows[0][-2:] == ["'=size", "clean"]
    assert len(rows) == 1 + 15
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(1, 16)]
    assert [bool(row[5]) for row in rows[1:]] == 3 * [*4 * [False], True]
    assert not rows[1][-2]
    assert float(rows[1][2]) == pytest.approx(kept.points[0].loss, rel=1e-5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for split, each in (("train", 12), ("test", 2)):
        for number, name in enumerate("ab"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for copy in range(each):
                Image.new("L", (28, 28), 60 + 100 * number + copy).save(folder / f"{copy}.png")
    return root


def test_a_run_draws_its_curves_and_goes_on_with_them(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"epochs": 2, "labels": ["a", "b"], "batch_size": 11}
    drawn: list[int] = []
    draw: Callable[[TrainingRun], None] = TrainingRun._draw

    def counting(run: TrainingRun) -> None:
        drawn.append(run.history.points[-1].step)
        draw(run)

    monkeypatch.setattr(TrainingRun, "_draw", counting)
    monkeypatch.setattr("fluoroscope.training.job.run.CURVES_EVERY", 0.0)
    monkeypatch.setattr("fluoroscope.training.job.run.CURVES_COST", 0.0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    run = TrainingRun(net, photos, out=tmp_path, adversarial="pgd", eps=0.1, channels=1,
                      input_size=28, **settings)  # fmt: skip
    steps = list(run)
    assert drawn == [*range(1, len(steps) + 1), len(steps)]
    name = run.result.weights.with_suffix("")
    picture = Image.open(name.with_suffix(".curves.png"))
    assert picture.width > 1000
    lines = name.with_suffix(".curves.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + len(steps)
    record = json.loads(name.with_suffix(".json").read_text("utf-8"))
    assert [epoch["epoch"] for epoch in record["history"]] == [1, 2]
    assert all("held_out_adversarial" in epoch for epoch in record["history"])
    assert len(run.result.history) == len(steps)
    assert run.result.history[0].loss == steps[0].loss


@pytest.mark.parametrize(
    ("terms", "scale"),
    [
        ({}, "linear"),
        ({"a": [(1.0, 0.5)]}, "linear"),
        ({"a": [(1.0, 900.0)]}, "log"),
        ({"a": [(1.0, 900.0)], "b": [(1.0, 0.0)]}, "log"),
        ({"a": [(1.0, 900.0)], "b": [(1.0, -1.0)]}, "symlog"),
        ({"a": [(0.5, 1e-6), (1.0, 0.5)]}, "linear"),  # what it begins with does not count
    ],
)
def test_a_term_that_is_far_larger_gets_a_logarithmic_axis(
    terms: dict[str, list[tuple[float, float]]], scale: str
) -> None:
    figure = training_curves(
        [(1.0, 1.0)], {"batches": [(1.0, 0.5)]}, [(1.0, 0.1)], terms=terms, epochs=1
    )
    assert figure.axes[0].get_yscale() == scale
    assert figure.axes[0].lines[0].get_marker() == "o"  # one point alone is seen


def test_no_legend_lies_over_a_line() -> None:
    names = ["boosted", "distance", "divergence", "gated", "density", "selectivity"]
    judged = ["batches (moved pictures)", "held out", "held out under attack"]
    point = [(1.0, 0.5)]
    figure = training_curves(
        point,
        dict.fromkeys(judged, point),
        point,
        terms=dict.fromkeys(names, point),
        epochs=1,
        whole=0.35,
    )
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    for axis in figure.axes[:2]:
        legend = axis.get_legend()
        assert legend is not None
        box, below = legend.get_window_extent(), axis.xaxis.label.get_window_extent()
        assert 0 <= box.y0 < box.y1 <= below.y0 + 3  # within the picture, under the axis
        assert box.x1 - box.x0 < 1.15 * axis.get_window_extent().width
    assert words_of(figure)[-1] == "eps is whole from here on"
    assert figure.axes[1].lines[-1].get_xydata()[0][0] == 0.35  # type: ignore[index]


def words_of(figure: Figure) -> list[str]:
    """The names in the legends."""
    found = [axis.get_legend() for axis in figure.axes]
    return [text.get_text() for one in found if one is not None for text in one.get_texts()]


def shown(history: Keeping, **how: Any) -> tuple[list[float], list[str]]:
    """Where the line of the loss has points, and the names in the legends."""
    figure = curves_of(history, 15, 3, "net", **how)
    points = np.asarray(figure.axes[0].lines[0].get_xydata())
    return points[:, 0].tolist(), words_of(figure)


def test_a_loss_whose_terms_come_and_go_is_shown_by_its_epochs() -> None:
    kept = kept_at_most(400)
    fitted(kept)
    at, words = shown(kept)
    assert len(at) == 15  # a term that comes and stays is no such loss
    assert words[0] == "loss"
    for point in kept.points[1::2]:
        point.terms.clear()
    at, words = shown(kept, moved=True, ramp=0.5)
    assert at == pytest.approx([1, 2, 3])
    assert words[0] == "loss (mean of an epoch)"
    assert "batches (moved pictures)" in words


def test_what_only_looks_on_does_not_change_what_is_learnt() -> None:
    with_it, without = module(), module()
    for net, beside in ((with_it, [kept_at_most(3)]), (without, [])):
        several: list[Running] = [*beside]
        for _ in fit_stream(net, IMAGES, LABELS, Recipe(epochs=1), beside=several):
            pass
    assert all(
        torch.equal(one, other)
        for one, other in zip(with_it.parameters(), without.parameters(), strict=True)
    )
    assert Point(1, 1, 0.5, 0.5, 0.1).terms == {}
