"""The smallest moves onto a plane: against solvers that know nothing of how they are found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_networks import THREATS, shortest_move, unbounded
from torch import Tensor

from fluoroscope.attacks.minimum_norm import planes

by_norm = pytest.mark.parametrize("norm", list(THREATS))


def problem(seed: int, count: int, values: int) -> tuple[Tensor, Tensor]:
    """Points with values at both ends of the box, slopes with zeros and ties among them."""
    generator = torch.Generator().manual_seed(seed)
    points = (1.6 * torch.rand(count, values, generator=generator) - 0.3).clamp(0, 1)
    slopes = torch.randn(count, values, generator=generator)
    slopes[:, 0] = 0
    slopes[:, 1] = slopes[:, 2]
    return points.double(), slopes.double()


@by_norm
@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(-1, 1), st.integers(4, 12))
def test_the_move_is_the_smallest_and_ends_on_the_plane(
    norm: str, seed: int, share: float, values: int
) -> None:
    points, slopes = problem(seed, 3, values)
    downhill = share > 0  # a positive lead is to be lost
    gain = (slopes.abs() * torch.where((slopes > 0) ^ downhill, 1 - points, points)).sum(1)
    leads = share * gain
    moves = planes.to_plane(points, slopes, leads, norm)
    torch.testing.assert_close((slopes * moves).sum(1), -leads, atol=1e-9, rtol=1e-9)
    assert ((points + moves >= -1e-12) & (points + moves <= 1 + 1e-12)).all()
    sizes = unbounded(norm).distance(moves[:, :, None, None])
    for point, slope, lead, size in zip(points, slopes, leads, sizes, strict=True):
        direction = -slope if lead > 0 else slope
        expected = shortest_move(point.numpy(), direction.numpy(), abs(float(lead)), norm)
        assert float(size) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@by_norm
def test_a_plane_out_of_reach_is_approached_to_the_corner(norm: str) -> None:
    points, slopes = problem(0, 5, 9)
    moves = planes.to_plane(points, slopes, torch.full((5,), -100.0), norm)
    corner = torch.where(slopes == 0, points, (slopes > 0).double())
    torch.testing.assert_close(points + moves, corner)


@by_norm
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12])
def test_the_scale_of_the_slopes_does_not_matter(norm: str, scale: float) -> None:
    points, slopes = (t.float() for t in problem(1, 4, 9))
    leads = torch.tensor([-0.5, 0.5, -1.0, 0.1])
    plain = planes.to_plane(points, slopes, leads, norm)
    scaled = planes.to_plane(points, slopes * scale, leads * scale, norm)
    torch.testing.assert_close(plain, scaled, atol=1e-5, rtol=1e-4)


@by_norm
def test_without_a_slope_nothing_moves(norm: str) -> None:
    points, slopes = problem(2, 2, 6)
    for lead in (-1.0, 0.0, 1.0):
        moves = planes.to_plane(points, torch.zeros_like(slopes), torch.full((2,), lead), norm)
        assert torch.equal(moves, torch.zeros_like(points))


@by_norm
def test_a_slope_that_is_no_number_does_not_hang(norm: str) -> None:
    points, slopes = problem(3, 2, 6)
    slopes[0, 3] = torch.nan
    moves = planes.to_plane(points, slopes, torch.tensor([-0.1, -0.1]), norm)
    assert moves[1].isfinite().all()


@by_norm
def test_neighbours_do_not_matter(norm: str) -> None:
    points, slopes = problem(4, 6, 30)
    leads = torch.linspace(-8, 8, 6).double()
    together = planes.to_plane(points, slopes, leads, norm)
    for row in range(6):
        one = slice(row, row + 1)
        alone = planes.to_plane(points[one], slopes[one], leads[one], norm)
        torch.testing.assert_close(together[one], alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("norm", "expected"), [("linf", 1), ("l2", 2), ("l1", 0)], ids=["linf", "l2", "l1"]
)
def test_nearest_is_in_the_dual_norm(norm: str, expected: int) -> None:
    # Dual sizes: 5, 10, 8 in Linf, 5, 5, 5.7 in L2, and 5, 2.5, 4 in L1.
    slopes = torch.tensor([[5.0, 0, 0, 0], [2.5, 2.5, 2.5, 2.5], [4.0, 4.0, 0, 0]])
    leads = -torch.tensor([[1.0, 1.05, 1.05]])
    lead, slope = planes.nearest(leads, slopes.view(1, 3, 1, 2, 2), norm)
    assert lead.item() == pytest.approx(leads[0, expected].item())
    assert torch.equal(slope.flatten(), slopes[expected])
