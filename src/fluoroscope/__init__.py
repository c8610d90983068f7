"""Look inside PyTorch image classifiers through their inputs.

Every public name loads its module on first use, so that ``import fluoroscope`` costs next to
nothing and the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluoroscope import (
        attacks,
        attribution,
        data,
        depth,
        engine,
        errors,
        evaluation,
        gradients,
        inversion,
        invertible,
        models,
        neurons,
        pictures,
        report,
        training,
    )
    from fluoroscope.attacks.gradient.gradient_sign import fgsm
    from fluoroscope.attacks.morph import morph, morph_stream
    from fluoroscope.attacks.morph_result import MorphResult, MorphStep
    from fluoroscope.attacks.registry import attack
    from fluoroscope.attacks.result import AttackResult
    from fluoroscope.attribution.attribute import attribute
    from fluoroscope.attribution.audit.audit import audit
    from fluoroscope.attribution.audit.result import Audit
    from fluoroscope.attribution.result import Attribution
    from fluoroscope.data.imageset import ImageSet, load_images
    from fluoroscope.data.reference import open_image
    from fluoroscope.engine.objectives import Objective
    from fluoroscope.engine.predict import Prediction, predict
    from fluoroscope.engine.stream import Budget
    from fluoroscope.engine.threats import L0, L1, L2, Linf, Unbounded
    from fluoroscope.errors import FluoroscopeError, FluoroscopeWarning
    from fluoroscope.evaluation.class_map import ClassMap, class_map
    from fluoroscope.evaluation.corruptions.table import CorruptionTable, corruption_accuracy
    from fluoroscope.evaluation.curve import Curve
    from fluoroscope.evaluation.evaluate import evaluate
    from fluoroscope.evaluation.planted.examples import PlantedExamples, planted_examples
    from fluoroscope.evaluation.requirements import Requirements
    from fluoroscope.evaluation.runs.compare import Comparison, compare_runs
    from fluoroscope.evaluation.runs.stored import read_run
    from fluoroscope.evaluation.runs.table import RunsTable, runs_table
    from fluoroscope.evaluation.transfer import TransferMatrix, transfer_matrix
    from fluoroscope.evaluation.verdict import Verdict
    from fluoroscope.gradients.check import GradientCheck, check_gradient
    from fluoroscope.gradients.finite_difference import finite_difference_gradient
    from fluoroscope.gradients.input_gradient import input_gradient
    from fluoroscope.inversion.generator.invert import invert
    from fluoroscope.inversion.generator.result import Inversion
    from fluoroscope.inversion.portraits.portrait import portrait
    from fluoroscope.inversion.portraits.result import Portraits
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.models.loading import describe_model, load_model
    from fluoroscope.models.names import list_models
    from fluoroscope.models.wrappers.bpda import BPDA
    from fluoroscope.models.wrappers.ensemble import Ensemble
    from fluoroscope.models.wrappers.ghost import Ghost
    from fluoroscope.models.wrappers.prepared import Prepared, prepare
    from fluoroscope.models.wrappers.randomised import EOT, is_random
    from fluoroscope.models.wrappers.transformed import (
        Admix,
        DiverseInput,
        ScaleInvariant,
        TranslationInvariant,
    )
    from fluoroscope.pictures.display import showing
    from fluoroscope.pictures.show import show
    from fluoroscope.report.comparison import compare_reports
    from fluoroscope.report.xray import Report, xray

__version__: str

_ROOMS = (
    "attacks",
    "attribution",
    "data",
    "depth",
    "engine",
    "errors",
    "evaluation",
    "gradients",
    "inversion",
    "invertible",
    "models",
    "neurons",
    "pictures",
    "report",
    "training",
)
_HOMES = {
    "BPDA": "models.wrappers.bpda",
    "Admix": "models.wrappers.transformed",
    "DiverseInput": "models.wrappers.transformed",
    "Comparison": "evaluation.runs.compare",
    "EOT": "models.wrappers.randomised",
    "Ensemble": "models.wrappers.ensemble",
    "Ghost": "models.wrappers.ghost",
    "Prepared": "models.wrappers.prepared",
    "ScaleInvariant": "models.wrappers.transformed",
    "TranslationInvariant": "models.wrappers.transformed",
    "is_random": "models.wrappers.randomised",
    "prepare": "models.wrappers.prepared",
    "AttackResult": "attacks.result",
    "Attribution": "attribution.result",
    "Audit": "attribution.audit.result",
    "Budget": "engine.stream",
    "ClassMap": "evaluation.class_map",
    "Classifier": "models.classifier",
    "Curve": "evaluation.curve",
    "CorruptionTable": "evaluation.corruptions.table",
    "FluoroscopeError": "errors",
    "FluoroscopeWarning": "errors",
    "GradientCheck": "gradients.check",
    "ImageSet": "data.imageset",
    "Inversion": "inversion.generator.result",
    "L0": "engine.threats",
    "L1": "engine.threats",
    "L2": "engine.threats",
    "Linf": "engine.threats",
    "MorphResult": "attacks.morph_result",
    "MorphStep": "attacks.morph_result",
    "Objective": "engine.objectives",
    "PlantedExamples": "evaluation.planted.examples",
    "Portraits": "inversion.portraits.result",
    "Prediction": "engine.predict",
    "Report": "report.xray",
    "Requirements": "evaluation.requirements",
    "RunsTable": "evaluation.runs.table",
    "TransferMatrix": "evaluation.transfer",
    "Unbounded": "engine.threats",
    "Verdict": "evaluation.verdict",
    "attack": "attacks.registry",
    "attribute": "attribution.attribute",
    "audit": "attribution.audit.audit",
    "check_gradient": "gradients.check",
    "class_map": "evaluation.class_map",
    "compare_reports": "report.comparison",
    "compare_runs": "evaluation.runs.compare",
    "corruption_accuracy": "evaluation.corruptions.table",
    "describe_model": "models.loading",
    "evaluate": "evaluation.evaluate",
    "fgsm": "attacks.gradient.gradient_sign",
    "finite_difference_gradient": "gradients.finite_difference",
    "input_gradient": "gradients.input_gradient",
    "invert": "inversion.generator.invert",
    "list_models": "models.names",
    "load_images": "data.imageset",
    "load_model": "models.loading",
    "morph": "attacks.morph",
    "morph_stream": "attacks.morph",
    "open_image": "data.reference",
    "planted_examples": "evaluation.planted.examples",
    "portrait": "inversion.portraits.portrait",
    "predict": "engine.predict",
    "show": "pictures.show",
    "showing": "pictures.display",
    "xray": "report.xray",
    "read_run": "evaluation.runs.stored",
    "runs_table": "evaluation.runs.table",
    "transfer_matrix": "evaluation.transfer",
}

__all__ = [
    "BPDA",
    "EOT",
    "L0",
    "L1",
    "L2",
    "Admix",
    "AttackResult",
    "Attribution",
    "Audit",
    "Budget",
    "ClassMap",
    "Classifier",
    "Comparison",
    "CorruptionTable",
    "Curve",
    "DiverseInput",
    "Ensemble",
    "FluoroscopeError",
    "FluoroscopeWarning",
    "Ghost",
    "GradientCheck",
    "ImageSet",
    "Inversion",
    "Linf",
    "MorphResult",
    "MorphStep",
    "Objective",
    "PlantedExamples",
    "Portraits",
    "Prediction",
    "Prepared",
    "Report",
    "Requirements",
    "RunsTable",
    "ScaleInvariant",
    "TransferMatrix",
    "TranslationInvariant",
    "Unbounded",
    "Verdict",
    "attack",
    "attacks",
    "attribute",
    "attribution",
    "audit",
    "check_gradient",
    "class_map",
    "compare_reports",
    "compare_runs",
    "corruption_accuracy",
    "data",
    "depth",
    "describe_model",
    "engine",
    "errors",
    "evaluate",
    "evaluation",
    "fgsm",
    "finite_difference_gradient",
    "gradients",
    "input_gradient",
    "inversion",
    "invert",
    "invertible",
    "is_random",
    "list_models",
    "load_images",
    "load_model",
    "models",
    "morph",
    "morph_stream",
    "neurons",
    "open_image",
    "pictures",
    "planted_examples",
    "portrait",
    "predict",
    "prepare",
    "read_run",
    "report",
    "runs_table",
    "show",
    "showing",
    "training",
    "transfer_matrix",
    "xray",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("fluoroscope")
    if name in _ROOMS:
        return import_module(f"fluoroscope.{name}")
    if name in _HOMES:
        value = getattr(import_module(f"fluoroscope.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fluoroscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
