"""The weight ``c`` between distance and success: searched for each sample, by Carlini and Wagner.

Minimise ``distance + c * loss``: the smallest ``c`` that leads to a success leads to the closest
one. It rises tenfold until one succeeds and then halves the interval (Carlini and Wagner 2017,
1608.04644, after Szegedy et al. 2013).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TradeOff:
    """Where the searches for ``c`` of ``n`` samples are."""

    c: Tensor
    """``(n,)``, weight of the loss."""
    lower: Tensor
    """``(n,)``, largest ``c`` that failed."""
    upper: Tensor
    """``(n,)``, smallest ``c`` that succeeded."""
    search: Tensor
    """``(n,)``, values of ``c`` done with."""

    @staticmethod
    def begin(images: Tensor, c: float) -> "TradeOff":
        """The first ``c`` for each of the images ``(n, C, H, W)``."""
        zero = torch.zeros_like(images[:, 0, 0, 0])
        return TradeOff(zero + c, zero, zero + math.inf, zero.long())

    def following(self, over: Tensor, found: Tensor) -> "TradeOff":
        """The next ``c`` of those whose descent is ``over``, by whether it ``found`` a success."""
        upper = torch.where(over & found, self.c, self.upper)
        lower = torch.where(over & ~found, self.c, self.lower)
        following = torch.where(upper < math.inf, (lower + upper) / 2, 10 * self.c)
        return TradeOff(torch.where(over, following, self.c), lower, upper, self.search + over)


@dataclass(frozen=True)
class Progress:
    """How far the descents of ``n`` samples with their present ``c`` are."""

    step: Tensor
    """``(n,)``, steps made."""
    loss: Tensor
    """``(n,)``, when it was last looked at for early abort."""

    @staticmethod
    def begin(images: Tensor) -> "Progress":
        """Of images ``(n, C, H, W)`` from which no step was made."""
        zero = torch.zeros_like(images[:, 0, 0, 0])
        return Progress(zero.long(), zero + math.inf)

    def after(
        self,
        loss: Tensor,
        steps: int,
        early_abort: bool | Tensor,
        moved: bool | Tensor = True,
    ) -> tuple["Progress", Tensor]:
        """One step more of those that ``moved``, and which of them are at their end.

        That is at ``steps`` or, if ``early_abort`` ``(n,)``, stuck: the loss ``(n,)`` has not
        fallen by 1 in 10,000 over a tenth of them.
        """
        step = self.step + moved
        look = (step % max(1, steps // 10) == 0) & moved
        stuck = look & (loss > 0.9999 * self.loss) & early_abort
        over = stuck | ((step >= steps) & moved)
        return Progress(step, torch.where(look, loss, self.loss)), over

    def anew(self, over: Tensor) -> "Progress":
        """From the first step again for those whose descent is ``over``."""
        return Progress(self.step * ~over, torch.where(over, math.inf, self.loss))
