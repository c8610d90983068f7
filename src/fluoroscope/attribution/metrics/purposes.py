"""What random numbers are drawn for: no two uses share a number."""

from enum import IntEnum


class Purpose(IntEnum):
    """Beside a seed and a picture's number, what a draw belongs to."""

    REPLACING = 101
    TIES = 102
    SUBSETS = 103
    CELLS = 104
    PERTURBING = 105
    BALL = 106
    OTHER_CLASS = 107
    NOISE = 108
    RESAMPLING = 109
    CONTROL = 110
