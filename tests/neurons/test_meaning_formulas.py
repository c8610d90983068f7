"""The measures of meaning against slow ones written from their definitions, and what holds of any.

The slow ones go unit by unit and picture by picture, in Python's own numbers.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluoroscope.neurons.meaning.arrays import class_sums, spreads
from fluoroscope.neurons.meaning.favourites import Favourites
from fluoroscope.neurons.meaning.figures import levels_figure
from fluoroscope.neurons.meaning.histograms import (
    commonest,
    cosines,
    cosines_at_chance,
    flipped,
    has_name,
    labels_of,
    level_of_consistency,
)
from fluoroscope.neurons.meaning.of_layer import in_bins
from fluoroscope.neurons.meaning.of_units import OfUnits, Pictures, of_units
from fluoroscope.neurons.meaning.representations import ratios
from fluoroscope.neurons.meaning.resampling import Number, Times, resampled, with_interval
from fluoroscope.neurons.meaning.sensitivity import sensitivity
from fluoroscope.neurons.meaning.sharing import sharing

CLASSES = 4


def slow_histogram(
    column: list[float], labels: list[int], top: int, times: list[int], weighted: bool = False
) -> list[float] | None:
    """Of one unit: the first ``top`` pictures, those at the last place sharing it."""
    low = min(column)
    rows = [(value, label, many) for value, label, many in zip(column, labels, times, strict=True)
            if value > low]  # fmt: skip
    counts = [Fraction(0)] * CLASSES
    left = top
    for value in sorted({value for value, _, _ in rows}, reverse=True):
        here = [(label, many) for other, label, many in rows if other == value]
        many = sum(many for _, many in here)
        share = Fraction(min(left, many), many) if many else Fraction(0)
        for label, one in here:
            lift = Fraction(value - low) if weighted else Fraction(1)
            counts[label] += share * one * lift
        left -= min(left, many)
    total = sum(counts)
    return [float(one / total) for one in counts] if total else None


@st.composite
def drawn(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[int], int, list[int]]:
    pictures, units = draw(st.integers(2, 12)), draw(st.integers(1, 3))
    whole = st.integers(-2, 3)  # so that there are ties
    values = draw(st.lists(st.lists(whole, min_size=units, max_size=units), min_size=pictures,
                           max_size=pictures))  # fmt: skip
    labels = draw(st.lists(st.integers(0, CLASSES - 1), min_size=pictures, max_size=pictures))
    times = draw(st.lists(st.integers(0, 3), min_size=pictures, max_size=pictures))
    top = draw(st.integers(1, pictures))
    return np.array(values, dtype=np.float32), labels, top, times


@settings(max_examples=60)
@given(drawn(), st.booleans())
def test_histograms_are_those_of_the_favourites(
    case: tuple[NDArray[np.float32], list[int], int, list[int]], weighted: bool
) -> None:
    values, labels, top, times = case
    found = Favourites(values, top, weighted=weighted)
    for many in ([1] * len(labels), times):
        weights = found.weights(np.array(many))
        histograms = found.histograms(np.array(labels), CLASSES, weights)
        for unit in range(values.shape[1]):
            slow = slow_histogram(values[:, unit].tolist(), labels, top, many, weighted)
            if slow is None:
                assert np.isnan(histograms[unit]).all()
            else:
                np.testing.assert_allclose(histograms[unit], slow, atol=1e-12)


@settings(max_examples=30)
@given(drawn(), st.randoms(use_true_random=False), st.sampled_from([0.25, 3.0, 2.0**20]))
def test_neither_order_nor_scale_matters(
    case: tuple[NDArray[np.float32], list[int], int, list[int]], random: object, scale: float
) -> None:
    values, labels, top, _ = case
    order = list(range(len(labels)))
    random.shuffle(order)  # type: ignore[attr-defined]
    first = Favourites(values, top).histograms(np.array(labels), CLASSES)
    second = Favourites(np.float32(scale) * values[order], top).histograms(
        np.array(labels)[order], CLASSES
    )
    np.testing.assert_allclose(first, second, atol=1e-12)
    level = level_of_consistency(first, np.eye(CLASSES))
    here = ~np.isnan(level)
    assert ((level[here] >= 1 / CLASSES - 1e-12) & (level[here] <= 1 + 1e-12)).all()
    alike = cosines(first, first)[here]
    np.testing.assert_allclose(alike, 1)


def test_many_pictures_need_no_more_than_the_first_ones() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 3)).astype(np.float32)
    labels = rng.integers(0, CLASSES, 400)
    found = Favourites(values, 10)
    assert len(found.order) == 70
    for times in rng.poisson(1.0, (3, 400)):
        fast = found.histograms(labels, CLASSES, found.weights(times))
        for unit in range(3):
            slow = slow_histogram(values[:, unit].tolist(), labels.tolist(), 10, times.tolist())
            np.testing.assert_allclose(fast[unit], slow or [], atol=1e-12)


def test_the_level_of_consistency_is_the_double_sum() -> None:
    rng = np.random.default_rng(1)
    shares, alike = rng.dirichlet(np.ones(CLASSES), 6), rng.random((CLASSES, CLASSES))
    found = level_of_consistency(shares, alike)
    for p, value in zip(shares.tolist(), found.tolist(), strict=True):
        slow = sum(
            p[i] * alike[i, j] * p[j] for i in range(CLASSES) for j in range(CLASSES)
        )  # fmt: skip
        assert value == pytest.approx(slow)
    # Alone it is 1; of all classes alike it is 1 whatever the unit.
    assert level_of_consistency(np.eye(CLASSES), np.eye(CLASSES)).tolist() == [1.0] * CLASSES
    np.testing.assert_allclose(level_of_consistency(shares, np.ones((CLASSES, CLASSES))), 1)


@pytest.mark.parametrize("drawn", [5, 20, 60])
def test_chance_is_the_cosine_with_pictures_drawn_at_random(drawn: int) -> None:
    rng = np.random.default_rng(2)
    labels = rng.choice(CLASSES, 60, p=[0.4, 0.3, 0.2, 0.1])
    histograms = rng.dirichlet(np.ones(CLASSES), 3)
    found = cosines_at_chance(histograms, labels, drawn)
    lots = [np.bincount(rng.permutation(labels)[:drawn], minlength=CLASSES) for _ in range(2000)]
    seen = np.mean([cosines(histograms, one[None].astype(float)) for one in lots], axis=0)
    np.testing.assert_allclose(found, seen, atol=0.025)


def test_a_label_is_the_class_of_most_pictures_alone() -> None:
    shares = np.array([[0.5, 0.25, 0.25, 0], [0.4, 0.4, 0.1, 0.1], [np.nan] * 4, [0, 0, 0, 1]])
    classes = commonest(shares)
    assert labels_of(classes).tolist() == [0, -1, -1, 3]
    assert classes[1].tolist() == [True, True, False, False]
    assert not classes[2].any()


def test_pictures_of_many_classes_one_each_name_no_unit() -> None:
    several = np.array([[1, 1, 1, 0], [2, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0]]) / 4
    assert has_name(several).tolist() == [False, True, True, True]


def test_a_tie_that_holds_the_label_is_no_flip_on_either_side() -> None:
    one, tie, none = [True, False, False], [True, True, False], [False, False, False]
    other, others = [False, False, True], [False, True, True]
    pairs = (
        (one, one, 0), (one, other, 1), (one, tie, 0), (one, others, 1), (other, tie, 1),
        (tie, others, 0), (one, none, -1), (none, none, -1),
    )  # fmt: skip
    for first, second, told in pairs:
        for before, after in ((first, second), (second, first)):
            assert flipped(np.array([before]), np.array([after])).tolist() == [told]


def test_a_unit_without_adversarial_favourites_empties_no_bin() -> None:
    level = np.array([1.0, 0.1, 1.0, 0.2, 0.9, 0.3, 0.8, 0.4, np.nan, 1.0])
    cs1 = np.array([0.5, 0.1, np.nan, 0.1, 0.5, 0.1, 0.5, 0.1, np.nan, 0.5])
    drawn = np.tile(cs1.astype(np.float32), (3, 1))
    units = OfUnits(
        {"level": level, "cs1": cs1, "cs2": cs1}, {}, {"cs1": drawn, "cs2": drawn}, {}, {}
    )  # fmt: skip
    low, high = in_bins(units)
    assert low.cs1.value == pytest.approx(0.1)
    assert high.cs1.value == pytest.approx(0.5)
    assert (low.cs1.count, high.cs1.count) == (4, 4)
    assert high.ends == (0.8, 1.0)


def test_units_of_one_level_are_one_bin() -> None:
    level, cs1 = np.ones(12), np.linspace(0, 1, 12)
    drawn = np.tile(cs1.astype(np.float32), (3, 1))
    units = OfUnits(
        {"level": level, "cs1": cs1, "cs2": cs1}, {}, {"cs1": drawn, "cs2": drawn}, {}, {}
    )  # fmt: skip
    (one,) = in_bins(units)
    assert (one.ends, one.cs1.count) == ((1, 1), 12)
    assert one.cs1.value == pytest.approx(0.5)


def test_levels_are_numbered_wherever_they_lie() -> None:
    number = Number(0.5, (0.4, 0.6), 5)
    for levels in ([0.11, 0.3, 0.95], [0.012, 0.05, 0.09], [1.0, 1.0]):
        bins = [(level, {"cs1": number, "cs2": number}) for level in levels]
        figure = levels_figure(bins, {"cs1": 0.4, "cs2": 0.4})
        figure.canvas.draw()
        axes = figure.axes[0]
        low, high = axes.get_xlim()
        told = [
            tick.get_text()
            for at, tick in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
            if low <= at <= high and tick.get_text()
        ]
        assert len(told) >= 2


def layer(
    seed: int, units: int = 6
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64],
           NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Real pictures, labels; adversarial pictures, true classes, targets, partners."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES - 1, 25)  # of the last class there are none
    labels[0], labels[1:] = 2, np.where(labels[1:] == 2, 1, labels[1:])  # of class 2 only one
    partners = rng.integers(-1, 25, 40)
    own = np.where(partners >= 0, labels[partners], rng.integers(0, CLASSES, 40))
    targets = (own + rng.integers(1, CLASSES, 40)) % CLASSES
    real = rng.normal(size=(25, units)).astype(np.float32)
    made = rng.normal(size=(40, units)).astype(np.float32)
    return real, labels, made, own, targets, partners


@pytest.mark.parametrize("seed", range(3))
def test_ratios_are_those_of_distances(seed: int) -> None:
    real, labels, made, own, targets, partners = layer(seed)
    partners[0], own[0], targets[0] = 0, 2, 1  # the only one of its class
    found = ratios(real, labels, made, own, targets, partners, CLASSES)
    rows = real.astype(float).tolist()

    def mean(class_: int, without: int = -1) -> list[float] | None:
        members = [row for n, row in enumerate(rows) if labels[n] == class_ and n != without]
        return [sum(one) / len(members) for one in zip(*members, strict=True)] if members else None

    def apart(one: list[float], other: list[float] | None) -> float:
        return math.nan if other is None else math.dist(one, other)

    for n, point in enumerate(made.astype(float).tolist()):
        source, class_, goal = int(partners[n]), int(own[n]), int(targets[n])
        same = mean(class_, source) or mean(class_)
        r1 = apart(point, same) / apart(point, mean(goal))
        others = [math.dist(point, row) for m, row in enumerate(rows) if labels[m] == goal]
        away = math.dist(point, rows[source]) if source >= 0 else math.nan
        r2 = away / min(others) if others else math.nan
        alone = source < 0 or mean(class_, source) is None
        real_r1 = math.nan if alone else (
            apart(rows[source], same) / apart(rows[source], mean(goal))
        )  # fmt: skip
        assert found.r1[n] == pytest.approx(r1, nan_ok=True)
        assert found.r2[n] == pytest.approx(r2, nan_ok=True)
        assert found.r1_real[n] == pytest.approx(real_r1, nan_ok=True)


def test_no_distance_at_all_is_on_neither_side() -> None:
    real = np.array([[0.0], [0.0], [1.0], [1.0]], dtype=np.float32)
    labels = np.array([0, 0, 1, 1])
    made = np.array([[0.0], [1.0], [0.5]], dtype=np.float32)
    own, goal, partner = np.zeros(3, dtype=int), np.ones(3, dtype=int), np.zeros(3, dtype=int)
    found = ratios(real, labels, made, own, goal, partner, 2)
    assert found.r1.tolist() == found.r2.tolist() == [0.0, math.inf, 1.0]
    same = np.zeros_like(real)
    assert ratios(same, labels, made[:1], own[:1], goal[:1], partner[:1], 2).r1.tolist() == [1.0]


@pytest.mark.parametrize("seed", range(2))
def test_sensitivity_is_the_mean_change(seed: int) -> None:
    real, _, made, _, _, partners = layer(seed)
    real[:, 2] = 7.0
    made[:, 2] = 7.0
    real[:, 3] = 7.0
    found = sensitivity(real, made, partners)
    pairs = [(n, int(m)) for n, m in enumerate(partners) if m >= 0]
    for unit in range(real.shape[1]):
        moved = [abs(float(made[n, unit]) - float(real[m, unit])) for n, m in pairs]
        value = sum(moved) / len(moved)
        assert found.units[unit] == pytest.approx(value)
        column = real[:, unit].astype(float).tolist()
        middle = sum(column) / len(column)
        spread = math.sqrt(sum((one - middle) ** 2 for one in column) / len(column))
        expected = {2: 0.0, 3: math.inf}.get(unit, value / spread if spread else math.nan)
        assert found.relative[unit] == pytest.approx(expected)
    assert np.isnan(found.pictures).tolist() == (partners < 0).tolist()
    moving = found.relative[[0, 1, 4, 5]].mean()
    assert np.nanmean(found.pictures) == pytest.approx(moving)


@pytest.mark.parametrize("seed", range(2))
def test_used_units_are_those_lifted_most(seed: int) -> None:
    real, labels, made, _, targets, _ = layer(seed, units=10)
    led_to = np.where(np.arange(40) % 3 == 0, -1, targets)
    found = sharing(real, labels, made, led_to, CLASSES, 0.3)
    columns = [[float(one) for one in real[:, unit]] for unit in range(10)]
    middle = [sum(column) / 25 for column in columns]
    spread = [math.sqrt(sum((one - middle[u]) ** 2 for one in column) / 25)
              for u, column in enumerate(columns)]  # fmt: skip

    def used(rows: NDArray[np.float32]) -> set[int]:
        lifts = {u: (float(rows[:, u].astype(float).mean()) - middle[u]) / spread[u]
                 for u in range(10)}  # fmt: skip
        best = sorted(lifts, key=lambda u: -lifts[u])[:3]
        return {u for u in best if lifts[u] > 0}

    shares = []
    both, alone = np.zeros(10, dtype=int), np.zeros(10, dtype=int)
    for class_ in range(CLASSES):
        own, theirs = real[labels == class_], made[led_to == class_]
        if not len(own) or not len(theirs):
            assert not found.measured[class_]
            continue
        first, second = used(own), used(theirs)
        shares.append(len(first & second) / len(second))
        both[list(first & second)] += 1
        alone[list(second - first)] += 1
    assert found.share.tolist() == pytest.approx(shares)
    assert found.shared.tolist() == both.tolist()
    assert found.adversarial_only.tolist() == alone.tolist()
    assert set(np.flatnonzero(found.never_real)) <= set(np.flatnonzero(alone))


def test_a_unit_that_only_adversarial_pictures_move_is_found() -> None:
    real = np.array([[1.0, 3.0], [0.0, 3.0]], dtype=np.float32)
    made = np.array([[0.0, 3.5], [0.0, 3.5]], dtype=np.float32)
    found = sharing(real, np.array([0, 1]), made, np.array([0, 1]), 2, 0.5)
    assert found.never_real.tolist() == [False, True]
    assert found.share.tolist() == [0.0, 0.0]


def test_unknown_classes_do_not_count_and_rounding_is_no_spread() -> None:
    values = np.array([[1.0, 0.1], [2.0, 0.1], [4.0, 0.1]], dtype=np.float32)
    sums, counts = class_sums(values, np.array([1, -1, 1]), 3)
    np.testing.assert_allclose(sums, [[0, 0], [5, 0.2], [0, 0]], atol=1e-6)
    assert counts.tolist() == [0, 2, 0]
    assert spreads(values).tolist() == [pytest.approx(math.sqrt(14 / 9)), 0.0]
    assert spreads(np.full((1542, 1), 1.1, dtype=np.float32)).tolist() == [0.0]


def test_what_was_made_of_a_picture_is_drawn_with_it() -> None:
    real, sources = np.array([5, 7, 9]), np.array([7, 7, 9, -1, -1])
    seen = []
    for times, made in resampled(real, sources, 50, 0):
        assert made[0] == made[1] == times[1]
        assert made[2] == times[2]
        assert times.sum() + made[3:].sum() == 5
        seen.append((times.tolist(), made.tolist()))
    assert len({str(one) for one in seen}) > 30
    assert seen == [(a.tolist(), b.tolist()) for a, b in resampled(real, sources, 50, 0)]


def test_a_draw_is_as_if_the_pictures_were_there_so_often() -> None:
    rng = np.random.default_rng(4)
    real, made = rng.integers(-1, 4, (30, 3)), rng.integers(-1, 4, (17, 3))
    labels, own, aimed = (rng.integers(0, CLASSES, many) for many in (30, 17, 17))
    times, often = rng.integers(1, 3, 30), rng.integers(1, 3, 17)

    def sets(first: NDArray[np.int64], second: NDArray[np.int64]) -> dict[str, Pictures]:
        rows, others = np.arange(30).repeat(first), np.arange(17).repeat(second)
        values, theirs = real[rows].astype(np.float32), made[others].astype(np.float32)
        concepts = labels[rows] % 2
        return {
            "real": Pictures(values, labels[rows], concepts),
            "noisy": Pictures(-values, labels[rows], concepts),
            "adversarial": Pictures(theirs, own[others], own[others] % 2, aimed[others]),
        }

    def measured(given: dict[str, Pictures], draws: list[Times]) -> OfUnits:
        return of_units(given, np.eye(CLASSES), 2, 5, False, draws, lambda share: None)

    once = sets(np.ones(30, dtype=int), np.ones(17, dtype=int))
    drawn, slow = measured(once, [(times, often)]), measured(sets(times, often), [])
    for name in ("level", "level_adversarial", "cs1", "cs2"):
        np.testing.assert_allclose(drawn.drawn[name][0], slow.numbers[name], atol=1e-6)
    named = slow.labels["real"] >= 0
    for kind in ("noisy", "adversarial"):
        changed = (slow.labels["real"] != slow.labels[kind])[named].sum()
        assert drawn.changed[kind].tolist() == [[named.sum(), changed]]


def test_an_interval_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    again = np.array([
        (values * times).sum() / times.sum()
        for times, _ in resampled(np.arange(400), np.array([], dtype=np.int64), 400, 1)
    ])  # fmt: skip
    found = with_interval(float(values.mean()), again, 400)
    assert found.interval is not None
    width = (found.interval[1] - found.interval[0]) / 2
    assert width == pytest.approx(1.96 * values.std() / 20, rel=0.12)
    bounded = with_interval(0.995, 0.995 + 0.1 * again, 400, bounds=(0.0, 1.0))
    assert bounded.interval is not None
    assert bounded.interval[1] == 1.0
