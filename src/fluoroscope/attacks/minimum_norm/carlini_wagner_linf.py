"""Carlini and Wagner's Linf attack (2017): a penalty on every change beyond ``tau``.

Minimise ``sum(max(|x' - x| - tau, 0)) + c * max(-margin, -confidence)`` by Adam. ``tau`` begins at
1; each time a success leaves nothing beyond it (a loss below ``c`` in 10,000) it becomes 0.9 times
the smaller of itself and the largest change, until it is below 1/256. ``c`` begins at 1e-5 and
doubles where ``steps`` were not enough, up to 20. Each descent begins where the last one ended.
All of these defaults are those of the authors' code.

Where this differs: the variable behind the images is that of the L2 attack here
(:mod:`.carlini_wagner`), which can move pixels of exactly 0 and 1. A descent that is stuck (its
loss has not fallen by 1 in 10,000 over a tenth of ``steps``) doubles ``c`` at once, which saves
most of the evaluations of the last ``tau``, the one that is never met; with ``early_abort=False``
every step is made, as in the authors' code. The closest success of all that were looked at is
kept, also where it was not yet within its ``tau``.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.minimum_norm.tightening import TighteningMethod, TighteningState
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.threats import Linf, Threat
from fluoroscope.engine.vectors import column
from fluoroscope.errors import InvalidParameterError

_NO_BOUND = Linf(math.inf)
# The share of c that the loss may have where a bound counts as met.
_SLACK = 1e-4


@dataclass(frozen=True, kw_only=True)
class CarliniWagnerLinf(TighteningMethod):
    """Carlini and Wagner's Linf attack: ``tau`` shrinks by ``shrink`` down to ``smallest``.

    ``steps`` evaluations at most with each ``c``, which begins at ``c`` and grows by ``c_factor``
    up to ``largest_c``; ``lr`` is Adam's; ``confidence`` is the lead in logits from which an image
    counts as a success.
    """

    threat: Threat = _NO_BOUND
    c: float = 1e-5
    lr: float = 5e-3
    largest_c: float = 20.0
    shrink: float = 0.9
    smallest: float = 1 / 256

    norms: ClassVar[tuple[str, ...]] = ("linf",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.shrink < 1:
            raise InvalidParameterError(f"shrink is {self.shrink}; expected between 0 and 1")
        self._expect(0, "smallest", high=1)

    def _unbounded(self, images: Tensor) -> Tensor:
        return torch.ones_like(images[:, 0, 0, 0])

    def _penalty(self, state: TighteningState) -> tuple[Tensor, Tensor]:
        away = state.descent.images - state.samples.images
        beyond = (away.abs() - column(state.bound)).clamp(min=0)
        return beyond.flatten(1).sum(1), torch.where(beyond > 0, away.sign(), 0)

    def _holds(self, reached: Tensor, loss: Tensor, state: TighteningState) -> Tensor:
        # Where the margin counts in full, the loss is the penalty less c times the confidence.
        return reached & (loss + self.confidence * state.c < _SLACK * state.c)

    def _tighter(
        self, state: TighteningState, answer: Answer, won: Tensor
    ) -> tuple[Tensor, Tensor]:
        largest = (state.descent.images - state.samples.images).abs().flatten(1).amax(1)
        tau = torch.where(won, self.shrink * torch.minimum(state.bound, largest), state.bound)
        return tau, tau < self.smallest
