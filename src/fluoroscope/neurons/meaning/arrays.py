"""Activations as arrays, which may lie on disk: a few rows of them in memory at a time."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Values = NDArray[np.float32]
"""Activations ``(N, K)``."""

# Rows that are in memory in double precision at once.
_ROWS = 512


def blocks(many: int) -> list[slice]:
    """So many rows, a few at a time."""
    return [slice(start, start + _ROWS) for start in range(0, many, _ROWS)]


def class_sums(values: Values, labels: Numbers, classes: int) -> tuple[Array, Numbers]:
    """The sum of each class's activations ``(C, K)``, and how many pictures it has ``(C,)``.

    Pictures of the class -1 do not count.
    """
    sums = np.zeros((classes, values.shape[1]))
    for rows in blocks(len(values)):
        there = labels[rows] >= 0
        np.add.at(sums, labels[rows][there], values[rows][there].astype(np.float64))
    return sums, np.bincount(labels[labels >= 0], minlength=classes)


def spreads(values: Values) -> Array:
    """The standard deviation of each unit ``(K,)`` over pictures ``(N, K)``."""
    mean, squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for rows in blocks(len(values)):
        mean += values[rows].sum(0, dtype=np.float64) / len(values)
    for rows in blocks(len(values)):
        squares += ((values[rows].astype(np.float64) - mean) ** 2).sum(0)
    found: Array = np.sqrt(squares / len(values))
    # Of a unit that says the same of all pictures rounding leaves some.
    found[values.min(0) == values.max(0)] = 0
    return found
