"""What a network believes a class looks like: portraits, generators, and what they are worth."""

from typing import TYPE_CHECKING, Any

from fluoroscope.lazy import public

if TYPE_CHECKING:
    from fluoroscope.inversion.data_prior import DataPrior
    from fluoroscope.inversion.exclusion.detection import Detection, detection
    from fluoroscope.inversion.exclusion.exclude import ExclusionRecipe, exclude, exclude_stream
    from fluoroscope.inversion.exclusion.uncertainty import uncertainty
    from fluoroscope.inversion.generator.adversarial import Unrestricted, unrestricted
    from fluoroscope.inversion.generator.certificate import Certificate, Judges
    from fluoroscope.inversion.generator.counterfeit_result import Counterfeits
    from fluoroscope.inversion.generator.counterfeits import counterfeits
    from fluoroscope.inversion.generator.leakage import Leakage, leakage
    from fluoroscope.inversion.generator.perturbing import (
        GeneratedPerturbation,
        fit_perturbation,
    )
    from fluoroscope.inversion.measures.assess import assess
    from fluoroscope.inversion.measures.result import Assessment
    from fluoroscope.inversion.portraits.preflight import Preflight, preflight
    from fluoroscope.inversion.prior_fitting import fit_prior

_HOMES = {
    "Assessment": "measures.result",
    "Certificate": "generator.certificate",
    "Counterfeits": "generator.counterfeit_result",
    "DataPrior": "data_prior",
    "Detection": "exclusion.detection",
    "ExclusionRecipe": "exclusion.exclude",
    "GeneratedPerturbation": "generator.perturbing",
    "Judges": "generator.certificate",
    "Leakage": "generator.leakage",
    "Preflight": "portraits.preflight",
    "Unrestricted": "generator.adversarial",
    "assess": "measures.assess",
    "counterfeits": "generator.counterfeits",
    "detection": "exclusion.detection",
    "exclude": "exclusion.exclude",
    "exclude_stream": "exclusion.exclude",
    "fit_perturbation": "generator.perturbing",
    "fit_prior": "prior_fitting",
    "leakage": "generator.leakage",
    "preflight": "portraits.preflight",
    "uncertainty": "exclusion.uncertainty",
    "unrestricted": "generator.adversarial",
}
__all__ = [
    "Assessment",
    "Certificate",
    "Counterfeits",
    "DataPrior",
    "Detection",
    "ExclusionRecipe",
    "GeneratedPerturbation",
    "Judges",
    "Leakage",
    "Preflight",
    "Unrestricted",
    "assess",
    "counterfeits",
    "detection",
    "exclude",
    "exclude_stream",
    "fit_perturbation",
    "fit_prior",
    "leakage",
    "preflight",
    "uncertainty",
    "unrestricted",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    return public(__name__, _HOMES, name)
