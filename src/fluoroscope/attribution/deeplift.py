"""DeepLIFT with the rescale rule, and over a set of baselines DeepSHAP.

Shrikumar, Greenside, Kundaje 2017 (1704.02685): the multiplier ``m`` of an output's difference from
the baseline's answer by an input's, composed of those of the operations in between as gradients are
(equation 3); the map is ``(x - b) * m``, and adds up to ``f_c(x) - f_c(b)``. One pass forward for
the baseline, one forward and back for the picture. Lundberg and Lee 2017 (1705.07874), section 4.2:
the mean of that over a set of baselines approximates Shapley values.

The rules are in :mod:`fluoroscope.attribution.rules.deeplift`, a line each in the table.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from fluoroscope.attribution.baselines import Given, as_baseline
from fluoroscope.attribution.method import (
    Found,
    Probing,
    Promise,
    SumOfProbes,
    Sums,
    added,
    promise_error,
)
from fluoroscope.attribution.rules.deeplift.passes import AtBaseline, AtPicture, Tape
from fluoroscope.attribution.rules.mode import Coverage, Rules
from fluoroscope.attribution.rules.ruled import Ruled
from fluoroscope.attribution.rules.table import rules_of
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import Objective
from fluoroscope.engine.stream import take
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.randomised import random_state_aside


@dataclass(frozen=True, kw_only=True)
class DeepLift(SumOfProbes):
    """A probe for each baseline, the picture beside it.

    Args:
        baseline: what the picture is compared with; see :mod:`fluoroscope.attribution.baselines`.
            Of a set, each of its pictures, and the mean of these.
    """

    baseline: Given = "black"

    name: ClassVar[str] = "deeplift"
    promise: ClassVar[Promise] = "completeness"

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", as_baseline(self.baseline))
        if str(self.objective) != "logit":
            raise InvalidParameterError(
                f"objective is {self.objective}; expected logit, for {self.name} explains a "
                "difference of logits: use integrated-gradients for others"
            )

    @property
    def _width(self) -> int:
        return as_baseline(self.baseline).count

    def network(self, model: Classifier, images: Tensor, seed: int) -> Classifier:
        """The network compared with itself at a baseline, which has to fit the images."""
        as_baseline(self.baseline).check(images)
        return Compared(model)

    def goal(self, classes: Tensor) -> Objective:
        """The difference of the logit, or of its lead over the rival's."""
        plain = super().goal(classes)

        def difference(logits: Tensor, classes: Tensor) -> Tensor:
            return plain(logits[:, logits.shape[1] // 2 :], classes)

        return Objective(f"{plain.name} over the baseline's", difference)

    def probes(self, state: Sums) -> Tensor:
        """One for each baseline."""
        return torch.full_like(state.number, self._width)

    def images(self, state: Sums, owners: Tensor, numbers: Tensor) -> Tensor:
        """Pictures and their baselines, behind each other in the channels."""
        samples = take(state.samples, owners)
        return torch.cat([samples.images, as_baseline(self.baseline).of(samples, numbers)], 1)

    def start(self, samples: object) -> Sums:
        """Nothing added up."""
        state: Sums = super().start(samples)  # type: ignore[arg-type]
        return replace(state, values=torch.zeros_like(state.values))

    def add(self, state: Sums, query: Probing, answer: Answer) -> Sums:
        """The multipliers times the differences."""
        assert answer.gradient is not None
        assert answer.objective is not None
        assert query.classes is not None
        channels = query.images.shape[1] // 2
        pictures, baselines = query.images.split(channels, 1)
        parts = answer.gradient[:, :channels] * (pictures - baselines) / self._width
        plain = super().goal(query.classes)(answer.logits.to(state.values.dtype), query.classes)
        found = torch.stack([plain, answer.objective.to(plain)], 1) / self._width
        return replace(
            state,
            total=added(state.total, query.whose, parts),
            values=added(state.values, query.whose, found),
        )

    def finish(self, state: Sums) -> Found:
        """The mean over baselines."""
        value, difference = state.values.unbind(1)
        return Found(state.total, value, promise_error(state.total, difference))


class Compared(Ruled):
    """Of images ``(N, 2 C, H, W)``, pictures and baselines behind each other in the channels.

    Answers with the logits of the pictures, and behind them by how much they differ from those of
    the baselines; the gradient of a difference at the first ``C`` channels is its multiplier.
    """

    def __init__(self, model: Classifier) -> None:
        self._tape = Tape()
        super().__init__(model, self._at_picture)
        self._table = rules_of("deeplift")
        self.passes = 2 * model.passes

    def _at_picture(self, coverage: Coverage) -> Rules:
        return AtPicture(self._table, coverage, self._tape)

    @property
    def passes_back(self) -> int:
        """The baseline is not gone back through."""
        return self.model.passes_back

    @property
    def logits_first(self) -> int | None:
        """Half of the columns."""
        return self.model.num_classes

    def __call__(self, images: Tensor) -> Tensor:
        """``(N, 2 classes)``."""
        pictures, baselines = images.split(self.channels, 1)
        self._tape = Tape()
        with (
            random_state_aside(images.device),  # what a network draws it draws for both
            AtBaseline(self._table, Coverage(), self._tape),
            saved_tensors_hooks(_forget, _forget),
        ):
            base = self.model(baselines.detach().requires_grad_(images.requires_grad)).detach()
        logits = super().__call__(pictures)
        return torch.cat([logits, logits - base], 1)


def _forget(kept: object) -> Any:
    """The baseline is never gone back through: its graph only tells what depends on it."""
