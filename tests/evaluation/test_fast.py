"""The plans: what ``standard`` spends, and that ``fast`` says the same for much less."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.old_fast import old_fast
from fluoroscope.attacks.attack import Method
from fluoroscope.engine import bookmark
from fluoroscope.engine.threats import as_threat
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.plan import History, Plan, Stage
from fluoroscope.evaluation.plans import find_plan
from fluoroscope.evaluation.runs.part_files import write_rows
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.evaluation.verdict import Verdict

EPS = 0.05


class Linear(nn.Module):
    """Ten classes, whose borders within the box are known."""

    def __init__(self, bias: float = 0.0, levels: int | None = None, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.slopes = nn.Parameter(torch.randn(10, 48, generator=generator).double())
        self.bias = bias * torch.eye(10)[0].double()
        self.levels, self.scale = levels, scale

    def forward(self, images: Tensor) -> Tensor:
        if self.levels is not None:  # no gradient comes back through this
            images = (images * self.levels).round() / self.levels
        return self.scale * ((images.flatten(1) - 0.5) @ self.slopes.T + self.bias)

    def distances(self, images: Tensor) -> Tensor:
        """Of the nearest border of class 0, in Linf ``(n,)``."""
        leads = self(images)[:, :1] - self(images)[:, 1:]
        return (
            (leads / self.scale / (self.slopes[0] - self.slopes[1:]).abs().sum(1)).amin(1).detach()
        )


def pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 0.5 + 0.1 * torch.randn(count, 3, 4, 4, generator=generator).double().clamp(-3, 3)


def verdict(
    module: nn.Module, plan: str | Plan, images: Tensor, out: Path | None = None, **options: Any
) -> Verdict:
    model = fs.Classifier(module, input_size=4)
    labels = torch.zeros(len(images), dtype=torch.long)
    # All are of one class, which is no better than chance.
    return fs.evaluate(
        model, images, labels, threat=f"linf:{EPS}", plan=plan, out=out, at_chance=True, **options
    )


def test_standard_spends_what_its_budgets_say_on_whoever_holds() -> None:
    sizes = ({"steps": 7}, {"steps": 7, "targets": 3}, {"steps": 7, "targets": 3}, {"queries": 50})
    stages = find_plan("standard", fs.Linf(EPS)).stages
    small = tuple(
        replace(stage, attack=cast(Method, replace(cast(Any, stage.attack), **size)))
        for stage, size in zip(stages, sizes, strict=True)
    )
    found = verdict(Linear(bias=40.0), Plan("standard", small), pictures(1))
    assert found.robust_accuracy == 1
    apgd, targeted, fab, square = found.components
    # The iterations and the last point; every attack looks at the clean image before.
    assert (apgd.forwards, apgd.backwards) == (1 + 8, 7)
    # The targeted APGD looks at the clean image once more to choose its targets.
    assert (targeted.forwards, targeted.backwards) == (2 + 3 * 8, 3 * 7)
    assert (fab.forwards, fab.backwards) == (1 + 3 * 8, 3 * 7)
    assert (square.forwards, square.backwards) == (1 + 50, 0)


def test_fast_gives_up_where_the_margin_hardly_moves() -> None:
    found = verdict(Linear(bias=40.0), "fast", pictures(4))
    assert found.robust_accuracy == 1
    assert found.forwards + found.backwards < 4 * 8800 / 20
    assert [each.given for each in found.components] == [4, 0, 0, 0, 0, 0, 0, 4, 4, 0, 0, 0]


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_fast_fools_just_those_that_can_be_fooled(scale: float, tmp_path: Path) -> None:
    module, images = Linear(bias=4.2, scale=scale), pictures(200)
    distances = module.distances(images)
    near = (distances - EPS).abs() < 0.1 * EPS
    images, distances = images[near], distances[near]
    assert 5 < (distances < EPS).sum() < len(images) - 5
    verdict(module, "fast", images, tmp_path)
    rows = RunDirectory(tmp_path).tables()
    fooled = set(rows.filter(rows["success"])["index"].to_pylist())
    # Nothing lies so near to the box that it bends a border.
    assert fooled <= set((distances < EPS).nonzero().squeeze(1).tolist())
    # The nearest border may be that of a class that is none of the three tried.
    assert len(fooled) >= 0.9 * int((distances < EPS).sum())
    # Nothing here is a sign of a gradient that misleads, whatever the scale.
    given = set(rows["attack"].to_pylist())
    assert given <= {"clean", "cr", "cr-again", "square", "square-again"}


class _Turned(torch.autograd.Function):
    """The identity, with a gradient that leads the other way."""

    @staticmethod
    def forward(_: Any, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -gradient


class Turned(Linear):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(_Turned.apply(images))


@pytest.mark.parametrize("module", [Linear(bias=4.2, levels=64), Turned(bias=4.2)])
def test_fast_is_not_taken_in_by_gradients_that_say_nothing_or_mislead(module: Linear) -> None:
    images = pictures(200)
    distances = module.distances(images)
    images = images[(distances > 0.7 * EPS) & (distances < 0.8 * EPS)][:12]
    found = verdict(module, "fast", images)
    by_name = {each.name: each for each in found.components}
    assert by_name["cr"].robust_accuracy > 0.8
    assert found.robust_accuracy == 0
    assert by_name["square-misled"].given > 0


def history(rng: np.random.Generator, count: int, names: Sequence[str]) -> History:
    clean = rng.random(count) + 0.01
    distance = np.where(rng.random(count) < 0.3, 0.2 * rng.random(count), np.inf)
    margins = {
        name: np.where(rng.random(count) < 0.2, np.inf, clean * rng.random(count)) for name in names
    }
    margin = np.min([clean, *margins.values()], axis=0)
    return History(
        clean,
        margin,
        distance,
        margins,
        rng.choice([0.0, 0.2, 0.25, 1.0], count),
        rng.choice([0.0, 1.0, 4.0, 90.0], count),
    )


@given(st.integers(0, 1000), st.integers(1, 20), st.sampled_from(["linf", "l2", "l1"]))
def test_a_samples_fate_depends_on_its_own_history(seed: int, count: int, norm: str) -> None:
    rng = np.random.default_rng(seed)
    plan = find_plan("fast", as_threat(f"{norm}:0.1"))
    for number, stage in enumerate(plan.stages):
        all_of_them = history(rng, count, plan.stage_names[:number])
        chosen = stage.chooses(all_of_them)
        rows = rng.permutation(count)[: count // 2 + 1]
        one = all_of_them
        assert one.flat is not None
        assert one.steep is not None
        alone = History(
            one.clean_margin[rows],
            one.margin[rows],
            one.distance[rows],
            {name: each[rows] for name, each in one.margins.items()},
            one.flat[rows],
            one.steep[rows],
        )
        assert (stage.chooses(alone) == chosen[rows]).all()
        assert not (chosen & (one.distance <= 0.1)).any()
        # Logits on another scale change nothing.
        scaled = replace(
            one,
            clean_margin=1024 * one.clean_margin,
            margin=1024 * one.margin,
            margins={name: 1024 * each for name, each in one.margins.items()},
        )
        assert (stage.chooses(scaled) == chosen).all()


def test_the_longest_search_without_gradients_is_that_of_standard() -> None:
    def attacks(name: str) -> dict[str, Method]:
        return {stage.name: stage.attack for stage in find_plan(name, fs.Linf(0.1)).stages}

    assert attacks("fast")["square-misled-long"] == attacks("standard")["square"]


def test_a_stage_draws_anew_where_it_says_so(tmp_path: Path) -> None:
    images = pictures(12)
    drawn = fs.attack("cr", eps=EPS, repeats=0)
    plan = Plan("mine", tuple(Stage(f"cr-{number}", drawn, seed=seed, everyone=True)
                              for number, seed in enumerate((0, 0, 1, 2))))  # fmt: skip
    verdict(Linear(bias=10.0), plan, images, tmp_path)
    rows = RunDirectory(tmp_path).tables()
    once, same, *anew = (
        rows.filter(pc.equal(rows["attack"], stage.name))["margin"].to_pylist()
        for stage in plan.stages
    )
    assert once == same
    assert all(any(a != b for a, b in zip(one, other, strict=True))
               for one, other in ((once, anew[0]), (once, anew[1]), anew))  # fmt: skip
    for other in anew:
        assert other == pytest.approx(once, rel=0.5)


class Half(Linear):
    """No slope where a pixel is at most a half."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(0.5 + (images - 0.5).relu())


def test_the_share_without_slope_is_that_of_the_clean_image(tmp_path: Path) -> None:
    module, images = Half(bias=10.0), pictures(10)
    counted = []
    for image in images:
        pixels = image[None].clone().requires_grad_()
        logits = module(pixels)[0]
        (slope,) = torch.autograd.grad(logits[0] - logits[1:].max(), pixels)
        counted.append(sum(value == 0 for value in slope.flatten().tolist()) / slope.numel())
    assert 0.3 < min(counted) < max(counted) < 0.7
    plan = Plan("mine", (Stage("cr", fs.attack("cr", eps=EPS, repeats=1)),
                         Stage("square", fs.attack("square", eps=EPS, queries=5))))  # fmt: skip
    for batch_size in (1, 7, 64):
        out = tmp_path / str(batch_size)
        verdict(module, plan, images, out, batch_size=batch_size)
        rows = RunDirectory(out).tables()
        flat = {name: rows.filter(pc.equal(rows["attack"], name))["flat"].to_pylist()
                for name in ("clean", "cr", "square")}  # fmt: skip
        assert flat == {"clean": [0.0] * 10, "cr": counted, "square": [0.0] * 10}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_how_often_the_margin_was_promised_is_the_bound_over_the_borders_distance(
    norm: str, tmp_path: Path
) -> None:
    module, images = Linear(bias=4.2), pictures(8)
    order = 1 if norm == "linf" else 2
    pixels = images.clone().requires_grad_()
    logits = module(pixels)
    odds = logits[:, 0] - logits[:, 1:].logsumexp(1)
    (slopes,) = torch.autograd.grad(odds.sum(), pixels)
    leads = (logits[:, 0] - logits[:, 1:].amax(1)).detach()
    expected = EPS * slopes.flatten(1).norm(order, dim=1) / leads
    plan = Plan("mine", (Stage("cr", fs.attack("cr", eps=EPS, norm=norm, repeats=0)),))
    for batch_size in (1, 64):
        out = tmp_path / str(batch_size)
        model = fs.Classifier(module, input_size=4)
        labels = torch.zeros(len(images), dtype=torch.long)
        fs.evaluate(model, images, labels, threat=f"{norm}:{EPS}", plan=plan, out=out,
                    batch_size=batch_size, at_chance=True)  # fmt: skip
        rows = RunDirectory(out).tables()
        found = rows.filter(pc.equal(rows["attack"], "cr"))
        steep = torch.tensor(found["steep"].to_pylist()).double()
        torch.testing.assert_close(steep, expected[found["index"].to_pylist()])


def test_the_share_without_slope_outlasts_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookmark, "_WORTH", 0.0)
    module, images, seen = Half(bias=10.0), pictures(20), []
    plan = Plan("mine", (Stage("cr", fs.attack("cr", eps=EPS)),))
    verdict(module, plan, images, tmp_path / "whole", batch_size=8)
    verdict(module, plan, images, tmp_path / "paused", batch_size=8,
            on_progress=seen.append, cancelled=lambda: len(seen) == 30)  # fmt: skip
    assert list((tmp_path / "paused" / "parts").glob("*-cr.going"))
    verdict(module, plan, images, tmp_path / "paused", batch_size=8)
    whole, paused = (RunDirectory(tmp_path / name).tables() for name in ("whole", "paused"))
    assert whole.drop_columns(["seconds"]).equals(paused.drop_columns(["seconds"]))
    assert min(whole.filter(pc.equal(whole["attack"], "cr"))["flat"].to_pylist()) > 0


def without_slopes(out: Path) -> None:
    """Make a run what the second format had."""
    for file in (out / "parts").glob("*.parquet"):
        table = parquet.read_table(file).drop_columns(["flat", "steep"])
        about = {key: value for key, value in table.schema.metadata.items() if b"seal" not in key}
        write_rows(file, table.replace_schema_metadata(about), RunDirectory(out).hash)
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**run, "format": 2}))


def test_runs_of_fast_as_it_was_are_read_and_not_gone_on_with(tmp_path: Path) -> None:
    module, images = Linear(bias=4.2), pictures(6)
    before = replace(old_fast(fs.Linf(EPS)), name="fast")
    found = verdict(module, before, images, tmp_path)
    without_slopes(tmp_path)
    again = fs.read_run(tmp_path)
    assert again == replace(found, record=again.record, notes=again.notes)
    assert not any(RunDirectory(tmp_path).tables()["flat"].to_pylist())
    assert "6 pictures" in repr(fs.compare_runs(tmp_path, tmp_path))
    with pytest.raises(InvalidParameterError, match="holds another run") as raised:
        verdict(module, "fast", images, tmp_path)
    said = str(raised.value)
    assert "its plan fast is that of an earlier version, with the stages apgd-ce, apgd-t," in said
    assert said.endswith("Give another directory, or --resume never to start anew there")
    assert fs.read_run(tmp_path) == again
    verdict(module, "fast", images, tmp_path, resume=False)


def test_runs_of_other_plans_from_before_go_on(tmp_path: Path) -> None:
    module, images = Linear(bias=4.2), pictures(6)
    plan = Plan("mine", (Stage("apgd", fs.attack("apgd", eps=EPS, steps=5)),
                         Stage("fgsm", fs.attack("fgsm", eps=EPS))))  # fmt: skip
    found = verdict(module, plan, images, tmp_path)
    without_slopes(tmp_path)
    (tmp_path / "parts" / "00000-fgsm.parquet").unlink()
    again = verdict(module, plan, images, tmp_path)
    assert (again.robust_accuracy, again.forwards) == (found.robust_accuracy, found.forwards)
