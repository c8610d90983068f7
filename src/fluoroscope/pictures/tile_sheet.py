"""Pictures in rows and columns with words: galleries, ladders, pairs.

Drawn by Pillow alone, as it is to be there while pictures are being made; small pictures are
enlarged by whole factors, so that their pixels stay square.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from fluoroscope.pictures.display import said, shown
from fluoroscope.pictures.lettering import broken, lettering
from fluoroscope.pictures.write import to_pil

# In pixels: the side that small pictures are brought near to, the longest side of a large one, the
# narrowest column, the room between two, the type and the room for the words beside a row.
_NEAR, _LONGEST, _NARROWEST, _GAP, _TYPE, _BESIDE = 140, 224, 160, 12, 14, 150
_INK, _SOFT, _WARNING, _PAPER = (24, 24, 27), (82, 82, 91), (180, 35, 24), (255, 255, 255)
_EMPTY, _FRAME = (236, 236, 239), (190, 190, 196)
# The narrowest sheet, so that a title has room.
_LEAST = 400
# Lines at the most: of a row's name, and of what stands below everything.
_LINES, _FOOT = 3, 8
# The percentile from which on a pixel is shown in full, as in Fel et al. 2023 (2306.06805).
_FULL = 80
# Rows and columns of a sheet at the most.
MOST_DOWN, MOST_ACROSS = 40, 12


@dataclass(frozen=True)
class Tile:
    """A picture with the lines that stand below it."""

    picture: Tensor | None
    """``(C, H, W)`` in ``[0, 1]``; ``None`` where there is none."""
    words: Sequence[str] = ()
    wrong: bool = False
    """Whether the words are a warning."""
    transparency: Tensor | None = None
    """``(1, H, W)``, how much each pixel was moved; those that were not are then not shown."""


def tile_sheet(
    rows: Sequence[Sequence[Tile]],
    names: Sequence[str],
    *,
    heads: Sequence[str] = (),
    title: str = "",
    warning: str = "",
    foot: str = "",
) -> Image.Image:
    """Tiles in rows, each with its name at the left.

    Args:
        rows: at least one of at least one tile; pictures all of one size.
        names: of the rows.
        heads: over the columns.
        title: over everything.
        warning: below it, what is wrong with all of them.
        foot: below everything, as what has been left out.
    """
    plain, bold, large = lettering(_TYPE), lettering(_TYPE, bold=True), lettering(_TYPE + 4)
    which = next((said(len(t.picture)) for row in rows for t in row if t.picture is not None), "")
    foot = ". ".join(filter(None, [foot, f"Shown: {which}" if which else ""]))
    wide, high = _cell(rows)
    across, line = max(map(len, rows)), round(1.35 * _TYPE)
    column = max(wide, _NARROWEST)
    named = [broken(name, bold, _BESIDE - _GAP, _LINES) for name in names]
    beside = ceil(max((bold.getlength(one) + _GAP for words in named for one in words), default=0))
    body = across * (column + _GAP) - _GAP
    width = max(_LEAST, 2 * _GAP + beside + body)
    heading = [(words, _INK) for words in broken(title, large, width - 2 * _GAP, 2)]
    heading += [(words, _WARNING) for words in broken(warning, large, width - 2 * _GAP, 3)]
    below = [[one for words in tile.words for one in broken(words, plain, column, 2)]
             for row in rows for tile in row]  # fmt: skip
    strip = line * max(map(len, below), default=0)
    ending = broken(foot, plain, width - 2 * _GAP, _FOOT)
    top = _GAP + round(1.35 * (_TYPE + 4)) * len(heading) + (line + 4) * bool(heads)
    height = top + len(rows) * (high + strip + _GAP) + line * len(ending) + _GAP // 2
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (words, colour) in enumerate(heading):
        at = (_GAP, _GAP // 2 + number * round(1.35 * (_TYPE + 4)))
        draw.text(at, words, fill=colour, font=large)
    for place, head in enumerate(heads):
        middle = _GAP + beside + place * (column + _GAP) + column // 2
        words = "".join(broken(head, bold, column, 1))
        draw.text((middle, top - line - 2), words, fill=_INK, font=bold, anchor="ma")
    told = iter(below)
    for down, (row, lines) in enumerate(zip(rows, named, strict=True)):
        y = top + down * (high + strip + _GAP)
        start = y + high // 2 - line * len(lines) // 2
        for number, words in enumerate(lines):
            at = (_GAP + beside - _GAP, start + number * line)
            draw.text(at, words, fill=_INK, font=bold, anchor="ra")
        for place, tile in enumerate(row):
            x = _GAP + beside + place * (column + _GAP)
            box = (x + (column - wide) // 2, y)
            draw.rectangle((box[0] - 1, y - 1, box[0] + wide, y + high), outline=_FRAME)
            if tile.picture is None:
                draw.rectangle((*box, box[0] + wide - 1, y + high - 1), fill=_EMPTY)
            else:
                drawn = drawn_at(picture_of(tile.picture, tile.transparency), (wide, high))
                sheet.paste(drawn, box, drawn if drawn.mode == "RGBA" else None)
            for number, words in enumerate(next(told)):
                colour = _WARNING if tile.wrong else _SOFT
                at = (x + column // 2, y + high + 2 + number * line)
                draw.text(at, words, fill=colour, font=plain, anchor="ma")
    for number, words in enumerate(ending):
        at = (_GAP, height - line * (len(ending) - number) - 2)
        draw.text(at, words, fill=_SOFT, font=plain)
    return sheet


def picture_of(image: Tensor, transparency: Tensor | None = None) -> Image.Image:
    """An image ``(C, H, W)`` as a picture, with ``transparency`` ``(1, H, W)`` as its opacity.

    A pixel is in full where the gradients there add up to the 80th percentile or more; the rest of
    the picture is spread over the range between its percentiles 1 and 99, as Fel et al. 2023
    (2306.06805) show such pictures.
    """
    seen = shown(image).detach().cpu().float().nan_to_num()
    if transparency is None:
        return to_pil(seen)
    low, high = np.percentile(seen.numpy(), (1, 99))
    spread = ((seen - low) / (high - low)).clamp(0, 1) if high > low else seen
    moved = transparency.detach().cpu().float().nan_to_num()[0]
    most = float(np.percentile(moved.numpy(), _FULL)) or float(moved.max())
    alpha = (moved / most).clamp(0, 1) if most > 0 else torch.ones_like(moved)
    found = to_pil(spread).convert("RGB")
    found.putalpha(to_pil(alpha[None]))
    return found


def drawn_at(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture in a size: pixel by pixel where it grows, smoothed where it shrinks."""
    if picture.size == size:
        return picture
    how = Image.Resampling.NEAREST if picture.width < size[0] else Image.Resampling.LANCZOS
    return picture.resize(size, how)


def _cell(rows: Sequence[Sequence[Tile]]) -> tuple[int, int]:
    """Width and height of every picture on the sheet."""
    shapes = [tile.picture.shape[-2:] for row in rows for tile in row if tile.picture is not None]
    height, width = (max(one[axis] for one in shapes) if shapes else _NEAR for axis in (0, 1))
    longest = max(height, width)
    if longest > _LONGEST:
        scale = _LONGEST / longest
        return max(1, round(width * scale)), max(1, round(height * scale))
    factor = max(1, _NEAR // longest)
    return width * factor, height * factor
