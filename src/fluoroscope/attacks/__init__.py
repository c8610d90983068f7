"""Attacks: each a file of its mathematics on the engine's one loop; names in :mod:`.registry`."""

from fluoroscope.attacks.gradient.apgd import APGD, APGDT
from fluoroscope.attacks.gradient.gradient_sign import BIM, FGSM, PGD, RFGSM
from fluoroscope.attacks.minimum_norm.carlini_wagner import CarliniWagner
from fluoroscope.attacks.minimum_norm.ddn import DDN
from fluoroscope.attacks.minimum_norm.deepfool import DeepFool
from fluoroscope.attacks.minimum_norm.fab import FAB, TargetedFAB
from fluoroscope.attacks.score.square import Square
from fluoroscope.attacks.spatial.flow import StAdv
from fluoroscope.attacks.spatial.rotation_translation import RotationTranslation
from fluoroscope.attacks.universal.patch import Patch
from fluoroscope.attacks.universal.perturbation import UniversalPerturbation

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
    "Patch",
    "RotationTranslation",
    "Square",
    "StAdv",
    "TargetedFAB",
    "UniversalPerturbation",
]
