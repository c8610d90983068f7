"""One number of a unit for a picture, of the many that it has at its places."""

from dataclasses import dataclass

from torch import Tensor

from fluoroscope.errors import InvalidParameterError
from fluoroscope.neurons.reading.units import Units

REDUCTIONS = ("mean", "max", "position")


@dataclass(frozen=True)
class Reduction:
    """The mean over a unit's places, the largest, or what it is at one of them.

    Of tokens of no place, such as a class token, ``mean`` and ``max`` take none where others are.
    ``at`` is ``(row, column)``; of tokens also their number alone, from 0.
    """

    kind: str = "mean"
    at: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the name."""
        if self.kind not in REDUCTIONS or (self.kind == "position") != (self.at is not None):
            raise InvalidParameterError(
                f"reduction is {self}; expected mean, max, or a position such as 3,4 (row and "
                "column) or 0 (a token)"
            )

    def __call__(self, units: Units, output: Tensor) -> Tensor:
        """What the layer gave out ``(N, ...)`` as ``(N, K)``.

        Raises:
            InvalidParameterError: it has no such position.
        """
        places = units.places(output)
        if places.shape[2] == 1 and not any(self.at or ()):
            return places[:, :, 0]
        if self.at is not None:
            return places[:, :, self._place(units, places.shape[2])]
        if units.grid is not None and units.grid.prefix:
            places = places[:, :, units.grid.prefix :]
        return places.mean(2) if self.kind == "mean" else places.amax(2)

    def _place(self, units: Units, many: int) -> int:
        at, grid = self.at, units.grid
        assert at is not None
        if len(at) == 1 and 0 <= at[0] < many:
            return at[0]
        if grid is not None and len(at) == 2:
            row, column = at
            if 0 <= row < grid.height and 0 <= column < grid.width:
                return grid.prefix + row * grid.width + column
        rows = (
            "" if grid is None else f", or row and column up to {grid.height - 1},{grid.width - 1}"
        )
        if many == 1:
            raise InvalidParameterError(
                f"reduction is {self}, and a unit of the layer {units.layer!r} has a single place; "
                "expected mean, max or 0, which are all the same there"
            )
        raise InvalidParameterError(
            f"reduction is {self}, and the layer {units.layer!r} has {many} places; expected a "
            f"number from 0 to {many - 1}{rows}"
        )

    def __str__(self) -> str:
        return str(self.kind) if self.at is None else ",".join(map(str, self.at))


def as_reduction(given: "str | Reduction") -> Reduction:
    """A reduction by its name: ``mean``, ``max``, or a position such as ``3,4``.

    Raises:
        InvalidParameterError: none of these.
    """
    if isinstance(given, Reduction):
        return given
    numbers = given.split(",") if isinstance(given, str) else [""]
    if all(each.strip().isdecimal() for each in numbers) and len(numbers) <= 2:
        return Reduction("position", tuple(map(int, numbers)))
    return Reduction(given)
