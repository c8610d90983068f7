"""The simulation of many GPUs against sums by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A run of machines that neither die nor differ and do nothing but passes, with changes."""
    monkeypatch.chdir(ROOT)
    from benchmarks.scale import Costs, Setting, simulate

    # Two stages; who is fooled is so in the first.
    fooled, surviving = np.array([[[4.0, 3], [0, 0]]]), np.array([[[10.0, 10], [7, 0]]])
    costs = Costs(("one", "two"), fooled, surviving, 8)
    plain = Setting(
        pictures=1000, part=10, gpus=1, forward=0.5, backward=2.0, step=0.0, clean=0.8, robust=0.5,
        start=0.0, decode=0.0, write=0.0, mean_life=np.inf, spread=0.0, slow=0.0,
    )  # fmt: skip
    return lambda seed=0, **changes: simulate(replace(plain, **changes), costs, seed)


def test_passes_and_hours_on_one(simulated: Callable[..., Any]) -> None:
    run = simulated()
    # Each picture is looked at; f fooled and s surviving ones follow from the two sums of passes.
    fooled, surviving = np.linalg.solve([[4, 17], [3, 10]], [run.forwards - 1000, run.backwards])
    assert fooled == pytest.approx(300, abs=60)
    assert surviving == pytest.approx(500, abs=60)
    assert run.hours == pytest.approx((0.5 * run.forwards + 2 * run.backwards) / 3600)
    assert run.busy == pytest.approx(run.hours)
    assert run.rows == pytest.approx(8 * (1000 + fooled + 2 * surviving))
    assert run.files <= 300
    assert run.read == 1000 * 126e3
    assert run.sent == 102.2e6


def test_many_share_the_work_and_the_last_part_ends_it(simulated: Callable[..., Any]) -> None:
    one, ten, more = (simulated(gpus=gpus) for gpus in (1, 10, 1000))
    assert (one.forwards, one.backwards) == (ten.forwards, ten.backwards)
    assert one.hours / 10 <= ten.hours < one.hours / 10 + more.hours
    assert one.hours / 100 < more.hours  # a hundred parts: the longest is longer than the mean
    assert more.sent == 100 * 102.2e6  # nobody starts without a part


def test_what_is_added_is_added(simulated: Callable[..., Any]) -> None:
    run = simulated()
    assert simulated(start=3600).hours == pytest.approx(run.hours + 1)
    assert simulated(decode=3.6).hours == pytest.approx(run.hours + 1)
    assert simulated(write=3.6).hours == pytest.approx(run.hours + run.files / 1000)
    assert simulated(slow=1.0).hours == pytest.approx(2 * run.hours)
    # The longest search of a part makes 20 and 7 passes one by one, the clean look one.
    assert simulated(step=1e3).hours == pytest.approx(100 * (1 + 20 + 7) / 3.6, rel=0.02)


def test_deaths_cost_their_stage_or_their_part(simulated: Callable[..., Any]) -> None:
    run = simulated(gpus=4)
    kept, anew = (
        [simulated(seed, gpus=4, mean_life=0.3, resumes=resumes) for seed in range(20)]
        for resumes in (True, False)
    )
    assert all(one.deaths for one in kept)
    for one in kept:
        # All the work is done once; what was lost was done besides.
        assert one.forwards == pytest.approx(run.forwards, rel=0.1)
        assert one.sent == (4 + one.deaths) * 102.2e6
        assert one.busy + one.lost == pytest.approx(4 * one.hours, rel=0.15)
    assert sum(one.lost for one in anew) > 1.2 * sum(one.lost for one in kept)


def test_every_figure_says_where_it_is_from(simulated: Callable[..., Any]) -> None:
    from dataclasses import fields

    from benchmarks.scale import Setting, _words

    assert all(len(_words(each.name)) > 10 for each in fields(Setting))
