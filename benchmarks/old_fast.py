"""The plan ``fast`` as it was until November 2026, for comparison.

Auto-PGD and Square, each short for every sample, and then longer for samples whose margin had
shrunk to a share of their clean one by searches of its kind.
"""

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.registry import attack
from fluoroscope.engine.threats import Threat
from fluoroscope.evaluation.plan import Plan, Stage, autoattack


def old_fast(threat: Threat) -> Plan:
    """The stages as they were."""

    def made(name: str, **parameters: int) -> Method:
        return attack(name, eps=threat.eps, norm=threat.name, **parameters)

    restarts, targets = autoattack(threat)
    l1 = threat.name == "l1"
    fab = (Stage("fab-t", made("fab-t", steps=100, targets=9)),) if l1 else ()
    short, square = ("apgd-ce", "apgd-t"), ("square",)
    return Plan(
        "old-fast",
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
