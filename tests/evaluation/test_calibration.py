"""The expected calibration error against a slow reading of its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluoroscope.evaluation.calibration import BINS, calibration

pictures = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(pictures)
def test_error_is_the_definition(found: list[tuple[float, bool]]) -> None:
    sure = np.array([one for one, _ in found])
    right = np.array([one for _, one in found])
    held = calibration(sure, right)
    total = 0.0
    for number in range(BINS):
        last = number == BINS - 1
        rows = [
            row
            for row, value in enumerate(sure)
            if number <= value * BINS < number + 1 or (last and value >= 1)
        ]
        if rows:
            gap = abs(right[rows].mean() - sure[rows].mean())
            total += len(rows) / len(sure) * gap
            assert held.bins[number].count == len(rows)
    assert held.error == pytest.approx(total, abs=1e-9)
    assert sum(one.count for one in held.bins) == len(sure)


def test_chance_covers_a_network_as_sure_as_it_is_right() -> None:
    draw = np.random.default_rng(0)
    below = 0
    for _ in range(100):
        sure = draw.uniform(0.3, 1, 80)
        held = calibration(sure, draw.random(80) < sure)
        below += held.error <= held.by_chance
    assert 88 <= below <= 100
    bold = calibration(np.full(80, 0.99), draw.random(80) < 0.6)
    assert bold.error > bold.by_chance
