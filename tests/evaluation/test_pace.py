"""How far an evaluation is follows what it costs, never falls, and says when it will end."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch

import fluoroscope as fs
from fluoroscope.cli.time_left import TimeLeft
from fluoroscope.evaluation import pace
from fluoroscope.evaluation.evaluate import Progress
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.report.phases import Phases


def test_shares_rise_from_nothing_to_all_of_it(tmp_path: Path) -> None:
    for options in ({"part": 8}, {"part": 40}, {"part": 8}):
        told: list[Progress] = []
        runs.run(tmp_path / str(options["part"]), on_progress=told.append, **options)
        shares = [one.done for one in told]
        assert shares == sorted(shares)
        assert 0 <= shares[0] < 0.5
        assert shares[-1] == 1
        assert all(one.left is None or one.left >= 0 for one in told)
    # The last was read from the disk: nothing was searched that time could be told of.
    assert all(one.left is None for one in told)


def test_trust_checks_are_a_part_of_the_work() -> None:
    told: list[Progress] = []
    runs.run(None, on_progress=told.append, trust=True, batch_size=40)
    shares = [one.done for one in told]
    assert shares == sorted(shares)
    first = next(n for n, one in enumerate(told) if one.stage.startswith("trust"))
    assert shares[first - 1] < 0.75 < shares[-1] <= 1


class Clock:
    """A time of our own: each image that is asked about takes so long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now)


def test_the_time_left_is_about_right(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch), list[tuple[float, Progress]]()
    stages = (
        Stage("apgd", fs.attack("apgd", eps=0.1, steps=10)),
        Stage("square", fs.attack("square", eps=0.1, queries=100)),
    )

    def watch(progress: Progress) -> None:
        # A step of a gradient costs what three others do.
        clock.now += 0.03 if progress.stage == "apgd" else 0.01
        told.append((clock.now, progress))

    fs.evaluate(
        fs.load_model("digits-robust"), fs.load_images("digits", channels=1).take(40),
        threat="linf:0.1", plan=Plan("two", stages), batch_size=10, on_progress=watch,
    )  # fmt: skip
    whole = clock.now
    errors, shares = [], []
    for now, progress in told:
        if progress.left is not None and 0.1 < now / whole < 0.95:
            errors.append((now + progress.left) / whole)
            shares.append(progress.done - now / whole)
    assert len(errors) > 100
    assert np.quantile(errors, 0.05) > 0.7
    assert np.quantile(errors, 0.95) < 1.4
    assert np.median(np.abs(shares)) < 0.1


def step(numbers: list[int], fooled: list[int], ended: list[int]) -> Any:
    rows = torch.arange(len(numbers))
    hit = torch.tensor([row in fooled for row in rows.tolist()])
    end = torch.tensor([row in ended for row in rows.tolist()])
    numbers_ = torch.tensor(numbers)
    empty = torch.zeros(len(numbers), 1, 1, 1)
    return fs.engine.stream.Step(
        rows, numbers_, empty, None, hit, hit | end, hit | end, numbers_ + 1, numbers_  # type: ignore[arg-type]
    )  # fmt: skip


def test_survival_is_kaplan_and_meiers() -> None:
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr(pace, "_WEIGHT", 1e-12)
        stage = pace._Stage(Stage("x", fs.attack("pgd", eps=0.1, steps=3)), 3, 0.0, 1.0)
        hits = np.array([True, False, False, False])
        stage.see(np.array([0, 0, 0, 0]), hits, ended=False)
        stage.see(np.array([1, 1, 1]), np.array([True, False, False]), ended=False)
        stage.see(np.array([2, 2]), np.array([False, False]), ended=True)
        assert stage.survival() == pytest.approx([1, 3 / 4, 3 / 4 * 2 / 3, 1 / 2])


def test_what_is_shown_runs_down_and_does_not_jump() -> None:
    clock, shown = TimeLeft(), list[float]()
    for tick in range(1, 1000):
        now = clock._began + 0.1 * tick
        # An estimate that is off by a factor of two now and then.
        left = max(0.0, 100 - 0.1 * tick) * (2.0 if tick // 20 % 4 == 3 else 1.0)
        text = clock.at(now, tick / 1000, left)
        if text:
            minutes, seconds = text.removesuffix(" left").split(":")
            shown.append(60 * int(minutes) + int(seconds))
    assert min(shown) >= 0
    ratios = [(b + 5) / (a + 5) for a, b in pairwise(shown)]
    assert max(ratios) < 1.1
    assert min(ratios) > 0.85
    assert shown[-1] <= 12


def test_without_an_estimate_the_share_tells() -> None:
    clock = TimeLeft()
    start = time.monotonic()
    assert clock.at(start, 0.5) == ""  # what is there already took no time
    assert clock.at(start + 1, 0.6) == ""
    assert clock.at(start + 10, 0.75) == "00:10 left"
    assert clock.at(start + 10, 2.0) == "00:10 left"


def test_a_report_has_one_share_over_all_sections() -> None:
    phases = Phases(["verdict", "map", "pictures"])
    told = [
        phases.at(phase, share)
        for phase, share in (
            ("read", 0.0), ("read", 1.0), ("attack", 0.2), ("attack", 0.9), ("attack", 0.5),
            ("trust", 0.5), ("corruptions", 0.5), ("draw", 0.0), ("map", 0.5), ("map", 1.0),
        )
    ]  # fmt: skip
    assert told == sorted(told)
    assert told[0] == 0
    assert told[-1] == pytest.approx(1)
    assert 0.2 < told[3] < 0.8
