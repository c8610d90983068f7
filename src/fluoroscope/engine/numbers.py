"""Numbers as people give them: counts and times."""

import math
import re
from operator import index
from typing import SupportsIndex, cast

from fluoroscope.errors import InvalidParameterError

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
