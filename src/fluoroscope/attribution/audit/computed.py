"""What a network computes, in a few numbers: its weights do not say what its code makes of them.

Whoever changes ``forward``, or a way back of an ``autograd.Function``, has the same weights and
another network. Answers, slopes and the operations behind them tell, to a few digits: which threads
or batch sizes there are changes none of those.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.audit.bench import Bench
from fluoroscope.attribution.classes import objective_of
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.errors import FluoroscopeError
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import collected


@dataclass(frozen=True)
class Computed:
    """Plain values, as an audit's file has them."""

    shape: list[int]
    operations: dict[str, Any] | None
    digits: int
    numbers: list[float]


PICTURES = 2
_PICTURES, _WAYS, _DRAWS = 122, 123, 4
# Digits that are the same on every machine, in float64 and where there is none.
_EXACT, _ROUNDED = 4, 3


def computed(model: Classifier, shape: Sequence[int]) -> Computed:
    """The same of pictures ``(C, H, W)`` of noise, which are everybody's."""
    keys = randomness.keys(0, torch.arange(PICTURES, device="cpu"), _PICTURES)
    images = randomness.uniform(keys, 0, tuple(shape)).to(model.device, model.dtype)
    with collected():
        try:
            classes = evaluate(model, images, look=False).logits.argmax(1)
        except FluoroscopeError:
            return Computed([*shape], None, 0, [])
        numbers = torch.arange(PICTURES, device="cpu")
        return computed_on(Bench(model, images, classes, numbers, 0))


def computed_on(bench: Bench) -> Computed:
    """Operations behind the answers, and answers and slopes at the first pictures, rounded.

    A network that answers otherwise another time has operations alone.
    """
    bench = bench.first(PICTURES)
    with collected():
        graph = bench.graph
        exact = bench if bench.model.precision == torch.float64 else bench.exact
        digits = _ROUNDED if exact is None else _EXACT
        numbers = _numbers(exact or bench, digits)
        steady = _near(numbers, _numbers(exact or bench, digits), digits)
    return Computed(
        [*bench.images.shape[1:]],
        None if graph is None else graph.describe(),
        digits if steady else 0,
        numbers if steady else [],
    )


def same(ones: Computed, others: Computed) -> bool:
    """Whether two networks of the same weights compute the same, on pictures of one shape."""
    if ones.shape != others.shape or ones.operations != others.operations:
        return False
    digits = min(ones.digits, others.digits)
    return not digits or _near(ones.numbers, others.numbers, digits)


def _numbers(bench: Bench, digits: int) -> list[float]:
    goal = objective_of(bench.classes)
    try:
        answer = evaluate(bench.model, bench.images, bench.classes, goal, gradient=True, look=False)
    except FluoroscopeError:  # such as no gradient: methods that need none may be asked
        try:
            answer = evaluate(bench.model, bench.images, look=False)
        except FluoroscopeError:
            return []
    keys = randomness.keys(0, torch.arange(len(bench), device="cpu"), _WAYS)
    found = [_summed(answer.logits, keys, digits)]
    if answer.gradient is not None:
        found.append(_summed(answer.gradient, keys, digits))
    return [each for one in found for each in one]


def _summed(values: Tensor, keys: Tensor, digits: int) -> list[float]:
    """Of each row its length, and how far it points along random directions, in units of it."""
    rows = values.detach().double().cpu().flatten(1)
    sizes = rows.norm(dim=1)
    ways = torch.stack(
        [randomness.normal(keys, draw, (rows.shape[1],)).double().cpu() for draw in range(_DRAWS)]
    )
    along = (ways * rows).sum(2) / sizes.where(sizes > 0, 1.0)
    sized = [float(f"{size:.{digits}g}") for size in sizes.tolist()]
    return sized + [round(each, digits) + 0.0 for each in along.flatten().tolist()]


def _near(ones: Sequence[float], others: Sequence[float], digits: int) -> bool:
    bar = 10.0 ** (1 - digits)
    return len(ones) == len(others) and all(
        math.isclose(one, other, rel_tol=bar, abs_tol=bar if abs(one) < 10 else 0.0)
        for one, other in zip(ones, others, strict=True)
    )
