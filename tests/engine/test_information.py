"""What numbers tell of classes, against scikit-learn and the formulas written out slowly."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_selection import mutual_info_classif

from fluoroscope.engine import information as room
from fluoroscope.engine.information import correlation, information, mean_of_largest

RNG = np.random.default_rng(1)
LABELS = RNG.integers(0, 4, 400)
VALUES = np.maximum(0, RNG.normal(0, 1, (400, 5)) + 1.5 * (LABELS[:, None] == np.arange(5)))


def bins_of(column: NDArray[np.float64]) -> list[int]:
    """In which of ten bins of equal count each value lies, equal ones in the same."""
    ordered = sorted(column.tolist())
    edges = [ordered[number * len(ordered) // 10] for number in range(1, 10)]
    return [sum(value >= edge for edge in edges) for value in column.tolist()]


def test_information_is_that_of_scikit_learn_on_the_same_bins() -> None:
    found = information(VALUES, LABELS, 4).of_class
    bins = np.array([bins_of(column) for column in VALUES.T]).T
    for label in range(4):
        peer = mutual_info_classif(bins, label == LABELS, discrete_features=True)
        np.testing.assert_allclose(found[:, label], peer, atol=1e-12)


def test_information_is_near_that_of_nearest_neighbours() -> None:
    found = information(VALUES, LABELS, 4).of_class
    peer = mutual_info_classif(VALUES, LABELS == 2, random_state=0)
    np.testing.assert_allclose(found[:, 2], peer, atol=0.05)
    assert found[2, 2] > 0.1


@pytest.mark.parametrize("at_once", [1, 40 * 2, 2**23])
def test_units_after_each_other_are_those_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = information(VALUES, LABELS, 4)
    monkeypatch.setattr(room, "_AT_ONCE", at_once)
    part = information(VALUES, LABELS, 4)
    np.testing.assert_array_equal(part.of_class, whole.of_class)
    assert part.by_chance == whole.by_chance


def test_a_number_that_is_the_class_tells_all_of_it_and_one_that_never_changes_nothing() -> None:
    values = np.stack([LABELS == 1, np.ones(400)], 1).astype(float)
    found = information(values, LABELS, 4)
    share = float((LABELS == 1).mean())
    whole = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert found.of_class[0, 1] == pytest.approx(whole)
    assert found.of_class[1].tolist() == [0, 0, 0, 0]
    assert found.score == pytest.approx(whole / 2)
    assert 0 < found.by_chance < 0.02


def test_labels_dealt_at_random_reach_about_the_known_excess() -> None:
    values, labels = RNG.normal(size=(5000, 40)), RNG.integers(0, 2, 5000)
    found = information(values, labels, 2)
    assert found.by_chance == pytest.approx(9 / (2 * 5000), rel=0.3)
    assert found.score == pytest.approx(found.by_chance, rel=0.5)


def test_rows_without_a_label_do_not_count_and_nan_makes_its_unit_unknown() -> None:
    values, labels = np.vstack([VALUES, VALUES[:50] * 9]), np.append(LABELS, np.full(50, -1))
    np.testing.assert_array_equal(
        information(values, labels, 4).of_class, information(VALUES, LABELS, 4).of_class
    )
    np.testing.assert_allclose(
        correlation(values, labels, 4), correlation(VALUES, LABELS, 4), atol=1e-12
    )
    values[3, 1], values[5, 2] = np.nan, np.inf
    found = information(values, labels, 4)
    assert np.isnan(found.of_class).all(1).tolist() == [False, True, False, False, False]
    assert math.isfinite(found.score)
    unknown = information(values, np.full(450, -1), 4)
    assert math.isnan(unknown.score)


def test_correlation_is_pearsons() -> None:
    found = correlation(VALUES, LABELS, 4)
    for unit in range(5):
        for label in range(4):
            expected = np.corrcoef(VALUES[:, unit], label == LABELS)[0, 1]
            assert found[unit, label] == pytest.approx(expected)
    assert np.isnan(correlation(np.ones((400, 1)), LABELS, 4)).all()


def test_mean_of_largest() -> None:
    of_class = np.array([[0.1, 0.4], [np.nan, 0.2], [np.nan, np.nan]])
    assert mean_of_largest(of_class) == pytest.approx(0.3)
    assert math.isnan(mean_of_largest(of_class[2:]))
