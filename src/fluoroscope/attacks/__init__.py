"""Attacks: each a file of its mathematics on the engine's one loop; names in :mod:`.registry`."""

from fluoroscope.attacks.apgd import APGD, APGDT
from fluoroscope.attacks.carlini_wagner import CarliniWagner
from fluoroscope.attacks.ddn import DDN
from fluoroscope.attacks.deepfool import DeepFool
from fluoroscope.attacks.fab import FAB, TargetedFAB
from fluoroscope.attacks.gradient_sign import BIM, FGSM, PGD, RFGSM
from fluoroscope.attacks.square import Square

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
    "Square",
    "TargetedFAB",
]
