"""Balls and box: what must hold for every image, and the arithmetic of fractions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fluoroscope.engine.grid import round_to_grid, snap
from fluoroscope.engine.threats import L2, Linf, Threat, Unbounded, as_number, threat_for
from fluoroscope.errors import InvalidParameterError

seeds = st.integers(0, 10_000)
threats = st.one_of(
    st.builds(Linf, st.floats(0, 0.5)), st.builds(L2, st.floats(0, 3)), st.just(Unbounded())
)


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


@given(seeds, st.one_of(st.builds(Linf, st.floats(0.004, 0.5)), st.builds(L2, st.floats(0.02, 3))))
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


def test_norms_and_bounds_must_go_together() -> None:
    with pytest.raises(InvalidParameterError, match="expected linf, l2, l1 or none"):
        threat_for("l7", 1)
    with pytest.raises(InvalidParameterError, match="eps is missing"):
        threat_for("l2", None)
    with pytest.raises(InvalidParameterError, match="norm is none"):
        threat_for("none", 0.1)
