"""MART: pictures that are misclassified as they are weigh more (Wang, Zou, Yi, Bailey, Ma and Gu
2020, "Improving adversarial robustness requires revisiting misclassified examples").

``BCE(p(x'), y) + beta * KL(p(x) || p(x')) * (1 - p_y(x))``, where the boosted cross-entropy
``BCE(p, y) = -log p_y - log(1 - max_{k != y} p_k)`` also pushes the second class down, and PGD
raises the cross-entropy at ``x'``.

All is computed from logarithms, so nothing is added within them as in the authors' programme, whose
boosted term ends at 9.2.

Its accuracy under PGD flatters it: the cross-entropy that PGD follows is what the second term
shapes, and attacks on the difference of logits find more. Judge it by a plan of several losses.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fluoroscope.errors import InvalidParameterError
from fluoroscope.training.losses.adversarial import PGDLoss


@dataclass(frozen=True, kw_only=True)
class MARTLoss(PGDLoss):
    """The boosted cross-entropy of moved pictures, and ``beta`` times how far the answer moves,
    the more the less the class was believed in.

    The paper's ``beta`` is 5, its authors' programme has 6. Pictures are moved as in `PGDLoss`, by
    10 steps.
    """

    steps: int = 10
    beta: float = 5.0
    method = "mart"
    learns_clean = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.beta < float("inf"):
            raise InvalidParameterError(f"beta is {self.beta}; expected 0 or more, such as 5")

    def terms(self, clean: Tensor | None, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        assert clean is not None
        believed = clean.log_softmax(1)
        answer = logits.log_softmax(1)
        own = F.one_hot(labels, logits.shape[1]).bool()
        second = answer.masked_fill(own, -torch.inf).argmax(1, keepdim=True)
        # log(1 - p) of the second class is what all the others have together.
        others = logits.scatter(1, second, -torch.inf).logsumexp(1) - logits.logsumexp(1)
        apart = F.kl_div(answer, believed, log_target=True, reduction="none").sum(1)
        doubted = 1 - believed[own].exp()
        return {
            "boosted": F.cross_entropy(logits, labels) - others.mean(),
            "divergence": self.beta * (apart * doubted).mean(),
        }
