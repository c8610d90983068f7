"""How much of an evaluation lies behind, and how long the rest will take: by cost, not by counting.

A stage costs what its samples spend in it: few steps where they are fooled, all of them where they
survive. So the share that survives so many steps is estimated from the steps seen (Kaplan and
Meier 1958), with a guess that counts like a few samples where nothing was seen yet; and from it
what those under way, those that wait, the stages behind this one and the parts not yet begun will
cost. What a step costs in seconds is measured, stage by stage, and before that guessed from others.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.parts import search_length
from fluoroscope.engine.stream import Step
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.evaluation.rows import CLEAN
from fluoroscope.evaluation.verdict import history

# The guess: at step n a share _FIRST/n of those left is fooled by the first stage, _LATER/n by the
# others, which attack what survived it; it counts like so many samples.
_FIRST, _LATER, _WEIGHT = 0.3, 0.02, 3.0
# Of those left, who a stage that chooses its samples takes.
_CHOSEN = 0.5
# A pass back costs about as much as so many forward: it goes to the image alone, not to weights.
_BACK = 1.0
# Seconds between two estimates, and how far the share may move from one to the next.
_EVERY, _FARTHEST = 0.1, 0.03


@dataclass
class _Stage:
    """What was seen of a stage, in all parts."""

    stage: Stage
    length: int
    guess: float
    weight: float
    """What a step costs, in forward passes, as a guess."""
    fooled: NDArray[np.float64] = field(init=False)
    """By step, how many were fooled at it."""
    asked: NDArray[np.float64] = field(init=False)
    """By step, how many came to it."""
    given: int = 0
    """Samples of finished stages, and of how many that were left."""
    among: int = 0
    tried: int = 0
    """Samples that it began with, and that it fooled; for searches that do not stop at that."""
    won: int = 0
    evaluations: float = 0.0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.fooled, self.asked = np.zeros(self.length), np.zeros(self.length)

    def see(self, numbers: NDArray[np.int64], fooled: NDArray[np.bool_], ended: bool) -> None:
        """Samples at these steps, who of them was fooled; whether one came to its own end."""
        last = int(numbers.max()) + 1
        if last > len(self.asked):
            self.asked, self.fooled = (
                np.pad(each, (0, last - len(each))) for each in (self.asked, self.fooled)
            )
        if last > self.length or (ended and self.stage.restarts == 1):
            self.length = last
        np.add.at(self.asked, numbers, 1.0)
        np.add.at(self.fooled, numbers[fooled], 1.0)

    def survival(self) -> NDArray[np.float64]:
        """The share that is left before each step, and after the last: ``(length + 1,)``."""
        steps = np.arange(1, self.length + 1)
        hazard = (self.fooled[: self.length] + _WEIGHT * self.guess / steps) / (
            self.asked[: self.length] + _WEIGHT
        )
        left = np.cumprod(np.concatenate([[1.0], 1 - np.minimum(hazard, 1.0)]))
        if self.stage.keep != "first":  # nobody stops early
            left[: self.length] = 1.0
            left[self.length] = (self.tried - self.won + _WEIGHT / 2) / (self.tried + _WEIGHT)
        return left

    @property
    def chosen(self) -> float:
        """Who of those left it takes, as a share."""
        if self.among:
            return self.given / self.among
        one = self.stage
        picky = one.hopeful < 1 or one.near < np.inf or one.flat > 0 or one.steep > 0 or one.nearer
        return _CHOSEN if picky else 1.0


class Pace:
    """Watches an evaluation's steps and rows.

    Args:
        plan: its plan.
        total: samples of the data set.
    """

    def __init__(self, plan: Plan, total: int) -> None:
        self._plan, self._total = plan, total
        self._seen = {
            stage.name: _Stage(
                stage,
                search_length(stage.attack),
                _LATER if number else _FIRST,
                _weight(stage.attack),
            )
            for number, stage in enumerate(plan.stages)
        }
        self._parts = 0
        """Samples of parts that are behind."""
        self._spent = self._share = 0.0
        self._fresh = False
        self._begun = self._now = time.monotonic()
        self._estimated = -_EVERY
        self.left: float | None = None
        """Seconds, as far as can be foreseen."""
        self._count = self._right = self._holding = 0
        self._present: _Stage | None = None
        self._given = 0
        self._waiting = self._fooled = self._survived = 0.0
        self._under_way = np.zeros(0, dtype=np.int64)
        self._before, self._reached = (0, 0), set[int]()

    @property
    def share(self) -> float:
        """Of the work, what lies behind; it never falls."""
        return self._share

    def part(self, count: int, clean: pa.Table) -> None:
        """A part of so many samples is begun, and was looked at clean."""
        self._parts += self._count
        self._count = count
        self._right = self._holding = int(pc.sum(pc.invert(clean["success"])).as_py() or 0)
        self._present = None
        self._spend(float(pc.sum(clean["seconds"]).as_py() or 0))
        self._estimate([])

    def begin(self, stage: str, tables: Sequence[pa.Table]) -> None:
        """A stage begins, after those of these tables."""
        self._present = self._seen[stage]
        self._given = int(self._present.stage.chooses(history([*tables])).sum())
        self._waiting, self._under_way = float(self._given), np.zeros(0, dtype=np.int64)
        self._fooled = self._survived = 0.0
        self._before, self._reached = (self._present.tried, self._present.won), set[int]()

    def take_up(self, seconds: float, share: float) -> None:
        """The stage that was begun is gone on with: after so many seconds of it, and with this
        share of all work behind."""
        self._spent += seconds
        self._share = max(self._share, min(share, 1.0))
        self._now = time.monotonic()

    def step(self, step: Step) -> None:
        """A step of the stage that was begun."""
        assert self._present is not None
        crowd = len(step.indices)
        step = step.ends()
        indices, numbers, done, reached = (
            torch.stack([step.indices, step.numbers, step.done.long(), step.reached.long()])
            .cpu().numpy()
        )  # fmt: skip
        stops = self._present.stage.keep == "first"
        fooled = reached.astype(bool) & stops
        survived = float((done.astype(bool) & ~fooled).sum())
        self._present.see(numbers, fooled, survived > 0)
        self._survived, self._fooled = self._survived + survived, self._fooled + fooled.sum()
        if not stops:
            self._reached.update(indices[reached == 1].tolist())
            self._present.tried = max(self._present.tried, self._before[0] + int(indices.max()) + 1)
            self._present.won = self._before[1] + len(self._reached)
        self._present.evaluations += crowd
        now = time.monotonic()
        self._spend(now - self._now, self._present)
        # Samples are begun in their order.
        self._waiting = max(0.0, min(self._waiting, self._given - 1.0 - indices.max()))
        self._under_way = numbers[done == 0] + 1
        self._fresh = True
        if now - self._estimated >= _EVERY:
            self._estimate(None)

    def end(self, stage: str, tables: Sequence[pa.Table]) -> None:
        """A stage ended; its rows are the last of the tables."""
        seen, table = self._seen[stage], tables[-1]
        past = history([*tables[:-1]])
        left = past.surviving(seen.stage.attack.threat).sum() if not seen.stage.everyone else len(
            past.distance
        )  # fmt: skip
        seen.given, seen.among = seen.given + len(table), seen.among + int(left)
        if not len(self._under_way) and self._waiting == self._given:  # read, not searched
            seconds = float(pc.sum(table["seconds"]).as_py() or 0)
            seen.evaluations += float(pc.sum(table["forwards"]).as_py() or 0)
            self._spend(seconds, seen)
        seen.tried = self._before[0] + len(table)
        seen.won = self._before[1] + int(pc.sum(table["success"]).as_py() or 0)
        self._now = time.monotonic()
        self._holding = int(history([*tables]).surviving(self._plan.stages[-1].attack.threat).sum())
        self._present = None
        self._estimate(tables)

    def _spend(self, seconds: float, stage: _Stage | None = None) -> None:
        self._now = time.monotonic()
        self._spent += seconds
        if stage is not None:
            stage.seconds += seconds

    def _estimate(self, tables: Sequence[pa.Table] | None) -> None:
        """What is left, after these tables of the part or in the middle of its present stage."""
        self._estimated = time.monotonic()
        left, after = 0.0, float(self._holding)
        if self._present is not None:
            evaluations, after_it = self._rest(self._present)
            left += evaluations * self._speed(self._present)
            after = max(0.0, self._holding - self._given + after_it)
        left += self._later(after, tables)
        behind = self._parts + self._count
        if behind:
            # The parts to come cost what those so far did, and this one will.
            left += (self._total - behind) * (self._spent + left) / behind
        self.left = left if self._fresh else None
        whole = self._spent + left
        share = self._spent / whole if whole > 0 and left > 0 else 1.0
        if self._fresh and left > 0:  # what turns out otherwise a moment later is not shown
            share = min(share, self._share + _FARTHEST)
        self._share = max(self._share, share)

    def _rest(self, stage: _Stage) -> tuple[float, float]:
        """Evaluations that the present stage has left, and how many will have survived it."""
        survival = stage.survival()
        # From each step on: evaluations to come of one that came so far.
        to_come = np.concatenate([np.cumsum(survival[:-1][::-1])[::-1], [0.0]])
        at = np.minimum(self._under_way, stage.length)
        under_way = float((to_come[at] / survival[at]).sum()) if len(at) else 0.0
        many = stage.stage.restarts
        evaluations = under_way + self._waiting * many * float(to_come[0])
        survives = float((survival[-1] / survival[at]).sum()) if len(at) else 0.0
        # Of a search that was taken up again, nobody here saw who had ended before.
        unseen = self._given - self._waiting - len(at) - self._fooled - self._survived
        unknown = (max(0.0, unseen) + self._waiting) * float(survival[-1])
        return evaluations, self._survived + survives + unknown

    def _later(self, left: float, tables: Sequence[pa.Table] | None) -> float:
        """Seconds of the part's stages after the present one, where so many are left then."""
        names = [*self._seen]
        if self._present is not None:
            first = names.index(self._present.stage.name) + 1
        else:
            done = {str(table["attack"][0]) for table in tables or () if len(table)}
            first = max((names.index(name) + 1 for name in done if name != CLEAN), default=0)
        exact = history([*tables]) if tables and tables[0] is not None else None
        seconds = 0.0
        for name in names[first:]:
            stage = self._seen[name]
            if stage.stage.everyone:
                given = float(self._right)
            elif exact is not None:
                given = float(stage.stage.chooses(exact).sum())
            else:
                given = left * stage.chosen
            survival = stage.survival()
            each = stage.stage.restarts * float(survival[:-1].sum())
            seconds += given * each * self._speed(stage)
            left -= given * (1 - float(survival[-1]))
            if given:
                exact = None  # from here on nobody knows
        return seconds

    def _speed(self, stage: _Stage) -> float:
        """Seconds of an evaluation in a stage."""
        if stage.evaluations >= 1 and stage.seconds > 0:
            return stage.seconds / stage.evaluations
        seen = [one for one in self._seen.values() if one.evaluations]
        work = sum(one.evaluations * one.weight for one in seen)
        seconds = sum(one.seconds for one in seen)
        return stage.weight * (seconds / work if work and seconds else 1e-4)


def _weight(attack: Method) -> float:
    """What a step of it costs, in forward passes, as its class says in words."""
    back = re.search(r"(\d+) backward", attack.cost)
    # Where several are wanted at once, one pass through the graph gives more than one.
    return 1.0 + _BACK * min(int(back[1]), 3) if back else 1.0
