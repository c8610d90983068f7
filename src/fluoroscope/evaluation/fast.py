"""The plan ``fast``: the verdict of AutoAttack's standard plan for a fraction of its passes.

In ``standard`` a sample that survives costs 8,800 passes, whether its label's lead over the
strongest other class (the margin) nearly vanished or hardly moved. Here the passes follow the
margin:

* Short searches come first, and every sample goes through them: Auto-PGD on the cross-entropy, and
  towards the three classes whose borders are nearest in the linearised network (MALT: Melamed,
  Yehudai and Vardi 2024, 2407.02240).
* Then a short Square, still for everyone. It reads no gradient, so it also moves the margin where
  the gradients say nothing.
* From there on each stage is longer than the last of its kind and open to fewer: to samples whose
  smallest margin, at any allowed image that searches of its kind have seen, is no larger than a
  share of their clean one. Linearly continued, a sample with the share ``h`` left has its border at
  ``1 / (1 - h)`` times the bound: the longest Square is for those whose border it puts at most a
  seventh beyond it, the longest Auto-PGD, whose margins are sharper, for a thirtieth. This is
  successive halving (Jamieson and Talwalkar 2016, 1502.07943) with the sample's own clean margin as
  the measure, where adaptive AutoAttack (Liu and others 2022, 2203.05154) ranks the samples of a
  data set against each other; so a sample's fate depends on its own history alone.
* Each kind is judged by itself. Square goes on where Square came near: on a smooth network it never
  does, and there its queries would be wasted on samples that gradients brought near; on one that
  hides its gradients it comes near alone, and goes on alone.
* The last of each kind, and the long Auto-PGD on the cross-entropy, are the stages of ``standard``
  themselves with the same random numbers, so where a sample goes all the way it is fooled if they
  fool it.
* FAB is left out: it looks for the closest success, which a verdict at one bound does not ask for.
  Not in L1, though, where it finds what Auto-PGD does not: of 45 digits that the first two stages
  left of ``digits-robust`` at ``l1:6`` it fooled 16, Auto-PGD towards 5 targets 3, and no search of
  fewer steps came near.

The shares were set after a look at two cases. On ``digits-robust`` at Linf 0.31, just beyond the
bound it was trained for, ``standard`` fooled 125 of 397 digits by Auto-PGD on the cross-entropy and
22 later: the short Square left these at most 0.27 of their margin, the next one all but one of them
at most 0.12. On ``digits-cnn`` at 0.05 Square caught nothing in 5,000 queries where gradients had
failed, which is why each kind is judged by itself, and the two of 200 that the targeted Auto-PGD
caught late had been within a fiftieth. The shares depend on no network's scale: a margin is
compared with the same sample's own.
"""

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.registry import attack
from fluoroscope.engine.threats import Threat
from fluoroscope.evaluation.plan import Plan, Stage, autoattack


def fast(threat: Threat) -> Plan:
    """Short searches for all samples, long ones for those whose margin has nearly gone."""

    def made(name: str, **parameters: int) -> Method:
        return attack(name, eps=threat.eps, norm=threat.name, **parameters)

    restarts, targets = autoattack(threat)
    l1 = threat.name == "l1"
    fab = (Stage("fab-t", made("fab-t", steps=100, targets=9)),) if l1 else ()
    short, square = ("apgd-ce", "apgd-t"), ("square",)
    return Plan(
        "fast",
        (
            Stage("apgd-ce", made("apgd", steps=20)),
            Stage("apgd-t", made("apgd-t", steps=20, targets=3, candidates=9)),
            Stage("square", made("square", queries=500)),
            Stage(
                "apgd-ce-long", made("apgd", steps=100), restarts=restarts,
                hopeful=1 / 3, judged_by=short,
            ),
            Stage(
                "apgd-t-long", made("apgd-t", steps=100, targets=3, candidates=9),
                hopeful=1 / 5, judged_by=(*short, "apgd-ce-long"),
            ),
            Stage(
                "apgd-t-longest", made("apgd-t", steps=100, targets=targets),
                hopeful=1 / 32, judged_by=(*short, "apgd-ce-long", "apgd-t-long"),
            ),
            Stage("square-longer", made("square", queries=1500), hopeful=1 / 3, judged_by=square),
            Stage(
                "square-longest", made("square", queries=5000),
                hopeful=1 / 8, judged_by=(*square, "square-longer"),
            ),
            *fab,
        ),
    )  # fmt: skip
