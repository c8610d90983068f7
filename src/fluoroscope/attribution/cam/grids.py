"""Where in a picture the numbers lie that a layer gives out: maps, or tokens in the order of rows.

A layer says nothing of it itself. Convolutions give out ``(N, K, h, w)``, Swin transformers
``(N, h, w, K)``, others tokens ``(N, T, K)``, of which the first few may belong to no place (class
and register tokens). It is told from the picture's proportions.
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Layout = Literal["maps", "channels last", "tokens", "tokens last"]

# Tokens of no place: a class token and a teacher's, and registers. Few of them are believed where
# the rest is a grid of patches that may be cut off or padded; of more the patches have to fit.
_PREFIX, _FEW = 8, 2
# Of the picture's side at most so much is then left over, or padded.
_OVER = 0.05
# There are at least so many places for each token of no place.
_PLACES = 3
# A place of a map is at most so many times longer than wide: by uneven strides or by padding.
_LONG = 3.0


@dataclass(frozen=True)
class Grid:
    """How a layer's output for a picture is to be read."""

    layout: Layout
    height: int
    width: int
    channels: int
    prefix: int = 0
    """Tokens at the beginning that belong to no place."""

    def maps(self, output: Tensor) -> Tensor:
        """What the layer gave out as maps ``(N, K, h, w)``."""
        if self.layout == "maps":
            return output
        if self.layout == "channels last":
            return output.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            output = output.transpose(1, 2)
        found = output[:, :, self.prefix :]
        return found.reshape(*found.shape[:2], self.height, self.width)


def find_grid(shape: tuple[int, ...], picture: tuple[int, int]) -> Grid | None:
    """How an output of that shape, without the dimension of pictures, lies over a picture.

    By convention channels come first of four dimensions, and last of three, unless only the
    other way round fits the picture's ``(height, width)``. ``None`` where nothing fits.
    """
    if len(shape) == 3:
        first, second, third = shape
        maps = Grid("maps", second, third, first)
        last = Grid("channels last", first, second, third)
        best = last if _stretch(last, picture) < _stretch(maps, picture) else maps
        return best if _stretch(best, picture) <= _LONG else None
    if len(shape) == 2:
        first, second = shape
        found = _rows_and_columns(first, picture, _PREFIX)
        # As many of something as the picture has rows, or columns, may be just these.
        if found is not None and (second not in picture or found[3] == 0):
            return Grid("tokens", found[0], found[1], second, found[2])
        found = None if first in picture else _rows_and_columns(second, picture, 0)
        if found is not None and found[3] <= 1:
            return Grid("tokens last", found[0], found[1], first)
    return None


def _rows_and_columns(
    tokens: int, picture: tuple[int, int], most: int
) -> tuple[int, int, int, float] | None:
    """Rows, columns, tokens before them, and how much square patches of the picture leave over.

    Of at most so many before them the fewest with which the rest is a grid of patches.
    """
    proportion = picture[0] / picture[1]
    most = 0 if tokens in picture else min(most, tokens // (_PLACES + 1))
    for prefix in range(most + 1):
        places = tokens - prefix
        ideal = math.sqrt(places * proportion)
        for rows in sorted({math.floor(ideal), math.ceil(ideal)}, key=lambda r: abs(r - ideal)):
            # Half a row and half a column at most: a last one is padded, or left out.
            if rows > 0 and places % rows == 0:
                columns = places // rows
                near = abs(rows - ideal) < 0.5 and abs(columns - places / ideal) < 0.5
                if not near or rows > picture[0] or columns > picture[1]:
                    continue
                over = _left_over(rows, columns, picture)
                if prefix == 0 or over <= (_OVER if prefix > _FEW else 1):
                    return rows, columns, prefix, over
    return None


def _left_over(rows: int, columns: int, picture: tuple[int, int]) -> float:
    """How much of a side so many square patches leave over, or reach beyond: the least share.

    Infinite where there is none of which just so many begin, or lie within.
    """
    least = math.inf
    for patch in range(1, max(picture) + 1):
        gaps = [
            abs(side - many * patch) for side, many in zip(picture, (rows, columns), strict=True)
        ]
        if max(gaps) < patch:
            shares = [gap / side for gap, side in zip(gaps, picture, strict=True)]
            least = min(least, max(shares))
    return least


def _stretch(grid: Grid, picture: tuple[int, int]) -> float:
    """How many times longer than wide a place is, or wider than long."""
    tall, wide = picture[0] / max(grid.height, 1), picture[1] / max(grid.width, 1)
    return max(tall / wide, wide / tall)
