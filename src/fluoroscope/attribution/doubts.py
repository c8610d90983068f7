"""Doubts about maps that come with the maps: a promise that is not kept, operations without a rule.

They cost nothing, so whoever makes maps is told at once; an audit makes verdicts of them.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Literal

import torch
from torch import Tensor

from fluoroscope.attribution.rules.graph import ACTIVATIONS
from fluoroscope.models.classifier import Classifier
from fluoroscope.words import count, number, percent, some

Word = Literal["valid", "partly", "not valid here"]
Told = tuple[Word, str]
"""How much a sentence weighs, and the sentence."""

# A completeness that is missed by more is none.
_BROKEN = 0.05
# Of a relevance that is missed by more, on the median picture, little is left to be shown.
_LITTLE = 0.5
LIMIT = 0.01
"""The completeness error that counts as none where it vanishes in the limit alone, of ever more
points or samples: of integrated gradients, whoever computes them."""
_RECURRENT = frozenset({"gru", "lstm", "rnn_tanh", "rnn_relu"})


def rounding(model: Classifier) -> float:
    """What rounding may change of a map, as a share: the root of the precision's epsilon."""
    epsilon = torch.finfo(model.precision).eps
    if model.device.type == "cuda":
        epsilon = max(epsilon, 2.0**-10)  # it multiplies float32 in 11 bits where it may
    return math.sqrt(epsilon)


def allowed(promise: str, model: Classifier, *, converges: bool | None = False) -> float:
    """By how much a promise may be missed: one bar for each, whoever made the map.

    By rounding, in float32, about 1e-4; of relevance, which passed many divisions, 1e-3. A
    completeness that is reached in the limit: 1 %, also where nobody knows (``None``).
    """
    limit = LIMIT if promise == "completeness" and converges is not False else 0.0
    return max(limit, rounding(model) * (3 if promise == "conservation" else 0.3))


def converging(method: object) -> bool:
    """Whether a method keeps its promise in the limit alone, of ever more points or samples."""
    about = getattr(method, "about", None)
    return hasattr(method, "tolerance") or bool(getattr(about, "converges", False))


def of_promise(
    promise: str | None,
    error: Sequence[float],
    share: Sequence[float],
    tolerance: float,
    *,
    converges: bool = False,
    absorbs: bool = False,
) -> list[Told]:
    """What is to be said of a promise.

    Args:
        promise: ``completeness``, ``conservation`` or ``None``.
        error: how far each map is from it, as :func:`.method.promise_error` has it.
        share: what each map adds up to, as a share of the number that it explains.
        tolerance: the error that counts as none.
        converges: whether it keeps its promise in the limit alone, of ever more points or samples.
        absorbs: whether something keeps relevance by the rules themselves.
    """
    if promise is None or not error:
        return []
    worst, middle = max(error), median(error)
    far = middle > _LITTLE
    what = "f(x) - f(baseline)" if promise == "completeness" else "f(x)"
    if worst <= tolerance:
        bar = f"; {shown(tolerance)} counts as none" if tolerance >= LIMIT else ""
        return [("valid", f"Its maps add up to {what}, to {shown(worst)} at worst{bar}.")]
    if promise == "conservation":
        low, high = min(share), max(share)
        if absorbs:
            words = (
                "By its rules biases, shifts of norms and epsilon keep what they add: its maps add "
                f"up to {shown(median(share))} of the score that they explain ({shown(low)} to "
                f"{shown(high)})."
            )
            return [("not valid here" if far else "partly", words)]
        near = worst <= 1 + tolerance and low >= -tolerance
        way = "lost" if high <= 1 + tolerance else "gained" if low >= 1 - tolerance else "changed"
        words = (
            f"Relevance is {way} on the way: its maps add up to {shown(median(share))} of the "
            f"score that they explain ({shown(low)} to {shown(high)}); {shown(tolerance)} off "
            "would count as none."
            if near
            else f"It does not conserve relevance: its maps add up to {number(low)} to "
            f"{number(high)} times the score that they explain."
        )
        return [("partly" if near and not far else "not valid here", words)]
    usual, most, bar = told_apart(middle, worst, tolerance)
    by = most if len(error) == 1 else f"{usual} on the median picture and {most} at worst"
    words = (
        f"Its maps miss {what}, to which they should add up, by {by}; {bar} would count as none."
    )
    if converges:
        words += " It does in the limit: give it more points or samples."
    return [("partly" if worst <= _BROKEN or converges else "not valid here", words)]


def of_coverage(
    coverage: Mapping[str, Mapping[str, int]] | None,
    promise: str | None,
    there: Mapping[str, int] | None = None,
) -> list[Told]:
    """What is to be said of which operations had a rule.

    Args:
        coverage: as :class:`.rules.mode.Coverage` describes itself; ``None`` of methods that have
            no rules.
        promise: of a method without any, the rules are for activations alone.
        there: the operations of the network that are not linear, by name, as the graph has them;
            ``None`` where nobody counted.
    """
    total = sum((there or {}).values())
    if coverage is None:
        return []
    missed, unseen = dict(coverage["missed"]), coverage.get("unseen", {})
    if promise is None:
        missed = {name: many for name, many in missed.items() if name in ACTIVATIONS}
    if promise is None and not sum(coverage["handled"].values()):
        return [
            ("not valid here", "Nothing in this network is an operation that it has a rule for.")
        ]
    found: list[Told] = []
    without = sum(missed.values())
    if missed:
        # A recurrent layer is one call, and in the graph all that it is made of.
        alike = all(many <= (there or {}).get(name, 0) for name, many in missed.items())
        of = f" of {total:,}" if alike else ""
        whole = _RECURRENT & missed.keys()
        more = " (a recurrent layer counts as one, whatever it is made of)" if whole else ""
        found.append(
            (
                "partly",
                f"{count(without, 'operation')}{of} that {'is' if without == 1 else 'are'} not "
                f"linear {'has' if without == 1 else 'have'} no rule, and there the way back is "
                f"the plain gradient's: {_listed(missed)}{more}.",
            )
        )
    if unseen:
        found.append(
            (
                "partly",
                "Functions with a way back of their own are not covered, for no rule sees inside "
                f"them: {_listed(unseen)}.",
            )
        )
    if not found and promise is None:
        found.append(("valid", "Each activation has a rule."))
    elif not found and total:
        words = (
            "The one operation that is not linear has a rule."
            if total == 1
            else f"Each of the {count(total, 'operation')} that are not linear has a rule."
        )
        found.append(("valid", words))
    return found


def of_answers(model: Classifier, maps: Tensor, values: Tensor, local: bool) -> list[Told]:
    """What is to be said where the number that is explained is no plain logit, or saturated.

    Args:
        model: the network.
        maps: ``(N, C, H, W)``.
        values: ``(N,)``, what they explain.
        local: whether they speak of slopes at the picture, and of no baseline.
    """
    found: list[Told] = []
    logs = model.outputs in ("probabilities", "log-probabilities")
    look = model.look
    shares = look is not None and bool(getattr(look, "found", lambda _: False)("outputs"))
    if logs:
        words = f"What is explained is the logarithm of the probabilities of {model.name}."
        found.append(("partly", words))
    if logs or shares:
        edge = 10 * torch.finfo(model.precision).eps
        full = values >= (0 if logs else 1) - edge
        if not local:  # with a baseline elsewhere the difference is seen
            full &= maps.double().flatten(1).sum(1).abs() < 1e-3
        if bool(full.any()):
            found.append(
                (
                    "partly",
                    f"Saturated: {int(full.sum())} of {count(len(full), 'answer')} are within "
                    f"{edge:.0e} of certainty behind a softmax, where its slope is lost in "
                    "rounding; explain the logits before it.",
                )
            )
    return found


def of_parts(maps: Tensor, tolerance: float) -> list[Told]:
    """What is to be said of maps ``(N, C, H, W)`` that promise a sum, where large parts cancel."""
    flat = maps.double().flatten(1)
    times = flat.abs().sum(1) / flat.sum(1).abs()
    many = times * tolerance > 1
    if not bool(many.any()):
        return []
    return [
        (
            "partly",
            f"Large parts cancel in {int(many.sum())} of {count(len(many), 'map')}: without their "
            f"signs they add up to {number(float(times[times.isfinite()].max()))} times what they "
            "explain, so few of their digits hold; take another baseline, or float64.",
        )
    ]


def shown(value: float) -> str:
    """A share as people read it, of any size."""
    if not abs(value) < math.inf:
        return "without bound"
    if 0 < abs(value) < 5e-4:
        return f"{value:.1g}"
    if abs(value) > 100:
        return f"{number(value)} times"
    return percent(value)


def told_apart(*values: float) -> list[str]:
    """Shares as people read them, of so many digits that the last two are not taken for one."""
    found = [shown(value) for value in values]
    digits = 2
    while values[-2] != values[-1] and found[-2] == found[-1] and digits < 9:
        digits += 1
        found = [
            f"{value:.{digits}g}" if abs(value) < 5e-4 else percent(value, digits)
            for value in values
        ]
    return found


def _listed(names: Mapping[str, int]) -> str:
    return some([f"{name} {many}" for name, many in sorted(names.items())])
