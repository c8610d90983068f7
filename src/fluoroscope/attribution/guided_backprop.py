"""The gradient under the rules of guided backpropagation or deconvolution: :mod:`.rules.guided`."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fluoroscope.attribution.gradient import Gradient
from fluoroscope.attribution.rules.guided import EXTENDED
from fluoroscope.attribution.rules.mode import Coverage, Rules
from fluoroscope.attribution.rules.ruled import Ruled
from fluoroscope.attribution.rules.table import rules_of
from fluoroscope.models.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class GuidedBackprop(Gradient):
    """One probe, gone back through by the rules of guided backpropagation."""

    name: ClassVar[str] = "guided-backprop"
    rules: ClassVar[str] = "guided"

    def network(self, model: Classifier, images: Tensor, seed: int) -> Classifier:
        """The network under the rules."""
        rules = rules_of(self.rules)

        def mode(coverage: Coverage) -> Rules:
            return Rules(rules, coverage, EXTENDED)

        return Ruled(model, mode)


@dataclass(frozen=True, kw_only=True)
class Deconvolution(GuidedBackprop):
    """One probe, gone back through by the rule of deconvolution."""

    name: ClassVar[str] = "deconvolution"
    rules: ClassVar[str] = "deconvolution"
