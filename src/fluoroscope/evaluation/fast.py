"""The plan ``fast``: the verdict of AutoAttack's standard plan for a fraction of its passes.

In ``standard`` a sample that holds costs 8,800 passes, whether its label's lead over the strongest
other class (the margin) nearly vanished or hardly moved. Here the passes follow the margin:

* Short searches come first, and every sample goes through them: Auto-PGD on the cross-entropy, and
  towards the three classes whose borders are nearest in the linearised network, which catch what
  nine catch (MALT: Melamed, Yehudai and Vardi 2024, 2407.02240).
* Then a short Square, still for everyone. It reads no gradient, so it also moves the margin where
  the gradients say nothing, and no sample is given up for a fault of its gradients alone.
* From there on each stage is longer than the last and open to fewer: to samples whose smallest
  margin, at any allowed image seen so far, is no larger than a share of their clean one. Linearly
  continued, a sample with the share ``h`` left has its border at ``1 / (1 - h)`` times the bound:
  the long searches are for those whose border is at most a third, or a seventh, beyond it. This is
  successive halving (Jamieson and Talwalkar 2016, 1502.07943) with the sample's own clean margin as
  the yardstick, where adaptive AutoAttack (Liu and others 2022, 2203.05154) ranks the samples of a
  data set against each other; so a sample's fate hangs on its own history alone.
* FAB is left out: it looks for the closest success, which a verdict at one bound does not ask for.

The shares (1/3, 1/4, 1/8) were set after a look at one case, ``digits-robust`` at Linf 0.31, just
beyond the bound it was trained for, where it begins to give way. Of 397 digits ``standard`` fooled
125 by Auto-PGD on the cross-entropy and 22 later. All of these had at most 0.27 of their margin
left after the short round, and 21 of them at most 0.11 after the long Auto-PGD. The shares hang on
no network's scale: a margin is compared with the same sample's own.
"""

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.registry import attack
from fluoroscope.engine.threats import Threat
from fluoroscope.evaluation.plan import Plan, Stage


def fast(threat: Threat) -> Plan:
    """Short searches for all samples, long ones for those whose margin has nearly gone."""

    def made(name: str, **parameters: int) -> Method:
        return attack(name, eps=threat.eps, norm=threat.name, **parameters)

    return Plan(
        "fast",
        (
            Stage("apgd-ce", made("apgd", steps=20)),
            Stage("apgd-t", made("apgd-t", steps=20, targets=3, candidates=9)),
            Stage("square", made("square", queries=500)),
            Stage("apgd-ce-long", made("apgd", steps=100), hopeful=1 / 3),
            Stage("apgd-t-long", made("apgd-t", steps=100, targets=3, candidates=9), hopeful=1 / 4),
            Stage("square-longer", made("square", queries=1500), hopeful=1 / 4),
            Stage("square-longest", made("square", queries=5000), hopeful=1 / 8),
        ),
    )
