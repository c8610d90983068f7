"""MI-FGSM on ghosts of a network: each step follows the gradient of another eroded copy.

Li, Bai, Zhou, Xie, Zhang and Yuille 2020 (1812.03413), their longitudinal ensemble; with
``decay=0`` it is their I-FGSM. What a ghost is: :mod:`fluoroscope.models.wrappers.ghost`. It is
made to transfer: judge what it finds by other networks as well. A ghost follows from the pixels, so
a restart, which begins at the same image, makes the same search; another ``seed`` another one.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from fluoroscope.attacks.gradient.ascent import GradientAscent
from fluoroscope.attacks.transfer.momentum import MIFGSM
from fluoroscope.engine.bounds import as_number
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.ghost import Erosion, Ghost, check_erosion


@dataclass(frozen=True, kw_only=True)
class GhostFGSM(MIFGSM):
    """MI-FGSM on a fresh ghost at each step.

    ``step_size`` is by default ``1.25 * eps / steps``: the paper's 1/255 for its ``eps`` of 8/255
    and 10 steps. ``ghosts`` is how many each step takes the mean of, ``magnitude`` and ``erosion``
    how they are eroded, by default as fits the network.
    """

    ghosts: int = 1
    magnitude: float | None = None
    erosion: Erosion | None = None

    paper: ClassVar[str] = "Li et al. 2020 (1812.03413)"
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    def __post_init__(self) -> None:
        self._expect(1, "ghosts")
        check_erosion(self.erosion, self.magnitude)
        super().__post_init__()

    def surrogate(self, model: Classifier, seed: int) -> Classifier:
        """Ghosts of the network."""
        return Ghost(
            model,
            erosion=self.erosion,
            magnitude=self.magnitude,
            samples=self.ghosts,
            seed=seed,
        )

    @cached_property
    def _ascent(self) -> GradientAscent:
        size = self.step_size
        if size is None:
            size = 1.25 * as_number(self.threat.eps) / self.steps
        return self._steps(self.steps, as_number(size, "step_size"))
