"""Steps along an accumulated gradient, which lead to what fools other networks too.

With ``|g|`` the mean absolute value, ``x`` moves by ``eps / steps`` along the sign of ``m``:

* MI-FGSM: ``m <- decay * m + g(x) / |g(x)|`` (Dong et al. 2018).
* NI-FGSM: the same with the gradient where the momentum would lead, at ``x + step * decay * m``
  (Lin et al. 2020).
* VMI-FGSM: with ``g(x) + v``, where ``v`` is the mean of the gradients at random neighbours of the
  point before, less the gradient there (Wang and He 2021).

MI-FGSM's text divides by the sum of absolute values and its program by the mean. For the sign of
``m`` that is the same; but only with the mean does NI-FGSM look ahead by as much as a step. Other
than in the papers' programs no network sees a pixel outside ``[0, 1]``: points ahead and neighbours
are clamped.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.gradient.ascent import AscentState
from fluoroscope.attacks.gradient.gradient_sign import BIM
from fluoroscope.engine import randomness
from fluoroscope.engine.bounds import as_number
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.vectors import chosen, column, levelled


@dataclass(frozen=True)
class MomentumState(AscentState):
    """An ascent that remembers where it came from."""

    momentum: Tensor
    """``(n, C, H, W)``"""


@dataclass(frozen=True, kw_only=True)
class MIFGSM(BIM):
    """The momentum iterative method; ``step_size`` is by default ``eps / steps``."""

    decay: float = 1.0

    paper: ClassVar[str] = "Dong et al. 2018 (1710.06081)"
    reach: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        self._expect(0, "decay")
        super().__post_init__()

    def start(self, samples: Samples) -> MomentumState:
        """At the image, without momentum."""
        state = super().start(samples)
        return MomentumState(**vars(state), momentum=torch.zeros_like(samples.images))

    def tell(self, state: MomentumState, answer: Answer) -> MomentumState:  # type: ignore[override]
        """One step along the momentum."""
        if answer.gradient is None:
            return self._step(state, answer)
        return self._step(replace(state, momentum=self._onward(state, answer.gradient)), answer)

    def _onward(self, state: MomentumState, gradient: Tensor) -> Tensor:
        return self.decay * state.momentum + levelled(gradient)

    def _step(self, state: MomentumState, answer: Answer) -> MomentumState:
        along = None if answer.gradient is None else state.momentum
        moved = super().tell(state, replace(answer, gradient=along))
        assert isinstance(moved, MomentumState)
        return moved


@dataclass(frozen=True, kw_only=True)
class NIFGSM(MIFGSM):
    """MI-FGSM with Nesterov's look ahead."""

    paper: ClassVar[str] = "Lin et al. 2020 (1908.06281)"
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    @property
    def probes(self) -> bool:
        """It looks ahead of the image."""
        return True

    def ask(self, state: MomentumState) -> Query:  # type: ignore[override]
        """The images ahead; at the end those that the search stands for."""
        query = super().ask(state)
        ahead = state.images + self._ascent.step_size * self.decay * state.momentum
        going = state.updates < self.steps
        return replace(query, images=chosen(going, ahead.clamp_(0, 1), state.images))


@dataclass(frozen=True)
class VarianceState(MomentumState):
    """Where a search is among the neighbours of its image."""

    keys: Tensor
    """``(n,)``"""
    asked: Tensor
    """``(n,)``, what comes next: 0 the image itself, else the neighbour of this number."""
    slope: Tensor
    """``(n, C, H, W)``, the gradient at the image."""
    total: Tensor
    """``(n, C, H, W)``, the sum of the neighbours' gradients so far."""
    variance: Tensor
    """``(n, C, H, W)``, how the mean of them differed from the image's at the point before."""


@dataclass(frozen=True, kw_only=True)
class VMIFGSM(MIFGSM):
    """MI-FGSM with each gradient corrected by how it varied around the point before.

    The ``neighbours`` are uniform within ``spread * eps`` of every pixel value, and asked one after
    the other. Those of the last point would change nothing, and are not asked.
    """

    neighbours: int = 20
    spread: float = 1.5

    paper: ClassVar[str] = "Wang and He 2021 (2103.15571)"
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    cost: ClassVar[str] = "21 forward, 21 backward"

    @property
    def probes(self) -> bool:
        """The neighbours lie around the image."""
        return True

    def __post_init__(self) -> None:
        self._expect(1, "neighbours")
        self._expect(0, "spread")
        super().__post_init__()

    def start(self, samples: Samples) -> VarianceState:
        """At the image, without momentum or variance."""
        state, zero = super().start(samples), torch.zeros_like(samples.images)
        return VarianceState(
            **vars(state), keys=samples.keys, asked=torch.zeros_like(samples.classes),
            slope=zero, total=zero, variance=zero,
        )  # fmt: skip

    def ask(self, state: VarianceState) -> Query:  # type: ignore[override]
        """The image, or one of its neighbours."""
        draw = state.updates * self.neighbours + state.asked
        shape = tuple(state.images.shape[1:])
        noise = randomness.uniform(state.keys, draw, shape).mul_(2).sub_(1).to(state.images)
        beside = state.images + self.spread * as_number(self.threat.eps) * noise
        query, itself = super().ask(state), state.asked == 0
        return replace(query, images=chosen(itself, state.images, beside.clamp_(0, 1)))

    def tell(self, state: VarianceState, answer: Answer) -> VarianceState:  # type: ignore[override]
        """A step after the last neighbour; the momentum is from before the first."""
        gradient = answer.gradient
        if gradient is None:
            ended = self._step(state, answer)
            assert isinstance(ended, VarianceState)
            return ended
        itself = column(state.asked == 0)
        slope = torch.where(itself, gradient, state.slope)
        total = torch.where(itself, 0, state.total + gradient)
        onward = self._onward(state, gradient + state.variance)
        momentum = torch.where(itself, onward, state.momentum)
        full = (state.asked == self.neighbours) | (state.updates >= self.steps - 1)
        moved = self._step(replace(state, momentum=momentum), answer)
        return replace(
            state,
            images=chosen(full, moved.images, state.images),
            updates=torch.where(full, moved.updates, state.updates),
            done=moved.done,
            momentum=momentum,
            asked=torch.where(full, 0, state.asked + 1),
            slope=slope,
            total=total,
            variance=chosen(full, total / self.neighbours - slope, state.variance),
        )
