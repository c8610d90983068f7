"""Balls and box: what must hold for every image, and the arithmetic of fractions."""

import gc
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fluoroscope as fs
import fluoroscope.engine.threats as module
from fluoroscope.engine import randomness
from fluoroscope.engine.bounds import as_number
from fluoroscope.engine.grid import round_to_grid, snap
from fluoroscope.engine.threats import (
    L0,
    L1,
    L2,
    Linf,
    Threat,
    Unbounded,
    as_threat,
    beyond_the_box,
    threat_for,
    usual_threat,
)  # fmt: skip
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.plan import Plan, Stage

seeds = st.integers(0, 10_000)
bounded = st.one_of(
    st.builds(Linf, st.floats(0, 0.5)),
    st.builds(L2, st.floats(0, 3)),
    st.builds(L1, st.floats(0, 30)),
    st.builds(L0, st.integers(0, 40)),
)
threats = st.one_of(bounded, st.just(Unbounded()), st.sampled_from([L1(math.inf), L2(math.inf)]))


def wild(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    original = torch.rand(3, 2, 5, 5, generator=generator)
    original[0].round_()  # pixels at exactly 0 and 1
    return original, original + 2 * torch.randn(3, 2, 5, 5, generator=generator)


@given(seeds, threats)
def test_projection_lands_in_the_ball_and_the_box(seed: int, threat: Threat) -> None:
    original, images = wild(seed)
    projected = threat.project(images, original)
    assert threat.allows(projected, original).all()
    assert projected.min() >= 0
    assert projected.max() <= 1


@given(seeds, threats)
def test_projection_leaves_allowed_images_alone(seed: int, threat: Threat) -> None:
    original, images = wild(seed)
    once = threat.project(images, original)
    torch.testing.assert_close(threat.project(once, original), once, atol=1e-6, rtol=0)


@given(seeds, threats, st.floats(0, 1))
def test_points_inside_do_not_move(seed: int, threat: Threat, share: float) -> None:
    original, images = wild(seed)
    edge = threat.project(images, original)
    inside = original + share * (edge - original)
    inside = torch.where((threat.distance(inside - original) <= threat.eps)[:, None, None, None],
                         inside, original).clamp(0, 1)  # fmt: skip
    assert torch.equal(threat.project(inside, original), inside)


@given(seeds, st.floats(0, 40))
def test_the_l1_projection_is_the_nearest_point_of_ball_and_box(seed: int, eps: float) -> None:
    original, images = (t.double() for t in wild(seed))
    threat = L1(eps)
    projected = threat.project(images, original)
    assert (threat.distance(projected - original) <= eps + 1e-12).all()
    # From the nearest point of a convex set, no other point of it lies towards the image.
    for draw in range(20):
        other = threat.random(randomness.keys(draw, torch.arange(3)), original)
        towards = ((images - projected) * (other - projected)).flatten(1).sum(1)
        assert (towards <= 1e-9).all()
    for row in range(3):
        expected = slow_l1_projection(images[row], original[row], eps)
        torch.testing.assert_close(projected[row], expected, atol=1e-9, rtol=0)


def slow_l1_projection(image: torch.Tensor, original: torch.Tensor, eps: float) -> torch.Tensor:
    """By bisection on how much is taken off every absolute difference."""
    difference = image - original

    def cut(by: float) -> torch.Tensor:
        return (original + difference.sign() * (difference.abs() - by).clamp(min=0)).clamp(0, 1)

    low, high = 0.0, float(difference.abs().max())
    if (cut(0) - original).abs().sum() <= eps:
        return cut(0)
    for _ in range(80):
        middle = (low + high) / 2
        if (cut(middle) - original).abs().sum() > eps:
            low = middle
        else:
            high = middle
    return cut(high)


def test_the_l1_projection_fills_the_ball_and_ignores_the_neighbours() -> None:
    original, images = wild(5)
    threat = L1(2.0)
    together = threat.project(images, original)
    assert (threat.distance(together - original) > 1.9999).all()
    alone = torch.cat([threat.project(images[i : i + 1], original[i : i + 1]) for i in range(3)])
    assert torch.equal(together, alone)


def test_l1_starts_are_uniform_in_the_ball() -> None:
    original = torch.full((4000, 1, 1, 3), 0.5)
    keys = randomness.keys(0, torch.arange(4000))
    moves = L1(0.4).random(keys, original) - original
    # Of a ball in three dimensions, the share within the radius r has r cubed of the volume.
    share = (L1(0).distance(moves) / 0.4) ** 3
    assert share.max() <= 1.001
    for quantile in (0.1, 0.5, 0.9):
        assert share.quantile(quantile).item() == pytest.approx(quantile, abs=0.03)
    # By symmetry each of the eight octants and each of the three axes has its equal share.
    octant = ((moves > 0).flatten(1) * torch.tensor([1, 2, 4])).sum(1)
    assert octant.bincount(minlength=8).min() > 400
    assert moves.abs().flatten(1).argmax(1).bincount(minlength=3).min() > 1200
    again = L1(0.4).random(keys[7:8], original[:1]) - original[:1]
    torch.testing.assert_close(again, moves[7:8])


@given(
    seeds,
    st.one_of(
        st.builds(Linf, st.floats(0.004, 0.5)),
        st.builds(L2, st.floats(0.02, 3)),
        st.builds(L1, st.floats(0.1, 30)),
        st.builds(L0, st.integers(0, 40)),
    ),
)
def test_snapped_images_are_allowed_and_survive_eight_bits(seed: int, threat: Threat) -> None:
    original, images = wild(seed)
    original = round_to_grid(original)
    snapped = snap(threat.project(images, original), original, threat)
    assert threat.allows(snapped, original).all()
    levels = torch.round(snapped * 255).to(torch.uint8)
    assert torch.equal(levels.float() / 255, snapped)


def test_snapping_loses_little_of_the_ball() -> None:
    original, images = wild(3)
    original = round_to_grid(original)
    threat = L2(1.0)
    snapped = snap(threat.project(images, original), original, threat)
    assert (threat.distance(snapped - original) > 0.99).all()


def test_snapping_does_not_depend_on_the_neighbours() -> None:
    original, images = wild(4)
    original, threat = round_to_grid(original), L2(0.3)
    images = threat.project(images, original)
    together = snap(images, original, threat)
    alone = torch.cat([snap(images[i : i + 1], original[i : i + 1], threat) for i in range(3)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), ("0.5", 0.5), (" 1 / 4 ", 0.25), (2, 2.0), ("0", 0.0)]
)
def test_numbers_and_fractions(text: str | float, value: float) -> None:
    assert as_number(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "bad", ["-1/255", -0.1, "8/0", "eight", float("nan"), "1e999", float("inf")]
)
def test_bad_numbers_are_refused(bad: str | float) -> None:
    with pytest.raises(InvalidParameterError, match="expected a number of at least 0"):
        as_number(bad)


def test_sparse_projection_keeps_the_pixels_that_moved_furthest() -> None:
    original = torch.full((1, 2, 2, 2), 0.5)
    change = torch.tensor([[[0.1, -0.3], [0.0, 0.2]], [[0.1, 0.0], [0.0, -0.2]]])
    moved = L0(2).project(original + change, original) - original
    kept = torch.tensor([[[0.0, -0.3], [0.0, 0.2]], [[0.0, 0.0], [0.0, -0.2]]])
    torch.testing.assert_close(moved[0], kept)  # 0.09 and 0.08 are above 0.02
    assert L0(2).distance(moved).item() == 2


def test_sparse_starts_change_so_many_pixels() -> None:
    original = torch.full((5, 3, 6, 6), 0.5)
    starts = L0(7).random(randomness.keys(0, torch.arange(5)), original)
    assert (L0(7).distance(starts - original) == 7).all()
    assert len({tuple((start != 0.5).any(0).flatten().tolist()) for start in starts}) == 5
    with pytest.raises(InvalidParameterError, match="counts pixels: expected a whole number"):
        L0(0.5)


def test_threats_by_name() -> None:
    assert threat_for("linf", "8/255") == Linf(8 / 255)
    assert threat_for("l2", 0.5) == L2(0.5)
    assert threat_for("l1", 12) == L1(12)
    assert threat_for("none", None) == Unbounded()
    with pytest.raises(InvalidParameterError, match="expected a number of at least 0"):
        L1(-1)


def test_norms_and_bounds_must_go_together() -> None:
    with pytest.raises(InvalidParameterError, match="expected linf, l2, l1, l0 or none"):
        threat_for("l7", 1)
    with pytest.raises(InvalidParameterError, match="eps is missing"):
        threat_for("l2", None)
    with pytest.raises(InvalidParameterError, match="norm is none"):
        threat_for("none", 0.1)


@pytest.mark.parametrize(
    ("eps", "message"),
    [
        (8, r"eps is 8; .* at most 1 is expected: did you mean 8/255\?"),
        ("16", r"eps is 16; .*did you mean 16/255\?"),
        (1.5, r"did you mean 1.5/255\?"),
        (300, "at most 1 is expected$"),
    ],
)
def test_a_bound_wider_than_the_box_is_refused(eps: float | str, message: str) -> None:
    for call in (
        lambda: Linf(eps),
        lambda: as_threat(f"linf:{eps}"),
        lambda: fs.attack("pgd", eps=eps),
        lambda: fs.morph(fs.load_model("digits-cnn"), "grey", to=3, eps=eps),
    ):
        with pytest.raises(InvalidParameterError, match=message):
            call()


@pytest.mark.parametrize(
    ("threat", "bounds_nothing"),
    [
        (Linf(1), True),
        (Linf(0.99), False),
        (L2(12**0.5), True),
        (L2(3.4), False),
        (L1(12), True),
        (L1(11.9), False),
        (L0(4), True),
        (L0(3), False),
        (Linf(math.inf), False),
        (Unbounded(), False),
    ],
)
def test_a_bound_that_reaches_every_picture_is_remarked_on(
    threat: Threat, bounds_nothing: bool
) -> None:
    said = beyond_the_box(threat, (3, 2, 2))
    assert (said is not None) == bounds_nothing
    if said is not None:
        assert f"in the norm {threat.name}: eps {threat.eps:g} bounds nothing" in said


def test_an_attack_notes_a_bound_that_bounds_nothing() -> None:
    model, images = fs.load_model("digits-cnn"), torch.full((1, 1, 28, 28), 0.5)
    with pytest.warns(fs.FluoroscopeWarning, match="eps 1 bounds nothing"):
        result = fs.attack("fgsm", eps=1)(model, images, [0])
    assert any("bounds nothing" in note for note in result.record["notes"])


@pytest.mark.parametrize("given", [0.3, None, 8, ["linf", 0.3]])
def test_a_threat_that_is_none_is_refused(given: object) -> None:
    with pytest.raises(InvalidParameterError, match=r"threat is .*such as 'linf:8/255'"):
        as_threat(given)  # type: ignore[arg-type]


def test_a_bound_may_be_a_number_of_any_library() -> None:
    assert Linf(torch.tensor(0.25)) == Linf(np.float32(0.25)) == Linf("1/4")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("channels", "side", "eps"),
    [
        (1, 28, 0.3),
        (1, 64, 0.3),
        (1, 65, 4 / 255),
        (3, 32, 8 / 255),
        (3, (32, 96), 4 / 255),
        (13, 64, 8 / 255),
        (3, 224, 4 / 255),
        (3, None, 8 / 255),
    ],
)
def test_bounds_are_those_of_the_field(channels: int, side: int | None, eps: float) -> None:
    model = fs.Classifier(nn.Identity(), channels=channels, input_size=side)
    threat = usual_threat(model)
    assert threat.name == "linf"
    assert threat.eps == pytest.approx(eps)


def test_where_a_network_takes_any_size_the_pictures_say_it() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    model = fs.Classifier(module, channels=1)
    for side, eps in ((28, 0.3), (80, 4 / 255)):
        images = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
        labels = fs.predict(model, images).winners
        verdict = fs.evaluate(model, images, labels, plan=plan_of("fgsm", eps), at_chance=True)
        assert verdict.record["identity"]["threat"]["eps"] == pytest.approx(eps)


def plan_of(name: str, eps: float) -> Plan:
    return Plan(name, (Stage(name, fs.attack(name, eps=eps)),))


def test_linf_keeps_to_the_originals_as_they_are_now() -> None:
    """What is remembered of the last originals is of these, as they are, and of that bound."""
    original, other = torch.rand(2, 3, 1, 4, 4)
    images = torch.rand(3, 1, 4, 4) * 3 - 1
    for change in (0.0, 0.0, 0.25):
        original.mul_(1 - change)
        for eps, around in ((0.1, original), (0.2, original), (0.1, other), (math.inf, other)):
            found = Linf(eps).project(images, around)
            expected = images.clamp(around - eps, around + eps).clamp(0, 1)
            assert torch.equal(found, expected)


def test_limits_are_forgotten_with_the_originals_and_take_no_gradient_away() -> None:
    original = torch.rand(2, 1, 3, 3)
    Linf(0.1).project(original, original)
    assert module._last_limits is not None
    steep = original.requires_grad_()
    with torch.no_grad():
        Linf(0.1).project(torch.ones_like(steep), steep)
    Linf(0.1).project(torch.ones_like(steep) * 2, steep).sum().backward()
    assert steep.grad is not None
    del original, steep
    gc.collect()
    assert module._last_limits is None
