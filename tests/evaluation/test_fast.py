"""The plans: what ``standard`` spends, and that ``fast`` says the same for much less."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.gradient.apgd import APGDT
from fluoroscope.attacks.score.square import Square
from fluoroscope.evaluation.plan import History, Plan
from fluoroscope.evaluation.plans import find_plan
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.evaluation.verdict import Verdict

EPS = 0.05


class Linear(nn.Module):
    """Ten classes, whose borders within the box are known."""

    def __init__(self, bias: float = 0.0, levels: int | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.slopes = nn.Parameter(torch.randn(10, 48, generator=generator).double())
        self.bias = bias * torch.eye(10)[0].double()
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        if self.levels is not None:  # no gradient comes back through this
            images = (images * self.levels).round() / self.levels
        return (images.flatten(1) - 0.5) @ self.slopes.T + self.bias

    def distances(self, images: Tensor) -> Tensor:
        """Of the nearest border of class 0, in Linf ``(n,)``."""
        leads = self(images)[:, :1] - self(images)[:, 1:]
        return (leads / (self.slopes[0] - self.slopes[1:]).abs().sum(1)).amin(1).detach()


def pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 0.5 + 0.1 * torch.randn(count, 3, 4, 4, generator=generator).double().clamp(-3, 3)


def verdict(
    module: nn.Module, plan: str | Plan, images: Tensor, out: Path | None = None
) -> Verdict:
    model = fs.Classifier(module, input_size=4)
    labels = torch.zeros(len(images), dtype=torch.long)
    # All are of one class, which is no better than chance.
    return fs.evaluate(
        model, images, labels, threat=f"linf:{EPS}", plan=plan, out=out, at_chance=True
    )


def with_fewer_queries(plan: Plan) -> Plan:
    """For time's sake, where Square decides nothing."""
    return replace(
        plan,
        stages=tuple(
            replace(stage, attack=replace(stage.attack, queries=20))
            if isinstance(stage.attack, Square)
            else stage
            for stage in plan.stages
        ),
    )


def test_standard_spends_the_published_budgets_on_whoever_holds() -> None:
    found = verdict(Linear(bias=40.0), "standard", pictures(1))
    assert found.robust_accuracy == 1
    apgd, targeted, fab, square = found.components
    # 100 iterations and the last point; every attack looks at the clean image before.
    assert (apgd.forwards, apgd.backwards) == (1 + 101, 100)
    # 9 targets; the targeted APGD looks at the clean image once more to choose them.
    assert (targeted.forwards, targeted.backwards) == (2 + 9 * 101, 900)
    assert (fab.forwards, fab.backwards) == (1 + 9 * 101, 900)
    assert (square.forwards, square.backwards) == (1 + 5000, 0)


def test_fast_gives_up_where_the_margin_hardly_moves() -> None:
    found = verdict(Linear(bias=40.0), "fast", pictures(4))
    assert found.robust_accuracy == 1
    assert found.forwards + found.backwards < 4 * 8800 / 10
    assert [each.given for each in found.components] == [4, 4, 4, 0, 0, 0, 0, 0]


def test_fast_fools_who_can_be_fooled_and_goes_all_the_way_with_who_nearly_can(
    tmp_path: Path,
) -> None:
    module, images = Linear(bias=4.2), pictures(200)
    distances = module.distances(images)
    near = (distances - EPS).abs() < 0.1 * EPS
    images, distances = images[near], distances[near]
    assert 5 < (distances < EPS).sum() < len(images) - 5
    verdict(module, with_fewer_queries(find_plan("fast", fs.Linf(EPS))), images, tmp_path)
    rows = RunDirectory(tmp_path).tables()
    fooled = set(rows.filter(rows["success"])["index"].to_pylist())
    # Nothing lies so near to the box that it bends a border.
    assert fooled == set((distances < EPS).nonzero().squeeze(1).tolist())
    for stage, share in (("apgd-t-long", 1 / 10), ("apgd-t-longest", 1 / 50)):
        given = rows.filter(pc.equal(rows["attack"], stage))["index"].to_pylist()
        nearest = (distances >= EPS) & (distances < (1 + share) * EPS)
        assert nearest.any()
        assert set(nearest.nonzero().squeeze(1).tolist()) <= set(given)


def test_fast_is_not_taken_in_by_gradients_that_say_nothing(tmp_path: Path) -> None:
    module, images = Linear(bias=4.2, levels=64), pictures(200)
    distances = module.distances(images)
    images = images[(distances > 0.8 * EPS) & (distances < 0.9 * EPS)][:20]
    pixels = images[:1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(module(pixels).sum(), pixels)
    assert not slope.any()
    found = verdict(module, "fast", images, tmp_path)
    assert found.components[1].robust_accuracy > 0.8  # what gradients fool
    assert found.robust_accuracy == 0
    given = {each.name: each.given for each in found.components}
    assert given["apgd-t-long"] == 0
    assert given["square-longer"] > 0


@given(st.integers(0, 1000), st.integers(1, 20))
def test_a_samples_fate_depends_on_its_own_history(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    clean = rng.random(count) + 0.01
    distance = np.where(rng.random(count) < 0.3, 0.2 * rng.random(count), np.inf)
    stages = find_plan("fast", fs.Linf(0.1)).stages
    margins = {stage.name: clean * rng.random(count) for stage in stages}
    margin = np.min([clean, *margins.values()], axis=0)
    for stage in stages:
        chosen = stage.chooses(History(clean, margin, distance, margins))
        rows = rng.permutation(count)[: count // 2 + 1]
        own = {name: each[rows] for name, each in margins.items()}
        alone = stage.chooses(History(clean[rows], margin[rows], distance[rows], own))
        assert (alone == chosen[rows]).all()
        assert not (chosen & (distance <= 0.1)).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_longer_stages_are_open_to_fewer_and_judged_by_their_own_kind(norm: str) -> None:
    plan = find_plan("fast", fs.Linf(0.1) if norm == "linf" else fs.L2(1.0))
    for access in ("gradient", "score"):
        kind = [stage for stage in plan.stages if stage.attack.access == access]
        shares = [stage.hopeful for stage in kind]
        assert shares == sorted(shares, reverse=True)
        names = [stage.name for stage in kind]
        for number, stage in enumerate(kind):
            assert stage.hopeful == 1 or list(stage.judged_by) == names[:number]
    assert [stage.hopeful for stage in plan.stages[:3]] == [1, 1, 1]
    assert not any(stage.everyone for stage in plan.stages)


def test_the_last_of_each_kind_are_those_of_standard() -> None:
    def attacks(name: str) -> dict[str, Method]:
        return {stage.name: stage.attack for stage in find_plan(name, fs.Linf(0.1)).stages}

    fast, standard = attacks("fast"), attacks("standard")
    assert fast["apgd-ce-long"] == standard["apgd-ce"]
    assert fast["apgd-t-longest"] == standard["apgd-t"]
    assert fast["square-longest"] == standard["square"]


def test_few_targets_are_the_nearest_of_all_in_the_linearised_network() -> None:
    targeted = [
        stage.attack for stage in find_plan("fast", fs.Linf(0.1)).stages
        if isinstance(stage.attack, APGDT)
    ]  # fmt: skip
    assert [(attack.targets, attack.candidates) for attack in targeted[:-1]] == [(3, 9)] * 2
