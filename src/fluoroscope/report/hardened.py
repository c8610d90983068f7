"""Whether a network looks as if it was trained against attacks: what it is told depends on it."""

from math import isfinite
from typing import Literal

from fluoroscope.engine.threats import Linf, usual_threat
from fluoroscope.evaluation.curve import Curve
from fluoroscope.report.references import Reference
from fluoroscope.report.study import Study

Training = Literal["clean", "hardened", "unknown"]

# The median smallest change in those of an undefended network of the same kind: within so many
# times it a network is like that one, beyond so many it is not.
_LIKE, _UNLIKE = 2.0, 3.0
# Without such a network: the share of its clean accuracy that is left at a quarter of the bound
# that the field uses. An undefended one keeps less (0.39 of it the small one on CIFAR-10, hardly
# anything those on ImageNet), a hardened one nearly all (0.87).
_KEPT, _LOST = 2 / 3, 1 / 2
# Those numbers are of networks with so many classes or more. Between fewer there is more room: what
# stands much there need not have been hardened.
_CLASSES = 10


def training_of(study: Study, found: Curve, others: tuple[Reference, ...]) -> Training:
    """Whether its smallest changes are those of a network trained on clean pictures alone.

    Where the trust checks speak against the curve it may be easier to fool than it looks, and so
    nothing is said.
    """
    trust = (study.data.get("verdict") or {}).get("trust", ())
    if any(check["status"] == "fail" for check in trust) or not found.right:
        return "unknown"
    classes = study.model.num_classes
    clean = [
        one.median
        for one in others
        if not one.hardened and isfinite(one.median) and one.as_many(classes)
    ]
    if clean:
        if found.median <= _LIKE * max(clean):
            return "clean"
        return "hardened" if found.median >= _UNLIKE * max(clean) else "unknown"
    usual = usual_threat(study.model, study.images)
    if found.norm != Linf.name:
        return "unknown"
    kept = found.at(float(usual.eps) / 4).accuracy / found.at(0.0).accuracy
    if kept >= _KEPT and classes >= _CLASSES:
        return "hardened"
    return "clean" if kept <= _LOST else "unknown"
