"""What Carlini and Wagner's Linf and L0 attacks share: a success tightens, a failure raises ``c``.

The descent goes on from where it is: after a success within a bound that is tighter, after
``steps`` without one with ``c`` times ``c_factor``. It ends where ``c`` is above ``largest_c`` or
nothing is left to tighten.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fluoroscope.attacks.minimum_norm.carlini_wagner import Descent, PenaltyMethod, PenaltyState
from fluoroscope.attacks.minimum_norm.trade_off import Progress
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Samples
from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True)
class TighteningState(PenaltyState):
    """Where ``n`` searches are."""

    c: Tensor
    """``(n,)``, weight of the margin."""
    bound: Tensor
    """What a success tightens: ``(n, ...)``."""


@dataclass(frozen=True, kw_only=True)
class TighteningMethod(PenaltyMethod):
    """Descends with a first ``c``, times ``c_factor`` at each failure, up to ``largest_c``."""

    largest_c: float
    c_factor: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(self.c, "largest_c")
        if not 1 < self.c_factor < math.inf:
            raise InvalidParameterError(f"c_factor is {self.c_factor}; expected more than 1")

    def start(self, samples: Samples) -> TighteningState:
        """At the images, with the first ``c`` and nothing bounded."""
        return TighteningState(
            samples=samples,
            descent=Descent.begin(samples.images),
            progress=Progress.begin(samples.images),
            done=torch.zeros_like(samples.classes, dtype=torch.bool),
            c=torch.full_like(samples.images[:, 0, 0, 0], self.c),
            bound=self._unbounded(samples.images),
        )

    def tell(self, state: TighteningState, answer: Answer) -> TighteningState:
        """One step of Adam; from a success with a tighter bound, from a failure with more ``c``."""
        penalty, slope = self._penalty(state)
        descent, loss, reached = self._down(state, answer, state.c, penalty, slope)
        progress, over = state.progress.after(loss, self.steps, self.early_abort)
        won = self._holds(reached, loss, state)
        over |= won
        if bool(over.any()):
            state = replace(state, c=torch.where(over & ~won, self.c_factor * state.c, state.c))
            progress = progress.anew(over)
        if bool(won.any()):
            descent = descent.anew(won, state.descent.images)
            bound, none_left = self._tighter(state, answer, won)
            state = replace(state, bound=bound, done=won & none_left)
        descent = replace(descent, images=self._shown(descent.images, state))
        done = state.done | (state.c > self.largest_c)
        return replace(state, descent=descent, progress=progress, done=done)

    @abstractmethod
    def _unbounded(self, images: Tensor) -> Tensor:
        """The bound on images ``(n, C, H, W)`` to begin with."""

    @abstractmethod
    def _penalty(self, state: TighteningState) -> tuple[Tensor, Tensor]:
        """The penalty on the distance ``(n,)`` and its derivative ``(n, C, H, W)``."""

    @abstractmethod
    def _holds(self, reached: Tensor, loss: Tensor, state: TighteningState) -> Tensor:
        """Who has a success within the bound, ``(n,)``, of those who ``reached`` one."""

    @abstractmethod
    def _tighter(
        self, state: TighteningState, answer: Answer, won: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The bound after these successes ``(n,)``, and for whom nothing is left to tighten."""

    def _shown(self, images: Tensor, state: TighteningState) -> Tensor:
        """What the network sees of the images of the descent."""
        return images
