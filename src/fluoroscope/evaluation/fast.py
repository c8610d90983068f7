"""The plan ``fast``: the verdict of AutoAttack's standard plan for a twentieth of its passes.

In ``standard`` a sample that survives costs 8,800 passes, whether its label's lead over the
strongest other class (the margin) nearly vanished or hardly moved. Here short searches see every
sample, and what they say of it decides how the search goes on:

* Constraint relaxation towards three classes. It gives a class up as soon as its margin is too
  large for the search that is left, so it is short where the border is far and long where it is
  close. As it follows the difference of two logits, whose slope hangs on no scale, it sees where a
  cross-entropy is saturated. What it left with a tenth of the margin it searches anew from another
  start, for what it misses lies there.
* Where the gradient of the clean image was exactly zero at a quarter of the pixel values, as behind
  a first layer that is a threshold, gradients lead near the border and not over it. There, what
  constraint relaxation brought down to a half sees 300 queries of Square, which reads no gradient;
  1,500 where these left a quarter, or less than gradients had and a half; and 5,000 where an eighth
  is left. What it brought down to 0.15 sees 100 steps of Auto-PGD on the cross-entropy, too.
* Every sample sees Square with 50 queries. So few come nowhere near what a gradient does that leads
  anywhere. Where what they left is not 2.5 times as much it tries again, with 100; and where that
  came nearer, the gradient misleads on this sample and Square goes on: with 500 queries, and with
  the 5,000 of ``standard`` where these left no more than a third of the clean margin.
* Where that gradient promised, if the network were linear, to use the margin up four times over
  within the bound, and the sample survives, it is the gradient of a ripple, and Square has 5,000
  queries.

All that is compared are shares of the sample's own clean margin: no threshold hangs on a network's
scale, and a sample's fate on nothing but its own history. Adaptive AutoAttack (Liu and others 2022,
2203.05154) ranks the samples of a data set against each other instead; rounds that grow while their
field shrinks are successive halving (Jamieson and Talwalkar 2016, 1502.07943).

In L1, where there is no constraint relaxation, the rounds are Auto-PGD's and Square's, each judged
by its own kind, and FAB comes last, for it finds there what Auto-PGD does not: of 45 digits that
the first two stages left of ``digits-robust`` at ``l1:6`` it fooled 16, Auto-PGD towards 5 targets
3, and no search of fewer steps came near.

The thresholds were chosen on networks and pictures that the benchmarks do not report on.
"""

from typing import Any

from fluoroscope.engine.threats import Threat
from fluoroscope.evaluation.plan import Plan, Stage, autoattack, made

FLAT = 1 / 4
"""From this share of pixel values without slope on, gradients are not trusted alone."""
STEEP = 4
"""Nor where the first one promised so many times over to use up the margin within the bound."""


def fast(threat: Threat) -> Plan:
    """Short searches for all samples, longer ones where these say that it may pay."""
    if threat.name == "l1":
        return _in_l1(threat)
    probes = ("square", "square-again")
    misled = (*probes, "square-misled")
    relaxed, flat = ("cr", "cr-again"), ("square-flat",)

    def square(name: str, queries: int, **chooses: Any) -> Stage:
        return Stage(name, made("square", threat, queries=queries), **chooses)

    return Plan(
        "fast",
        (
            Stage("cr", made("cr", threat, repeats=1)),
            Stage("cr-again", made("cr", threat, repeats=0), seed=1, hopeful=1 / 10),
            Stage(
                "apgd-flat", made("apgd", threat, steps=100),
                flat=FLAT, hopeful=0.15, judged_by=relaxed,
            ),
            square("square-flat", 300, flat=FLAT, hopeful=1 / 2, judged_by=relaxed),
            square("square-flat-long", 1500, flat=FLAT, hopeful=1 / 4, judged_by=flat),
            # Nearer than the stage above as well, which passes over whom that one searched.
            square(
                "square-flat-nearer", 1500, flat=FLAT, nearer=flat, hopeful=1 / 2, judged_by=flat
            ),
            square(
                "square-flat-last", 5000, flat=FLAT, hopeful=1 / 8,
                judged_by=(*flat, "square-flat-long", "square-flat-nearer"),
            ),
            square("square", 50),
            square("square-again", 100, nearer=("square",), nearly=2.5),
            square("square-misled", 500, nearer=probes, hopeful=4 / 5, judged_by=probes),
            square("square-misled-long", 5000, nearer=misled, hopeful=1 / 3, judged_by=misled),
            square("square-steep", 5000, steep=STEEP),
        ),
    )  # fmt: skip


def _in_l1(threat: Threat) -> Plan:
    restarts, targets = autoattack(threat)
    few = {"steps": 20, "targets": 3, "candidates": 9}
    short, square = ("apgd-ce", "apgd-t"), ("square",)
    return Plan(
        "fast",
        (
            Stage("apgd-ce", made("apgd", threat, steps=20)),
            Stage("apgd-t", made("apgd-t", threat, **few)),
            Stage("square", made("square", threat, queries=500)),
            Stage(
                "apgd-ce-long", made("apgd", threat, steps=100), restarts=restarts,
                hopeful=1 / 3, judged_by=short,
            ),
            Stage(
                "apgd-t-long", made("apgd-t", threat, **{**few, "steps": 100}),
                hopeful=1 / 5, judged_by=(*short, "apgd-ce-long"),
            ),
            Stage(
                "apgd-t-longest", made("apgd-t", threat, steps=100, targets=targets),
                hopeful=1 / 32, judged_by=(*short, "apgd-ce-long", "apgd-t-long"),
            ),
            Stage(
                "square-longer", made("square", threat, queries=1500),
                hopeful=1 / 3, judged_by=square,
            ),
            Stage(
                "square-longest", made("square", threat, queries=5000),
                hopeful=1 / 8, judged_by=(*square, "square-longer"),
            ),
            Stage("fab-t", made("fab-t", threat, steps=100, targets=9)),
        ),
    )  # fmt: skip
