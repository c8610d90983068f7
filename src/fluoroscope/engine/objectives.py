"""What a search raises: one number for each sample, from its logits and a class.

Objectives are values that carry a name and add and multiply: ``0.5 * LOGIT + MARGIN``. All are
written so that float64 logits keep their slope where float32 has none left: the log-probability
goes through the log-odds, never through ``1 - p``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True)
class Objective:
    """A number to raise for each sample: logits ``(N, K)`` and classes ``(N,)`` give ``(N,)``."""

    name: str
    function: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, logits: Tensor, classes: Tensor) -> Tensor:
        return self.function(logits, classes)

    def __str__(self) -> str:
        return self.name

    def __add__(self, other: "Objective") -> "Objective":
        return Objective(
            f"({self} + {other})", lambda logits, c: self(logits, c) + other(logits, c)
        )

    def __mul__(self, factor: float) -> "Objective":
        return Objective(f"{factor:g} * {self}", lambda logits, c: self(logits, c) * factor)

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return Objective(f"-{self}", lambda logits, c: -self(logits, c))

    def __sub__(self, other: "Objective") -> "Objective":
        return self + (-other)

    def towards(self, signs: Tensor) -> "Objective":
        """Raised where a sample's sign ``(n,)`` is 1, lowered where it is -1."""
        return Objective(f"±{self}", lambda logits, c: self(logits, c) * signs.to(logits))


def _own(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


def _others(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.scatter(1, classes[:, None], -torch.inf)


def _log_probability(logits: Tensor, classes: Tensor) -> Tensor:
    rivals = torch.logsumexp(_others(logits, classes), dim=1)
    return F.logsigmoid(_own(logits, classes) - rivals)


def _margin(logits: Tensor, classes: Tensor) -> Tensor:
    return _own(logits, classes) - _others(logits, classes).amax(1)


LOGIT = Objective("logit", _own)
LOG_PROBABILITY = Objective("log-probability", _log_probability)
PROBABILITY = Objective("probability", lambda logits, c: _log_probability(logits, c).exp())
CROSS_ENTROPY = Objective("cross-entropy", lambda logits, c: -_log_probability(logits, c))
MARGIN = Objective("margin", _margin)

OBJECTIVES = {
    objective.name: objective
    for objective in (LOGIT, LOG_PROBABILITY, PROBABILITY, CROSS_ENTROPY, MARGIN)
}


def as_objective(objective: str | Objective) -> Objective:
    """The objective of that name, or the value itself.

    Raises:
        InvalidParameterError: no objective has that name.
    """
    if isinstance(objective, Objective):
        return objective
    if objective not in OBJECTIVES:
        raise InvalidParameterError(
            f"objective is {objective!r}; expected one of {', '.join(OBJECTIVES)}"
        )
    return OBJECTIVES[objective]
