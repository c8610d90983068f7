"""What a search raises: one number for each sample, from its logits and a class.

Objectives are values that carry a name and add and multiply: ``0.5 * LOGIT + MARGIN``. All are
written so that float64 logits keep their slope where float32 has none left: the log-probability
goes through the log-odds, never through ``1 - p``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from fluoroscope.errors import InvalidParameterError

Several = Callable[[Tensor, Tensor], Tensor]
"""Several numbers for each sample: logits ``(N, K)`` and classes ``(N,)`` give ``(N, R)``."""


_GIVEN: ContextVar[bool] = ContextVar("log-probabilities are given", default=False)


@dataclass(frozen=True)
class Objective:
    """A number to raise for each sample: logits ``(N, K)`` and classes ``(N,)`` give ``(N,)``."""

    name: str
    function: Callable[[Tensor, Tensor], Tensor]
    closed: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    """The values ``(N,)`` and their slopes at the logits ``(N, K)`` at once, where a formula gives
    them sooner than differentiation."""

    def __call__(self, logits: Tensor, classes: Tensor) -> Tensor:
        return self.function(logits, classes)

    def with_slopes(self, logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The values ``(N,)`` and their slopes at the logits ``(N, K)``."""
        if self.closed is not None and not _GIVEN.get():
            return self.closed(logits, classes)
        logits = logits.detach().requires_grad_()
        with torch.enable_grad():
            values = self(logits, classes)
            (slopes,) = torch.autograd.grad(values.sum(), logits)
        return values.detach(), slopes

    def __str__(self) -> str:
        return self.name

    def __add__(self, other: "Objective") -> "Objective":
        return Objective(
            f"({self} + {other})", lambda logits, c: self(logits, c) + other(logits, c)
        )

    def __mul__(self, factor: float) -> "Objective":
        return self._times(f"{factor:g} * {self}", lambda _: factor)

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return self._times(f"-{self}", lambda _: -1)

    def __sub__(self, other: "Objective") -> "Objective":
        return self + (-other)

    def towards(self, signs: Tensor) -> "Objective":
        """Raised where a sample's sign ``(n,)`` is 1, lowered where it is -1."""
        return self._times(f"±{self}", signs.to)

    def _times(self, name: str, factor: Callable[[Tensor], Tensor | float]) -> "Objective":
        """Times a factor for each sample, made to go with the logits."""

        def closed(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
            assert self.closed is not None
            values, slopes = self.closed(logits, classes)
            by = factor(logits)
            return values * by, slopes * (by[:, None] if isinstance(by, Tensor) else by)

        return Objective(
            name,
            lambda logits, c: self(logits, c) * factor(logits),
            closed if self.closed is not None else None,
        )


def _own(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


def _others(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.scatter(1, classes[:, None], -torch.inf)


@contextmanager
def log_probabilities_given(given: bool) -> Iterator[None]:
    """Inside, what objectives see as logits are log-probabilities, and stay as they are."""
    token = _GIVEN.set(given)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def _log_probability(logits: Tensor, classes: Tensor) -> Tensor:
    if _GIVEN.get():
        return _own(logits, classes)
    rivals = torch.logsumexp(_others(logits, classes), dim=1)
    return F.logsigmoid(_own(logits, classes) - rivals)


def _log_probability_closed(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """With ``q`` the probability of all rivals: ``q`` for the class, ``-q`` times their shares."""
    own = classes[:, None]
    others = logits.scatter(1, own, -torch.inf)
    rivals = torch.logsumexp(others, dim=1, keepdim=True)
    odds = logits.gather(1, own) - rivals
    shares = others.sub_(rivals).exp_().neg_().scatter_(1, own, 1)
    return F.logsigmoid(odds).squeeze(1), shares * torch.sigmoid(-odds)


def _margin(logits: Tensor, classes: Tensor) -> Tensor:
    return _own(logits, classes) - _others(logits, classes).amax(1)


def _spread(logits: Tensor, count: int, lowest: int) -> Tensor:
    """The highest logit minus the mean of the ``lowest`` last among the ``count`` highest."""
    classes = logits.shape[1]
    if classes < 3:
        return torch.ones_like(logits[:, 0])
    ranked = logits.topk(min(count, classes), dim=1).values
    return (ranked[:, 0] - ranked[:, -lowest:].mean(1)).clamp(min=1e-12)


def _dlr(logits: Tensor, classes: Tensor) -> Tensor:
    return -_margin(logits, classes) / _spread(logits, 3, 1)


LOGIT = Objective("logit", _own)
LOG_PROBABILITY = Objective("log-probability", _log_probability, _log_probability_closed)
PROBABILITY = Objective("probability", lambda logits, c: _log_probability(logits, c).exp())
CROSS_ENTROPY = replace(-LOG_PROBABILITY, name="cross-entropy")
MARGIN = Objective("margin", _margin)
DLR = Objective("dlr", _dlr)
"""The difference of logits ratio of Croce and Hein (2020), a loss like the cross-entropy:
``-(z_y - max_{i != y} z_i) / (z_(1) - z_(3))``, the same after adding to all logits or scaling
them. With two classes every such ratio is constant, so there it is the negative margin."""

OBJECTIVES = {
    objective.name: objective
    for objective in (LOGIT, LOG_PROBABILITY, PROBABILITY, CROSS_ENTROPY, MARGIN, DLR)
}


def capped_margin(towards: Tensor, confidence: float) -> Objective:
    """The lead, where ``towards`` ``(n,)`` is -1 over the class, as far as ``confidence``."""
    margin = MARGIN.towards(towards)
    return Objective("capped margin", lambda logits, c: margin(logits, c).clamp(max=confidence))


def targeted_dlr(left: Tensor) -> Objective:
    """DLR from the classes ``left`` ``(n,)`` towards the ones the objective is given.

    ``-(z_left - z_wanted) / (z_(1) - (z_(3) + z_(4)) / 2)`` (Croce and Hein 2020). With three
    classes the mean is that of the second and the third, or towards the third it would be constant;
    with two the ratio is always constant, so there it is the bare difference.
    """
    return Objective(
        "targeted-dlr",
        lambda logits, c: (_own(logits, c) - _own(logits, left)) / _spread(logits, 4, 2),
    )


def leads(count: int, towards: Tensor) -> Several:
    """How far each of the ``count`` strongest rivals leads over the class, ``(N, count)``.

    There are fewer if the network has fewer. The search has reached what it wants where one of the
    numbers is above 0; so where ``towards`` ``(N,)`` is 1 all are the lead of the class itself.
    """

    def several(logits: Tensor, classes: Tensor) -> Tensor:
        ranked = _others(logits, classes).topk(min(count, logits.shape[1] - 1), dim=1).values
        over = ranked - _own(logits, classes)[:, None]
        return torch.where(towards[:, None] > 0, -over[:, :1], over)

    return several


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
