"""Attacks: each a file of its mathematics on the engine's one loop; names in :mod:`.registry`."""

from fluoroscope.attacks.gradient.apgd import APGD, APGDT
from fluoroscope.attacks.gradient.gradient_sign import BIM, FGSM, PGD, RFGSM
from fluoroscope.attacks.minimum_norm.carlini_wagner import CarliniWagner
from fluoroscope.attacks.minimum_norm.carlini_wagner_l0 import CarliniWagnerL0
from fluoroscope.attacks.minimum_norm.carlini_wagner_linf import CarliniWagnerLinf
from fluoroscope.attacks.minimum_norm.ddn import DDN
from fluoroscope.attacks.minimum_norm.deepfool import DeepFool
from fluoroscope.attacks.minimum_norm.ead import EAD
from fluoroscope.attacks.minimum_norm.fab import FAB, TargetedFAB
from fluoroscope.attacks.minimum_norm.lbfgs import LBFGS
from fluoroscope.attacks.score.square import Square

__all__ = [
    "APGD",
    "APGDT",
    "BIM",
    "DDN",
    "EAD",
    "FAB",
    "FGSM",
    "LBFGS",
    "PGD",
    "RFGSM",
    "CarliniWagner",
    "CarliniWagnerL0",
    "CarliniWagnerLinf",
    "DeepFool",
    "Square",
    "TargetedFAB",
]
