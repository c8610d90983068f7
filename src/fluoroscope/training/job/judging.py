"""How a network that was trained against attacks fares under them."""

import math
from typing import Any

from torch import Tensor

from fluoroscope.attacks.gradient.apgd import APGD
from fluoroscope.attacks.gradient.gradient_sign import FGSM, PGD, FixedStep
from fluoroscope.engine.threats import Threat
from fluoroscope.models.classifier import Classifier
from fluoroscope.training.job.shares import share_of_each
from fluoroscope.training.losses.adversarial import AdversarialLoss, Search
from fluoroscope.training.losses.attacked import AttackLoss
from fluoroscope.training.losses.mart import MARTLoss
from fluoroscope.training.losses.multi_norm import MultiNormLoss

# At most so many of the test pictures, a like share of every class, are attacked at the end.
TEST_ATTACKED = 1000
OF_MART = (
    "MART shapes the cross-entropy that FGSM and PGD follow, which flatters it: an attack on the "
    "difference of logits may find more; judge it by a plan of several losses"
)


def can_judge(threat: Threat) -> bool:
    """Whether FGSM and PGD search within it."""
    return threat.name in FixedStep.norms and float(threat.eps) < math.inf


def resists(
    model: Classifier, images: Tensor, labels: Tensor, attack: Search, restarts: int = 1
) -> int:
    """How many of the 8-bit images are classified correctly, and still are after the attack."""
    pixels = (images / 255).to(model.device, model.dtype)
    result = attack(model, pixels, labels, keep="first", restarts=restarts)
    return int((~result.success).sum())


def under_attack(
    model: Classifier,
    test: tuple[Tensor, Tensor],
    moved_by: AdversarialLoss | AttackLoss | MultiNormLoss,
    seed: int,
) -> dict[str, Any]:
    """How the pictures of the training were moved, and how the network fares under attack."""
    images, labels = test
    if len(labels) > TEST_ATTACKED:
        chosen = share_of_each(labels, TEST_ATTACKED, seed)
        images, labels = images[chosen], labels[chosen]
    judged = []
    for attack, steps, restarts in _judges(moved_by):
        right = resists(model, images, labels, attack, restarts)
        judged.append(
            {
                "attack": type(attack).__name__,
                **(_ball(attack.threat) if isinstance(moved_by, MultiNormLoss) else {}),
                **({"loss": attack.loss} if isinstance(attack, APGD) else {}),
                "steps": steps,
                "restarts": restarts,
                "pictures": len(images),
                "right": right,
                "accuracy": right / len(images),
            }
        )
    note = {"note": OF_MART} if isinstance(moved_by, MARTLoss) else {}
    return {**moved_by.describe(), "test": judged, **note}


def _ball(threat: Threat) -> dict[str, Any]:
    return {"norm": threat.name, "eps": float(threat.eps)}


def _judges(
    moved_by: AdversarialLoss | AttackLoss | MultiNormLoss,
) -> list[tuple[Search, int, int]]:
    """Attacks, their steps and restarts: of one ball a weak one and a strong one, and another loss
    where theirs flatters; of several balls the same in each.
    """
    if isinstance(moved_by, MultiNormLoss):
        return [(APGD(threat=threat, steps=100), 100, 1) for threat in moved_by.threats]
    threat = moved_by.threat
    usual: list[tuple[Search, int, int]] = [
        (FGSM(threat=threat), 1, 1),
        (PGD(threat=threat, steps=100), 100, 10),
    ]
    if isinstance(moved_by, MARTLoss):
        usual.append((APGD(threat=threat, steps=100, loss="dlr"), 100, 1))
    return usual
