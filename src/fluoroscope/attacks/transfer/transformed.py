"""MI-FGSM on a network behind a change of its input.

* DI-FGSM (the paper's M-DI²-FGSM): pictures shrunk and padded at random (Xie et al. 2019).
* TI-FGSM: gradients smoothed (Dong et al. 2019).
* SI-FGSM: the mean loss over scales (Lin et al. 2020).
* Admix: that of mixtures with other pictures (Wang et al. 2021).

The changes themselves, and what the parameters mean, are in
:mod:`~fluoroscope.models.wrappers.transformed`: any attack that reads gradients takes them, also
several at once. The network itself says of every image whether it is a success.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from fluoroscope.attacks.transfer.momentum import MIFGSM
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.transformed import (
    Admix,
    DiverseInput,
    ScaleInvariant,
    TranslationInvariant,
)


@dataclass(frozen=True, kw_only=True)
class DIFGSM(MIFGSM):
    """MI-FGSM on pictures that are shrunk and padded at random."""

    probability: float = 0.5
    resize: float = 0.9

    paper: ClassVar[str] = "Xie et al. 2019 (1803.06978)"

    def __post_init__(self) -> None:
        DiverseInput.check(self.probability, self.resize)
        super().__post_init__()

    def surrogate(self, model: Classifier, seed: int) -> Classifier:
        """The network behind the shrinking and padding."""
        return DiverseInput(model, self.probability, resize=self.resize, seed=seed)


@dataclass(frozen=True, kw_only=True)
class TIFGSM(MIFGSM):
    """MI-FGSM along smoothed gradients."""

    size: int = 15
    deviations: float = 3.0

    paper: ClassVar[str] = "Dong et al. 2019 (1904.02884)"

    def __post_init__(self) -> None:
        TranslationInvariant.check(self.size, self.deviations)
        super().__post_init__()

    def surrogate(self, model: Classifier, seed: int) -> Classifier:
        """The network with its gradients smoothed."""
        return TranslationInvariant(model, self.size, deviations=self.deviations)


@dataclass(frozen=True, kw_only=True)
class SIFGSM(MIFGSM):
    """MI-FGSM on the mean loss over scales."""

    copies: int = 5

    paper: ClassVar[str] = "Lin et al. 2020 (1908.06281)"
    cost: ClassVar[str] = "5 forward, 5 backward"

    def __post_init__(self) -> None:
        ScaleInvariant.check(self.copies)
        super().__post_init__()

    def surrogate(self, model: Classifier, seed: int) -> Classifier:
        """The network at several scales."""
        return ScaleInvariant(model, self.copies)


@dataclass(frozen=True, kw_only=True)
class AdmixFGSM(MIFGSM):
    """MI-FGSM on the mean loss over mixtures with pictures of a ``pool``, at several scales."""

    pool: Tensor | None = field(default=None, compare=False)
    copies: int = 5
    mixtures: int = 3
    share: float = 0.2

    paper: ClassVar[str] = "Wang et al. 2021 (2102.00436)"
    cost: ClassVar[str] = "15 forward, 15 backward"

    def __post_init__(self) -> None:
        Admix.check(self.copies, self.mixtures, self.share)
        super().__post_init__()

    def surrogate(self, model: Classifier, seed: int) -> Classifier:
        """The network on mixtures with the pool."""
        if self.pool is None:
            raise InvalidParameterError(
                "admix was given no pictures to mix in; expected pool=(P, C, H, W) in [0, 1], "
                "such as some of the data set"
            )
        return Admix(
            model,
            self.pool,
            copies=self.copies,
            mixtures=self.mixtures,
            share=self.share,
            seed=seed,
        )
