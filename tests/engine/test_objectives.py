"""Objectives against their definitions, and where float32 has no slope left."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fluoroscope.engine.objectives import (
    CROSS_ENTROPY,
    DLR,
    LOG_PROBABILITY,
    LOGIT,
    MARGIN,
    PROBABILITY,
    Objective,
    as_objective,
    targeted_dlr,
)
from fluoroscope.errors import InvalidParameterError

rows = st.lists(st.floats(-30, 30), min_size=3, max_size=6)


def slowly(name: str, z: list[float], c: int) -> float:
    p = torch.tensor(z, dtype=torch.double).softmax(0)[c].item()
    others = [value for index, value in enumerate(z) if index != c]
    return {
        "logit": z[c],
        "probability": p,
        "log-probability": torch.tensor(z, dtype=torch.double).log_softmax(0)[c].item(),
        "cross-entropy": -torch.tensor(z, dtype=torch.double).log_softmax(0)[c].item(),
        "margin": z[c] - max(others),
    }[name]


@given(rows, st.data())
def test_values_follow_the_definitions(z: list[float], data: st.DataObject) -> None:
    c = data.draw(st.integers(0, len(z) - 1))
    logits = torch.tensor([z], dtype=torch.double)
    for objective in (LOGIT, LOG_PROBABILITY, PROBABILITY, CROSS_ENTROPY, MARGIN):
        found = objective(logits, torch.tensor([c])).item()
        assert found == pytest.approx(slowly(objective.name, z, c), rel=1e-9, abs=1e-12)


@given(rows, st.data())
def test_slope_of_the_log_probability_is_onehot_minus_softmax(
    z: list[float], data: st.DataObject
) -> None:
    c = data.draw(st.integers(0, len(z) - 1))
    logits = torch.tensor([z], dtype=torch.double, requires_grad=True)
    (slope,) = torch.autograd.grad(LOG_PROBABILITY(logits, torch.tensor([c])).sum(), logits)
    onehot = torch.nn.functional.one_hot(torch.tensor([c]), len(z))
    torch.testing.assert_close(slope, onehot - logits.detach().softmax(1), atol=1e-12, rtol=1e-9)


def test_a_certain_class_still_has_its_own_slope() -> None:
    # 1 - p is 0 in any precision here; the slope is -exp(-200), and as much for the rival.
    logits = torch.tensor([[200.0, 0.0, -50.0]], dtype=torch.double, requires_grad=True)
    (slope,) = torch.autograd.grad(CROSS_ENTROPY(logits, torch.tensor([0])).sum(), logits)
    assert slope[0, 0].item() == pytest.approx(
        -torch.tensor(-200.0).double().exp().item(), rel=1e-9
    )
    assert slope.sum().item() == pytest.approx(0, abs=1e-100)


def slow_dlr(z: list[float], y: int) -> float:
    ranked = sorted(z, reverse=True)
    return -(z[y] - max(z[:y] + z[y + 1 :])) / (ranked[0] - ranked[2])


def slow_targeted_dlr(z: list[float], y: int, t: int) -> float:
    ranked = sorted(z, reverse=True)
    return -(z[y] - z[t]) / (ranked[0] - (ranked[2] + ranked[3]) / 2)


# Whole numbers, all different: the ratio of two rounding errors would have no value to compare.
different = st.lists(st.integers(-50, 50), min_size=4, max_size=7, unique=True)


@given(different, st.floats(0.01, 100), st.floats(-100, 100), st.data())
def test_dlr_follows_its_definition_whatever_is_added_or_multiplied(
    whole: list[int], scale: float, shift: float, data: st.DataObject
) -> None:
    z = [float(value) for value in whole]
    y, t = data.draw(st.permutations(range(len(z))))[:2]
    logits = torch.tensor([z], dtype=torch.double)
    for changed in (logits, scale * logits + shift):
        found = DLR(changed, torch.tensor([y])).item()
        assert found == pytest.approx(slow_dlr(z, y), rel=1e-8)
        found = targeted_dlr(torch.tensor([y]))(changed, torch.tensor([t])).item()
        assert found == pytest.approx(slow_targeted_dlr(z, y, t), rel=1e-8)


def slope(objective: Objective, logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(objective(logits, classes).sum(), logits)[0]


def test_dlr_has_a_use_with_fewer_than_four_classes() -> None:
    three = torch.tensor([[3.0, 1.0, -2.0]], dtype=torch.double)
    own, last = torch.tensor([0]), torch.tensor([2])
    assert DLR(three, own).item() == pytest.approx(-2 / 5)
    assert targeted_dlr(own)(three, last).item() == pytest.approx(-5 / 3.5)
    assert targeted_dlr(own)(7 * three + 1, last).item() == pytest.approx(-5 / 3.5)
    assert slope(targeted_dlr(own), three, last).abs().max() > 0.01

    two, other = three[:, :2], torch.tensor([1])
    assert DLR(two, own).item() == pytest.approx(-2)
    assert DLR(two + 5, own).item() == pytest.approx(-2)
    assert targeted_dlr(own)(two, other).item() == pytest.approx(-2)
    assert slope(DLR, two, own).tolist() == [[-1, 1]]


def test_dlr_of_equal_logits_is_finite() -> None:
    logits = torch.zeros(1, 5, dtype=torch.double)
    assert DLR(logits, torch.tensor([0])).item() == 0
    assert slope(DLR, logits, torch.tensor([0])).isfinite().all()


def test_objectives_add_and_multiply() -> None:
    logits, classes = torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    mixed = 0.5 * LOGIT + MARGIN * 2 - LOG_PROBABILITY
    expected = (
        0.5 * LOGIT(logits, classes)
        + 2 * MARGIN(logits, classes)
        - LOG_PROBABILITY(logits, classes)
    )
    torch.testing.assert_close(mixed(logits, classes), expected)
    assert "margin" in str(mixed)


def test_unknown_objective_lists_the_known_ones() -> None:
    with pytest.raises(InvalidParameterError, match="log-probability"):
        as_objective("loss")


@pytest.mark.parametrize("scale", [0.1, 5.0, 200.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_closed_slopes_are_the_derivatives(classes: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = scale * torch.randn(6, classes, generator=generator).double()
    wanted, signs = torch.arange(6) % classes, torch.tensor([1.0, -1, 1, -1, -1, 1])
    for objective in (
        LOG_PROBABILITY,
        CROSS_ENTROPY,
        LOG_PROBABILITY.towards(signs),
        CROSS_ENTROPY.towards(-signs),
        -CROSS_ENTROPY,
    ):
        assert objective.closed is not None
        values, slopes = objective.with_slopes(logits, wanted)
        slow = replace(objective, closed=None).with_slopes(logits, wanted)
        torch.testing.assert_close(values, slow[0], rtol=1e-12, atol=0)
        # Relative to the largest of each row, for that is what goes back through the network.
        unit = slow[1].abs().amax(1, keepdim=True)
        torch.testing.assert_close(slopes / unit, slow[1] / unit, rtol=0, atol=1e-12)
