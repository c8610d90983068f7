"""Carlini and Wagner's L0 attack (2017): the L2 attack, on fewer and fewer pixels.

Minimise ``|x' - x|^2 + c * max(-margin, -confidence)`` by Adam over the pixels that are still free.
At the first success the ones that matter least go back to the original for good: those with the
smallest ``|gradient of the margin * change|``, summed over the channels. Then the descent goes on
from there. ``c`` begins at 1e-3 and doubles where ``steps`` were not enough; above 2e6 the search
ends. All of these defaults are those of the authors' code.

Where this differs: the paper lets one pixel go at a time. As in the authors' code it is up to 0.3
times the root of the number of changed pixels; their further stop, at a pixel whose product is
above 0.01, is left out, because what it does depends on the scale of the logits. They multiply by
the gradient of the whole loss, in which the margin has no part any more at a success; here it is
the margin's, as in the paper. They ask for a lead of 0.01 beyond the border; here ``confidence``
says it. A pixel counts as changed from 1 in 10,000 on; less is not done at all, so that what is
counted is what the network saw. The variable behind the images is that of the L2 attack here
(:mod:`.carlini_wagner`), and a descent that is stuck doubles ``c`` at once, unless ``early_abort``
is False.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.minimum_norm.tightening import TighteningMethod, TighteningState
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.threats import L0, Threat

_NO_BOUND = L0(math.inf)
_SMALLEST_CHANGE = 1e-4
_SHARE = 0.3


@dataclass(frozen=True, kw_only=True)
class CarliniWagnerL0(TighteningMethod):
    """Carlini and Wagner's L0 attack: lets go of the pixels that matter least, and tries again.

    ``steps`` evaluations at most with each ``c``, which begins at ``c`` and grows by ``c_factor``
    up to ``largest_c``; ``lr`` is Adam's; ``confidence`` is the lead in logits from which an image
    counts as a success.
    """

    threat: Threat = _NO_BOUND
    c: float = 1e-3
    largest_c: float = 2e6

    norms: ClassVar[tuple[str, ...]] = ("l0",)

    def _unbounded(self, images: Tensor) -> Tensor:
        """Which pixels are free, ``(n, 1, H, W)``."""
        return torch.ones_like(images[:, :1], dtype=torch.bool)

    def _penalty(self, state: TighteningState) -> tuple[Tensor, Tensor]:
        away = state.descent.images - state.samples.images
        return away.square().flatten(1).sum(1), 2 * away

    def _holds(self, reached: Tensor, loss: Tensor, state: TighteningState) -> Tensor:
        return reached

    def _tighter(
        self, state: TighteningState, answer: Answer, won: Tensor
    ) -> tuple[Tensor, Tensor]:
        assert answer.gradient is not None
        away = state.descent.images - state.samples.images
        changed = (away != 0).any(1).flatten(1).sum(1, keepdim=True)
        count = torch.ceil(_SHARE * changed.sqrt()).clamp(min=1)
        matters = (answer.gradient * away).abs().sum(1).flatten(1)
        free = state.bound.flatten(1)
        rank = torch.where(free, matters, math.inf).argsort(1).argsort(1)
        left = free & ((rank >= count) | ~won[:, None])
        return left.view_as(state.bound), ~left.any(1)

    def _shown(self, images: Tensor, state: TighteningState) -> Tensor:
        moved = (images - state.samples.images).abs() >= _SMALLEST_CHANGE
        return torch.where(state.bound & moved, images, state.samples.images)
