"""The curve against a slow count, closed forms, and the plan that makes it."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fluoroscope as fs
from fluoroscope.engine.intervals import wilson
from fluoroscope.engine.threats import as_threat
from fluoroscope.evaluation.curve import Curve, curve_of
from fluoroscope.evaluation.plan import History, Stage
from fluoroscope.evaluation.plans import find_plan
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.pictures.curves import robustness_curves

# Far enough apart that rounding is not in question.
distances = st.lists(
    st.one_of(st.just(0.0), st.just(math.inf), st.integers(1, 40).map(lambda k: k / 100)),
    min_size=1,
    max_size=30,
)


def curve(found: list[float], labels: list[int] | None = None) -> Curve:
    return Curve("linf", np.array(found), np.array(labels or [0] * len(found)))


@given(distances, st.integers(0, 50).map(lambda k: k / 100))
def test_counts_who_holds(found: list[float], eps: float) -> None:
    expected = sum(one > eps for one in found)
    at = curve(found).at(eps)
    assert at.accuracy == expected / len(found)
    assert at.interval == wilson(expected, len(found))


@given(distances)
def test_is_a_step_function_that_never_rises(found: list[float]) -> None:
    made = curve(found)
    assert made.eps[0] == 0
    assert set(made.eps) == {one for one in found if one < math.inf} | {0.0}
    assert (np.diff(made.accuracy) < 0).all()
    for before, after in zip(made.eps, made.eps[1:], strict=False):  # flat between its steps
        assert made.at((before + after) / 2).accuracy == made.at(before).accuracy
    if math.inf not in found:
        assert made.accuracy[-1] == 0


@given(distances, st.integers(0, 20).map(lambda k: k / 20))
def test_quantiles_are_the_smallest_distance_that_reaches_the_share(
    found: list[float], share: float
) -> None:
    right = [one for one in found if one > 0]
    said = curve(found).quantile(share)
    if not right:
        assert math.isnan(said)
        return
    within = (one for one in sorted(right) if sum(x <= one for x in right) >= share * len(right))
    assert said == next(within)


@given(distances, st.data())
def test_classes_add_up(found: list[float], data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, 3), min_size=len(found), max_size=len(found)))
    made = curve(found, labels)
    for eps in (0.0, 0.1, 0.3):
        held = sum(one.at(eps).accuracy * len(one) for one in made.classes.values())
        assert held == pytest.approx(made.at(eps).accuracy * len(made))
    json.dumps(made.describe(), allow_nan=False)


def test_few_points_are_of_the_curve_and_hold_both_ends() -> None:
    made = curve([k / 1000 for k in range(1, 1001)])
    points = made.points(50)
    assert len(points) == 50
    assert points[0].eps == 0
    assert points[0].accuracy == 1
    assert points[-1].accuracy == 0
    assert all(point == made.at(point.eps) for point in points)


def test_bounds_and_shares_outside_are_refused() -> None:
    with pytest.raises(fs.FluoroscopeError, match="0 or more"):
        curve([0.1]).at(-1)
    with pytest.raises(fs.FluoroscopeError, match="0 to 1"):
        curve([0.1]).quantile(2)


def linear(classes: int, channels: int) -> tuple[fs.Classifier, torch.Tensor, torch.Tensor]:
    """A linear network, grey pictures whose border is inside the box, and the distances to it."""
    torch.manual_seed(classes)
    layer = nn.Linear(channels * 36, classes, bias=False)
    model = fs.Classifier(nn.Sequential(nn.Flatten(), layer), channels=channels, input_size=6)
    images = 0.5 + 0.02 * torch.randn(12, channels, 6, 6)
    weight, logits = layer.weight.detach(), model(images).detach()
    own = logits.argmax(1)
    lead = logits.gather(1, own[:, None]) - logits
    steep = (weight[own][:, None] - weight).abs().sum(2)
    nearest = (lead / steep).scatter(1, own[:, None], torch.inf).amin(1)
    return model, images, nearest


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (4, 3), (1000, 1)])
def test_finds_the_borders_of_linear_networks(classes: int, channels: int) -> None:
    model, images, nearest = linear(classes, channels)
    labels = model(images).argmax(1)
    labels[0] = (labels[0] + 1) % classes  # and one that is misclassified
    made = fs.evaluate(model, images, labels, threat="linf", plan="curve", at_chance=True).curve
    assert made is not None
    assert made.distance[0] == 0
    ratio = made.distance[1:] / nearest[1:].double().numpy()
    assert ratio.min() >= 0.999
    assert np.median(ratio) <= 1.02
    assert ratio.max() <= 1.3


@pytest.fixture(scope="module")
def digits() -> fs.ImageSet:
    return fs.load_images("digits", channels=1).take(40)


def test_the_verdict_stands_on_the_curve_and_on_disk(digits: fs.ImageSet, tmp_path: Path) -> None:
    model = fs.load_model("digits-cnn")
    shares = []
    verdict = fs.evaluate(
        model, digits, threat="linf:0.04", plan="curve", out=tmp_path, part=25,
        on_progress=lambda p: shares.append((p.done, p.surviving)),
    )  # fmt: skip
    made = verdict.curve
    assert made is not None
    assert len(made) == 40
    assert made.at(0.04).accuracy == verdict.robust_accuracy
    assert made.at(0).accuracy == verdict.clean_accuracy
    assert made.accuracy[-1] == 0
    from_disk = curve_of(RunDirectory(tmp_path).tables(), "linf", model.labels)
    assert np.array_equal(np.sort(from_disk.distance), np.sort(made.distance))
    said = json.loads((tmp_path / "verdict.json").read_text())["curve"]
    assert said["median"] == made.median
    assert said["classes"][3]["name"] == "3"
    done = [share for share, _ in shares]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)
    assert min(surviving for _, surviving in shares) >= 0
    assert shares[-1][1] == round(40 * verdict.robust_accuracy)


def test_fixed_bounds_lower_the_curve_for_larger_ones_only() -> None:
    rows = {"index": [0, 1], "label": [0, 0], "success": [False, False], "distance": [0.0, 0.0]}
    clean = pa.table({**rows, "attack": ["clean"] * 2})
    near = pa.table({**rows, "attack": ["fmn"] * 2, "distance": [0.3, 0.2]})
    fixed = pa.table({**rows, "attack": ["apgd"] * 2, "distance": [0.25, math.inf]})
    made = curve_of([[clean, near, fixed]], "linf")
    assert made.distance.tolist() == [0.25, 0.2]
    assert [made.at(eps).accuracy for eps in (0.1, 0.2, 0.24, 0.26)] == [1, 0.5, 0.5, 0]


def test_no_bound_is_a_threat() -> None:
    assert as_threat("linf") == fs.Linf(math.inf)
    history = History(np.ones(2), np.ones(2), np.array([0.5, math.inf]))
    assert history.surviving(fs.Linf(math.inf)).tolist() == [False, True]
    plan = find_plan("curve", as_threat("l2"))
    assert plan.finds_distances
    assert not find_plan("standard", fs.Linf(0.1)).finds_distances
    with pytest.raises(fs.FluoroscopeError, match="eps is infinite"):
        find_plan("standard", as_threat("linf"))
    with pytest.raises(fs.FluoroscopeError, match="expected linf, l2, l1"):
        find_plan("curve", as_threat("l0:3"))


def test_a_stage_that_keeps_near_leaves_far_samples_out() -> None:
    stage = Stage("apgd", fs.attack("apgd", eps=0.1, norm="linf"), near=1.5)
    history = History(np.ones(4), np.ones(4), np.array([0.05, 0.12, 0.2, math.inf]))
    assert stage.chooses(history).tolist() == [False, True, False, False]


def test_steepest_steps_find_what_the_papers_miss() -> None:
    """On adversarially trained digits; and they are of the ball's size in both norms."""
    model = fs.load_model("digits-robust")
    batch = next(iter(fs.load_images("digits", channels=1).take(12).batches(12)))
    steps = {"steps": 20, "along": "steepest", "step_size": 0.5, "gamma": 0.1}
    assert batch.labels is not None
    found = fs.attack("fmn", norm="linf", **steps)(model, batch.images, batch.labels)
    assert found.success.all()
    assert found.distance.median() < 0.4
    with pytest.raises(fs.FluoroscopeError, match="expected gradient in the norm l1"):
        fs.attack("fmn", norm="l1", along="steepest")


def test_the_figure_draws_every_step() -> None:
    made = curve([0.1, 0.2, 0.3, math.inf])
    points = [(p.eps, p.accuracy, *p.interval) for p in made.points()]
    axes = robustness_curves({"one": points}, norm="linf", mark=0.2).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [100, 75, 50, 25, 25]
    assert axes.get_xlim()[1] > 0.3
