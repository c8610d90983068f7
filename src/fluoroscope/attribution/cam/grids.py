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

# Tokens of no place: a class token and a teacher's, and up to 16 registers, but mostly 4 at most.
_PREFIX, _FEW = 18, 5
# There are at least so many places for each of them.
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
        ways: tuple[tuple[Layout, int, int], ...] = (
            ("tokens", shape[0], shape[1]),
            ("tokens last", shape[1], shape[0]),
        )
        fits = []
        for layout, tokens, channels in ways:
            found = _rows_and_columns(tokens, picture)
            if found is not None:
                fits.append(Grid(layout, found[0], found[1], channels, found[2]))
        return min(fits, key=lambda grid: grid.prefix > _FEW, default=None)
    return None


def _rows_and_columns(tokens: int, picture: tuple[int, int]) -> tuple[int, int, int] | None:
    """Rows, columns and tokens before them: the fewest with which the rest is like the picture.

    As many tokens as the picture has rows, or columns, may be just these.
    """
    proportion = picture[0] / picture[1]
    most = 0 if tokens in picture else min(_PREFIX, tokens // (_PLACES + 1))
    for prefix in range(most + 1):
        places = tokens - prefix
        ideal = math.sqrt(places * proportion)
        for rows in sorted({math.floor(ideal), math.ceil(ideal)}, key=lambda r: abs(r - ideal)):
            # Half a row and half a column at most: a last one is padded, or left out.
            if rows > 0 and places % rows == 0:
                columns = places // rows
                near = abs(rows - ideal) < 0.5 and abs(columns - places / ideal) < 0.5
                if near and rows <= picture[0] and columns <= picture[1]:
                    return rows, columns, prefix
    return None


def _stretch(grid: Grid, picture: tuple[int, int]) -> float:
    """How many times longer than wide a place is, or wider than long."""
    tall, wide = picture[0] / max(grid.height, 1), picture[1] / max(grid.width, 1)
    return max(tall / wide, wide / tall)
