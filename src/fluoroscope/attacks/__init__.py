"""Attacks: each a file of its mathematics on the engine's one loop; names in :mod:`.registry`."""

from fluoroscope.attacks.gradient.apgd import APGD, APGDT
from fluoroscope.attacks.gradient.gradient_sign import BIM, FGSM, PGD, RFGSM
from fluoroscope.attacks.minimum_norm.carlini_wagner import CarliniWagner
from fluoroscope.attacks.minimum_norm.ddn import DDN
from fluoroscope.attacks.minimum_norm.deepfool import DeepFool
from fluoroscope.attacks.minimum_norm.fab import FAB, TargetedFAB
from fluoroscope.attacks.score.square import Square
from fluoroscope.attacks.transfer.momentum import MIFGSM, NIFGSM, VMIFGSM
from fluoroscope.attacks.transfer.transformed import DIFGSM, SIFGSM, TIFGSM, AdmixFGSM

__all__ = [
    "APGD",
    "APGDT",
    "BIM",
    "DDN",
    "DIFGSM",
    "FAB",
    "FGSM",
    "MIFGSM",
    "NIFGSM",
    "PGD",
    "RFGSM",
    "SIFGSM",
    "TIFGSM",
    "VMIFGSM",
    "AdmixFGSM",
    "CarliniWagner",
    "DeepFool",
    "Square",
    "TargetedFAB",
]
