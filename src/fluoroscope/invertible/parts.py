"""What of a difference of latents the head sees, and what it does not.

The logits are ``W z + b``. A difference ``d`` falls apart into three that are at right angles:

* **both classes**: along ``w_to - w_from``, which alone moves the margin of the one class
  over the other;
* **other classes**: the rest of what lies in the span of the rows' differences: it moves
  other margins, and not that one;
* **ignored**: what is left. No margin depends on it, however long it is.

The shares of ``||d||^2`` add up to 1. Those of a difference in no direction are as the dimensions:
1, ``C - 2`` and ``D - C + 1`` of ``D``.
"""

import torch
from torch import Tensor, nn

PARTS = ("both classes", "other classes", "ignored")
"""Between which classes each part moves margins, in the order of what :func:`split` gives."""
# A direction of the head that is shorter than so many times the longest one is rounding.
_NOTHING = 1e-9


def split(difference: Tensor, head: nn.Linear, here: int, there: int) -> Tensor:
    """The parts ``(3, D)`` of a difference ``(D,)`` of latents, in float64, which add up to it.

    Args:
        difference: from one latent to another.
        head: the linear map from latents to logits.
        here, there: the classes whose margin is asked about, two of them.
    """
    change = difference.detach().cpu().double()
    weight = head.weight.detach().cpu().double()
    along = weight[there] - weight[here]
    length = along.norm()
    unit = along / length if length > 0 else torch.zeros_like(along)
    between = (change @ unit) * unit
    seen = _span(weight) @ (_span(weight).mT @ change)
    return torch.stack([between, seen - between, change - seen])


def expected(head: nn.Linear) -> tuple[float, float, float]:
    """The shares of the parts of a difference in no direction."""
    seen, numbers = _span(head.weight.detach().cpu().double()).shape[1], head.weight.shape[1]
    return 1 / numbers, (seen - 1) / numbers, 1 - seen / numbers


def _span(weight: Tensor) -> Tensor:
    """What the margins depend on: ``(D, rank)``, columns at right angles."""
    rows = weight - weight.mean(0)
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    kept: Tensor = directions[sizes > _NOTHING * sizes.max()]
    return kept.mT
