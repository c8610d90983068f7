"""Pictures by the values of a column, such as the camera: what an accuracy may differ between.

Words and whole numbers are values as they stand. Numbers of many values are cut into quarters of
the pictures, at the quartiles. Values are strangers' text: printable, and not for ever.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet

MOST = 50
"""Values of a column; with more of them each has few pictures, and one is low by chance."""
MISSING = "(none)"
"""What a picture without a value counts to."""
# Numbers of so many values are cut into quarters, if they are not all whole.
_MANY = 10
# From here on a number is a name, such as a patient's.
_LARGEST = 2**53
# Characters of a value.
_LONGEST = 60


def slices(images: "ImageSet", column: str) -> dict[int, str]:
    """The value of a column for each picture, by the picture's index in its data set.

    Raises:
        UnknownDataError: there is no such column.
        InvalidParameterError: it has no values, or more than :data:`MOST` that are no numbers.
    """
    raw = [None if _missing(one) else one for one in images.column(column)]
    values = [one for one in raw if one is not None]
    if not values:
        raise InvalidParameterError(
            f"the column {column!r} of {images.name} has no value for any picture; expected some"
        )
    if all(map(_is_number, values)):
        named = _numbers(raw)
    else:
        words = sorted(set(map(str, values)))
        if len(words) > MOST:
            raise InvalidParameterError(
                f"the column {column!r} of {images.name} has {len(words)} values; expected at most "
                f"{MOST}, or numbers"
            )
        shown = _shown(words)
        named = [None if one is None else shown[str(one)] for one in raw]
    found = (MISSING if one is None else one for one in named)
    return dict(zip(images.indices, found, strict=True))


def describe(images: "ImageSet", column: str) -> str:
    """What is in a column, in a few words: its numbers, or how many values and which."""
    values = [one for one in images.column(column) if not _missing(one)]
    if not values:
        return "no value"
    if all(map(_is_number, values)):
        return f"numbers from {min(values):g} to {max(values):g}"
    counts = Counter(map(str, values))
    most = ", ".join(_printable(value) for value, _ in counts.most_common(3))
    more = ", …" if len(counts) > 3 else ""
    much = " (too many for slices)" if len(counts) > MOST else ""
    return f"{len(counts)} value{'' if len(counts) == 1 else 's'}{much}: {most}{more}"


def _missing(value: Any) -> bool:
    return value is None or str(value).strip() in ("", "nan", "NaN", "inf", "-inf")


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < _LARGEST


def _numbers(column: Sequence[Any]) -> list[str | None]:
    """Few values as they stand, many in quarters."""
    there = {one for one in column if one is not None}
    whole = all(float(one).is_integer() for one in there)
    if len(there) > (MOST if whole else _MANY):
        return _quarters(column)
    return [None if one is None else str(int(one) if whole else one) for one in column]


def _quarters(column: Sequence[Any]) -> list[str | None]:
    """Each number's quarter of the pictures, from the lowest values to the highest."""
    numbers = np.array([math.nan if one is None else float(one) for one in column])
    there = numbers[~np.isnan(numbers)]
    # Quartiles that are values of pictures; equal values are in one quarter.
    ends = np.unique(np.quantile(there, [0.25, 0.5, 0.75, 1], method="inverted_cdf"))
    names = [f"up to {ends[0]:g}", *(f"> {low:g} to {high:g}" for low, high in pairwise(ends))]
    places = np.searchsorted(ends, numbers)
    return [
        None if math.isnan(number) else names[place]
        for number, place in zip(numbers, places, strict=True)
    ]


def _shown(values: Sequence[str]) -> dict[str, str]:
    """Each value as it is shown; no two the same."""
    found: dict[str, str] = {}
    for value in values:
        name, number = _printable(value), 2
        while name in found.values():
            name, number = f"{_printable(value)} ({number})", number + 1
        found[value] = name
    return found


def _printable(value: str) -> str:
    words = "".join(sign if sign.isprintable() else " " for sign in value).strip() or repr(value)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
