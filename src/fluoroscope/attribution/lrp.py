"""Layer-wise relevance propagation: one pass back by the rules of :mod:`.rules.lrp`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

from torch import Tensor

from fluoroscope.attribution.gradient import Gradient
from fluoroscope.attribution.method import Found, Promise, Sums, promise_error
from fluoroscope.attribution.rules.lrp.context import How
from fluoroscope.attribution.rules.lrp.mode import Relevance
from fluoroscope.attribution.rules.lrp.spreading import SPREADS
from fluoroscope.attribution.rules.mode import Coverage
from fluoroscope.attribution.rules.ruled import Ruled
from fluoroscope.attribution.rules.table import rules_of
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.words import count

COMPOSITES = {
    "epsilon-plus-flat": ("flat", "z-plus", "epsilon"),
    "epsilon-gamma-box": ("box", "gamma", "epsilon"),
    "gamma": ("gamma", "gamma", "gamma"),
    "epsilon": ("epsilon", "epsilon", "epsilon"),
}
"""The rules of the layer that meets the picture, of other convolutions, and of dense layers."""
_ATTENTION = ("held", "shared")
_BIAS = ("shared", "absorbed")
_OBJECTIVES = ("logit", "margin")
_TOLERANCE = 1e-3
"""Conservation errors above it are worth a sentence."""


@dataclass(frozen=True, kw_only=True)
class LRP(Gradient):
    """Relevance by a composite of rules, one for each kind of layer.

    Raises:
        InvalidParameterError: no such composite or rule, or a number that is none of theirs.
    """

    composite: str = "epsilon-plus-flat"
    depthwise: str | None = None
    epsilon: float = 1e-6
    gamma: float = 0.25
    attention: str = "held"
    bias: str = "shared"

    name: ClassVar[str] = "lrp"
    promise: ClassVar[Promise | None] = "conservation"

    def __post_init__(self) -> None:
        """Check the options."""
        _one_of("composite", self.composite, COMPOSITES)
        _one_of("attention", self.attention, _ATTENTION)
        _one_of("bias", self.bias, _BIAS)
        _one_of("objective", self.objective, _OBJECTIVES)
        if self.depthwise is not None:
            _one_of("depthwise", self.depthwise, SPREADS)
        for name in ("epsilon", "gamma"):
            value = getattr(self, name)
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            if not (fits and 0 <= value < float("inf")):
                raise InvalidParameterError(f"{name} is {value!r}; expected a number from 0 up")

    @property
    def absorbs(self) -> bool:
        """Whether something keeps relevance by the rules themselves."""
        return self.bias == "absorbed"

    def network(self, model: Classifier, images: Tensor, seed: int) -> Classifier:
        """The network under rules."""
        return Ruled(model, self.rules())

    def rules(self) -> Callable[[Coverage], Relevance]:
        """What makes the mode of one evaluation."""
        first, conv, dense = COMPOSITES[self.composite]
        how = How(
            first=first,
            conv=conv,
            depthwise=self.depthwise or conv,
            dense=dense,
            epsilon=float(self.epsilon),
            gamma=float(self.gamma),
            held=self.attention == "held",
            absorbed=self.absorbs,
        )
        rules = rules_of("lrp")
        return lambda coverage: Relevance(rules, how, coverage)

    def finish(self, state: Sums) -> Found:
        """The relevance of the pixels: what comes back under these rules is no slope."""
        value = state.values[:, 0]
        return Found(state.total, value, promise_error(state.total, value))

    def remarks(self, error: Tensor) -> list[str]:
        """Where relevance was lost, or more came of it."""
        off = error > _TOLERANCE
        if not bool(off.any()):
            return []
        if self.absorbs:
            return [
                "lrp: biases, shifts of norms and epsilon keep what they add (bias='absorbed'), so "
                f"the maps of {count(int(off.sum()), 'picture')} add up to something else than the "
                f"number that they explain, by up to {float(error.max()):.1%} of it"
            ]
        return [
            f"lrp: {count(int(off.sum()), 'map')} add{'s' * (int(off.sum()) == 1)} up to something "
            f"else than the score, by up to {float(error.max()):.1%} of it: an operation "
            "without a rule, or one that keeps relevance to itself"
        ]


def _one_of(name: str, given: object, known: Iterable[str]) -> None:
    names = list(known)
    if given in names:
        return
    near = get_close_matches(str(given), names, n=1)
    raise InvalidParameterError(
        f"{name} is {given!r}; "
        + (f"did you mean {near[0]}? " if near else "")
        + f"expected one of {', '.join(names)}"
    )
