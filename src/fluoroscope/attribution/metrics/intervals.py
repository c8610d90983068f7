"""How sure a mean over pictures is: intervals by bootstrap (Efron 1979), of percentiles."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fluoroscope.attribution.metrics.purposes import Purpose
from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.errors import InvalidParameterError

Interval = tuple[float, float]
Statistic = Callable[[Tensor], Tensor]
"""Resamples ``(B, N)`` of picture numbers give a number ``(B,)`` for each."""

# Numbers that are drawn and looked up at once.
_AT_ONCE = 2**22


def bootstrap(
    scores: Tensor, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The interval of the mean of the scores ``(N,)`` of ``N`` pictures.

    Of a single picture nothing is known of others: from minus to plus infinity.

    Raises:
        InvalidParameterError: no scores, some not finite, or a confidence outside (0, 1).
    """
    rows = scores.detach().double().cpu().flatten()
    check_finite(rows)
    return interval_of(
        lambda drawn: rows[drawn].mean(1), len(rows),
        confidence=confidence, resamples=resamples, seed=seed,
    )  # fmt: skip


def interval_of(
    statistic: Statistic,
    pictures: int,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The interval of a statistic of so many pictures: what is paired by picture stays so.

    Raises:
        InvalidParameterError: no pictures, or a confidence outside (0, 1).
    """
    resamples = whole_number("resamples", resamples)
    if not 0 < confidence < 1:
        raise InvalidParameterError(
            f"confidence is {confidence}; expected more than 0 and less than 1"
        )
    if not pictures:
        raise InvalidParameterError("scores are empty; expected those of one picture or more")
    if pictures == 1:
        return -math.inf, math.inf
    numbers = torch.arange(resamples, device="cpu")
    keys = randomness.keys(seed, numbers, Purpose.RESAMPLING)
    found = torch.cat(
        [
            statistic(randomness.integers(part, 0, pictures, pictures))
            for part in keys.split(max(1, _AT_ONCE // pictures))
        ]
    )
    tail = (1 - confidence) / 2
    low, high = found.quantile(found.new_tensor([tail, 1 - tail])).tolist()
    return low, high


def check_finite(scores: Tensor) -> None:
    """Refuse scores that are NaN or infinite: no mean of them says anything.

    Raises:
        InvalidParameterError: some are.
    """
    bad = int((~scores.isfinite()).sum())
    if bad:
        raise InvalidParameterError(
            f"scores hold NaN or infinity at {bad} of {scores.numel()}; expected finite numbers: "
            "leave those pictures out, and say so"
        )
