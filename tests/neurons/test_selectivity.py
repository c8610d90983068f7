"""Classes, selectivity and sparsity of units, against the formulas written out slowly."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fluoroscope as fs
from fluoroscope.neurons.answers import selectivity
from fluoroscope.neurons.answers.selectivity import top_rows, unit_statistics
from fluoroscope.neurons.reading.reduction import Reduction
from fluoroscope.neurons.reading.units import Units


@dataclass
class Activations:
    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    units: Units = field(init=False)
    reduction: Reduction = field(default_factory=Reduction)
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        units = self.values.shape[1]
        self.units = Units("layer", None, (units,), units, 1, None)


def some(pictures: int = 60, units: int = 5, classes: int = 3) -> Activations:
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 1, (pictures, units)).astype(np.float32)
    labels = rng.integers(0, classes, pictures)
    return Activations(values, labels, labels[::-1].copy())


def slow_index(values: NDArray[np.float32], labels: NDArray[np.int64], unit: int) -> float:
    means = []
    for label in sorted(set(labels.tolist())):
        own = [max(0.0, float(v)) for v, one in zip(values[:, unit], labels, strict=True)
               if one == label]  # fmt: skip
        means.append(sum(own) / len(own))
    best = max(means)
    means.remove(best)
    rest = sum(means) / len(means)
    return (best - rest) / (best + rest)


def slow_sparsity(values: NDArray[np.float32], unit: int) -> float:
    rates = [max(0.0, float(v)) for v in values[:, unit]]
    n = len(rates)
    return (1 - (sum(rates) / n) ** 2 / (sum(r * r for r in rates) / n)) / (1 - 1 / n)


@pytest.mark.parametrize("chunk", [7, 4096])
def test_every_number_is_that_of_its_formula(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectivity, "_CHUNK", chunk)
    given = some()
    found = unit_statistics(given, top=10)
    for unit in range(5):
        column = given.values[:, unit]
        assert found.selectivity[unit] == pytest.approx(
            slow_index(given.values, given.labels, unit)
        )
        assert found.sparsity[unit] == pytest.approx(slow_sparsity(given.values, unit))
        assert found.zero[unit] == (column <= 0).mean()
        own = given.labels[np.argsort(-column, kind="stable")[:10]]
        assert found.histogram[unit].tolist() == np.bincount(own, minlength=3).tolist()
        for label in range(3):
            assert found.means[unit, label] == pytest.approx(
                column[given.labels == label].mean(), abs=1e-6
            )
    assert found.by == "labels"
    assert "below zero" in found.notes[0]


def test_units_of_one_class_of_all_and_of_none() -> None:
    labels = np.repeat(np.arange(3), 4)
    one, all_alike = (labels == 1).astype(float), np.ones(12)
    below = -np.arange(12.0)
    given = Activations(
        np.stack([one, all_alike, np.zeros(12), below], 1).astype(np.float32), labels, labels
    )
    found = unit_statistics(given, ["a", "b", "c"], top=4)
    assert found.selectivity[:2].tolist() == [1, 0]
    assert np.isnan(found.selectivity[2:]).all()
    assert found.favourite.tolist() == [1, 0, -1, -1]
    assert found.dead.tolist() == [False, True, True, False]
    assert found.sparsity[1] == pytest.approx(0)
    assert found.top_classes(0) == [("b", 4)]
    told = found.describe()
    assert told["units"][0]["informs_of"] == "b"
    assert told["units"][0]["information"] == pytest.approx(np.log(3) - np.log(4) / 3)  # all of it
    assert told["units"][1]["information"] == told["units"][2]["information"] == 0
    assert "never above zero" in found.said(3)
    only = np.zeros((12, 1), np.float32)
    only[3] = 5
    assert unit_statistics(Activations(only, labels, labels)).sparsity[0] == pytest.approx(1)


def test_pictures_without_labels_are_told_apart_by_what_is_predicted() -> None:
    given = some()
    known = given.predicted
    given.labels = np.full(60, -1)
    found = unit_statistics(given)
    assert found.by == "predicted"
    assert found.top == 6  # a tenth: of all 60 every unit would have the same
    assert found.histogram.sum(1).tolist() == [6] * len(found.histogram)
    assert found.pictures.tolist() == np.bincount(known).tolist()
    given.labels[:50] = known[:50]
    found = unit_statistics(given)
    assert found.by == "labels"
    assert any("10 pictures without a label" in note for note in found.notes)


def test_the_top_rows_come_in_order_whatever_is_read_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = some().values.round(1)  # with ties
    wanted = [np.argsort(-values[:, unit], kind="stable")[:7].tolist() for unit in range(5)]
    for chunk in (3, 50, 4096):
        monkeypatch.setattr(selectivity, "_CHUNK", chunk)
        assert [rows.tolist() for rows in top_rows(values, 7)] == wanted


def test_refusals() -> None:
    with pytest.raises(fs.FluoroscopeError, match="no pictures"):
        unit_statistics(Activations(np.zeros((0, 2), np.float32), np.zeros(0), np.zeros(0)))
    with pytest.raises(fs.FluoroscopeError, match="top is 0"):
        unit_statistics(some(), top=0)
