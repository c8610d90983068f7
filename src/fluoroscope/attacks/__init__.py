"""Attacks: each a file of its mathematics on the engine's one loop; names in :mod:`.registry`.

Each loads its file on first use.
"""

from typing import TYPE_CHECKING, Any

from fluoroscope.lazy import public

if TYPE_CHECKING:
    from fluoroscope.attacks.decision.boundary import Boundary
    from fluoroscope.attacks.decision.geoda import GeoDA
    from fluoroscope.attacks.decision.hopskipjump import HopSkipJump
    from fluoroscope.attacks.gradient.apgd import APGD, APGDT
    from fluoroscope.attacks.gradient.constraint_relaxation import ConstraintRelaxation
    from fluoroscope.attacks.gradient.feature_adversary import FeatureAdversary
    from fluoroscope.attacks.gradient.gradient_sign import BIM, FGSM, PGD, RFGSM
    from fluoroscope.attacks.latent.border import LatentBorder
    from fluoroscope.attacks.minimum_norm.carlini_wagner import CarliniWagner
    from fluoroscope.attacks.minimum_norm.carlini_wagner_l0 import CarliniWagnerL0
    from fluoroscope.attacks.minimum_norm.carlini_wagner_linf import CarliniWagnerLinf
    from fluoroscope.attacks.minimum_norm.ddn import DDN
    from fluoroscope.attacks.minimum_norm.deepfool import DeepFool
    from fluoroscope.attacks.minimum_norm.ead import EAD
    from fluoroscope.attacks.minimum_norm.fab import FAB, TargetedFAB
    from fluoroscope.attacks.minimum_norm.fmn import FMN
    from fluoroscope.attacks.minimum_norm.lbfgs import LBFGS
    from fluoroscope.attacks.score.finite_differences import NES, SPSA
    from fluoroscope.attacks.score.simba import SimBA
    from fluoroscope.attacks.score.square import Square
    from fluoroscope.attacks.score.zoo import ZOO
    from fluoroscope.attacks.sparse.jsma import JSMA
    from fluoroscope.attacks.sparse.one_pixel import OnePixel
    from fluoroscope.attacks.sparse.sparse_rs import SparseRS
    from fluoroscope.attacks.sparse.sparsefool import SparseFool
    from fluoroscope.attacks.spatial.flow import StAdv
    from fluoroscope.attacks.spatial.rotation_translation import RotationTranslation
    from fluoroscope.attacks.transfer.ensemble_optimisation import EnsembleOptimisation
    from fluoroscope.attacks.transfer.ghost import GhostFGSM
    from fluoroscope.attacks.transfer.momentum import MIFGSM, NIFGSM, VMIFGSM
    from fluoroscope.attacks.transfer.transformed import DIFGSM, SIFGSM, TIFGSM, AdmixFGSM
    from fluoroscope.attacks.universal.patch import Patch
    from fluoroscope.attacks.universal.perturbation import UniversalPerturbation

_HOMES = {
    "Boundary": "decision.boundary",
    "GeoDA": "decision.geoda",
    "HopSkipJump": "decision.hopskipjump",
    "APGD": "gradient.apgd",
    "APGDT": "gradient.apgd",
    "ConstraintRelaxation": "gradient.constraint_relaxation",
    "FeatureAdversary": "gradient.feature_adversary",
    "BIM": "gradient.gradient_sign",
    "FGSM": "gradient.gradient_sign",
    "PGD": "gradient.gradient_sign",
    "RFGSM": "gradient.gradient_sign",
    "LatentBorder": "latent.border",
    "CarliniWagner": "minimum_norm.carlini_wagner",
    "CarliniWagnerL0": "minimum_norm.carlini_wagner_l0",
    "CarliniWagnerLinf": "minimum_norm.carlini_wagner_linf",
    "DDN": "minimum_norm.ddn",
    "DeepFool": "minimum_norm.deepfool",
    "EAD": "minimum_norm.ead",
    "FAB": "minimum_norm.fab",
    "TargetedFAB": "minimum_norm.fab",
    "FMN": "minimum_norm.fmn",
    "LBFGS": "minimum_norm.lbfgs",
    "NES": "score.finite_differences",
    "SPSA": "score.finite_differences",
    "SimBA": "score.simba",
    "Square": "score.square",
    "ZOO": "score.zoo",
    "JSMA": "sparse.jsma",
    "OnePixel": "sparse.one_pixel",
    "SparseRS": "sparse.sparse_rs",
    "SparseFool": "sparse.sparsefool",
    "StAdv": "spatial.flow",
    "RotationTranslation": "spatial.rotation_translation",
    "EnsembleOptimisation": "transfer.ensemble_optimisation",
    "GhostFGSM": "transfer.ghost",
    "MIFGSM": "transfer.momentum",
    "NIFGSM": "transfer.momentum",
    "VMIFGSM": "transfer.momentum",
    "DIFGSM": "transfer.transformed",
    "SIFGSM": "transfer.transformed",
    "TIFGSM": "transfer.transformed",
    "AdmixFGSM": "transfer.transformed",
    "Patch": "universal.patch",
    "UniversalPerturbation": "universal.perturbation",
}

__all__ = [
    "APGD",
    "APGDT",
    "BIM",
    "DDN",
    "DIFGSM",
    "EAD",
    "FAB",
    "FGSM",
    "FMN",
    "JSMA",
    "LBFGS",
    "MIFGSM",
    "NES",
    "NIFGSM",
    "PGD",
    "RFGSM",
    "SIFGSM",
    "SPSA",
    "TIFGSM",
    "VMIFGSM",
    "ZOO",
    "AdmixFGSM",
    "Boundary",
    "CarliniWagner",
    "CarliniWagnerL0",
    "CarliniWagnerLinf",
    "ConstraintRelaxation",
    "DeepFool",
    "EnsembleOptimisation",
    "FeatureAdversary",
    "GeoDA",
    "GhostFGSM",
    "HopSkipJump",
    "LatentBorder",
    "OnePixel",
    "Patch",
    "RotationTranslation",
    "SimBA",
    "SparseFool",
    "SparseRS",
    "Square",
    "StAdv",
    "TargetedFAB",
    "UniversalPerturbation",
]


def __getattr__(name: str) -> Any:
    return public(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)
