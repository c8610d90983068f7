"""Numbers as people give them: counts and times."""

import math
import re
from collections.abc import Sequence
from numbers import Real
from operator import index
from typing import Any, SupportsIndex, cast

from fluoroscope.errors import InvalidParameterError

# Pictures of which it says something that they are all predicted as one class.
_ENOUGH = 10
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def whole_number(name: str, value: object) -> int:
    """The value of a parameter that counts something; NumPy's numbers as plain ones.

    Raises:
        InvalidParameterError: no whole number, or below 1.
    """
    try:
        number = 0 if isinstance(value, bool) else index(cast(SupportsIndex, value))
    except TypeError:
        number = 0
    if number < 1:
        raise InvalidParameterError(f"{name} is {value!r}; expected a whole number, 1 or more")
    return number


def above_zero(name: str, value: object) -> float:
    """The value of a parameter that measures something; NumPy's numbers as plain ones.

    Raises:
        InvalidParameterError: no number, infinite, or not above 0.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise InvalidParameterError(f"{name} is {value!r}; expected a number above 0")
    return float(value)


def half_within(distances: Sequence[float], count: int) -> float | None:
    """The median of what ``count`` pictures took: the smallest distance within which half of them
    are fooled. ``distances`` are those of the fooled; the others count as farther than all.

    It is that of a picture, not between two, as in :meth:`.Curve.quantile`. ``None`` where fewer
    than half were fooled.
    """
    middle = (count - 1) // 2
    return sorted(distances)[middle] if 0 <= middle < len(distances) else None


def as_seconds(value: float | str, name: str = "budget") -> float:
    """A time above 0, given in seconds or as ``"90s"``, ``"10m"`` or ``"1h"``.

    Raises:
        InvalidParameterError: it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e-?\d+)?)\s*(s|m|min|h)?\s*", str(value).lower())
    seconds = float(found[1]) * _SECONDS[found[2] or ""] if found else 0.0
    if not 0 < seconds < math.inf:
        raise InvalidParameterError(
            f"{name} is {value!r}; expected a time above 0, in seconds or such as 90s, 10m or 1h"
        )
    return seconds


def one_class(read_as: Any, labels: Any) -> bool:
    """Whether all of several pictures ``(N,)`` of several classes are predicted as one.

    Both are tensors, or arrays of NumPy.
    """
    several = len(labels) >= _ENOUGH and bool((labels != labels[0]).any())
    return several and bool((read_as == read_as[0]).all())
