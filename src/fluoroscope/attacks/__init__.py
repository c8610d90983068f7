"""Attacks: each a file of its mathematics on the engine's one loop; names in :mod:`.registry`."""

from fluoroscope.attacks.gradient.apgd import APGD, APGDT
from fluoroscope.attacks.gradient.feature_adversary import FeatureAdversary
from fluoroscope.attacks.gradient.gradient_sign import BIM, FGSM, PGD, RFGSM
from fluoroscope.attacks.minimum_norm.carlini_wagner import CarliniWagner
from fluoroscope.attacks.minimum_norm.ddn import DDN
from fluoroscope.attacks.minimum_norm.deepfool import DeepFool
from fluoroscope.attacks.minimum_norm.fab import FAB, TargetedFAB
from fluoroscope.attacks.score.square import Square
from fluoroscope.attacks.transfer.ghost import GhostFGSM

__all__ = [
    "APGD",
    "APGDT",
    "BIM",
    "DDN",
    "FAB",
    "FGSM",
    "PGD",
    "RFGSM",
    "CarliniWagner",
    "DeepFool",
    "FeatureAdversary",
    "GhostFGSM",
    "Square",
    "TargetedFAB",
]
