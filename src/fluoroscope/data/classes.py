"""Class numbers as they were read from labels, or why there are none."""

from dataclasses import dataclass

from torch import Tensor

# A hidden label, as in the test split of a competition, is stored as -1.
MISSING = -1


@dataclass(frozen=True)
class Classes:
    """The class of each picture: ``numbers`` ``(N,)`` int64, -1 where there is none, with the
    ``names`` of the classes if they have any; or ``why`` no class could be read.
    """

    numbers: Tensor | None = None
    names: tuple[str, ...] | None = None
    why: str | None = None
