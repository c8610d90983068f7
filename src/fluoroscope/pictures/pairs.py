"""Pictures before and after, with what was changed between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from fluoroscope.pictures.display import said, shown
from fluoroscope.pictures.lettering import broken, lettering
from fluoroscope.pictures.maps import amplified
from fluoroscope.pictures.slide import amplification, drawn_at
from fluoroscope.pictures.write import enlarged, to_pil
from fluoroscope.words import Ruler

# In pixels: the side that pictures are brought near to, the narrowest column, the room between two,
# and the size of type.
_SIDE, _NARROWEST, _GAP, _TITLE = 280, 250, 24, 20


@dataclass(frozen=True)
class Pair:
    """A picture ``(C, H, W)`` in ``[0, 1]`` before and after, and what each was predicted as."""

    before: Tensor
    after: Tensor
    read_before: str
    read_after: str


def pair_sheet(pairs: Sequence[Pair]) -> Image.Image:
    """A column for each pair: before, the change, after.

    Of the changes is shown mid-grey plus one factor times them, as on a slide. Small pictures are
    enlarged by whole factors, pixels staying square, and large ones shrunk.
    """
    factor = amplification(max(map(_largest, pairs)))
    cells = [_column(pair, factor) for pair in pairs]
    wide, high = (max(picture.size[axis] for column in cells for picture, _ in column)
                  for axis in (0, 1))  # fmt: skip
    wide = max(wide, _NARROWEST)
    words, line = lettering(_TITLE), round(1.3 * _TITLE)
    which = said(len(pairs[0].before))
    rows = (f"before {which}".strip(), drawn_at(factor), f"after {which}".strip())
    names = [_upwards(row, high) for row in rows]
    left, down, across = (
        max(name.width for name in names) + _GAP,
        high + 2 * line + _GAP,
        wide + _GAP,
    )
    sheet = Image.new("RGB", (left + across * len(pairs), down * 3), "white")
    draw = ImageDraw.Draw(sheet)
    for number, name in enumerate(names):
        sheet.paste(name, (_GAP // 2, number * down + 2 * line))
        for place, column in enumerate(cells):
            picture, title = column[number]
            x, y = left + place * across + (wide - picture.width) // 2, number * down + 2 * line
            sheet.paste(picture, (x, y))
            edge = (x - 1, y - 1, x + picture.width, y + picture.height)
            draw.rectangle(edge, outline="#bbbbbb")
            text = broken(title, words, wide, 2)
            for above, part in enumerate(reversed(text)):
                middle = left + place * across + wide // 2
                draw.text((middle, y - 6 - above * line), part, "black", words, anchor="ms")
    return sheet


def _largest(pair: Pair) -> float:
    return float((pair.after - pair.before).abs().max())


def _column(pair: Pair, factor: float) -> list[tuple[Image.Image, str]]:
    change = amplified(pair.after - pair.before, factor)
    far = Ruler("linf", len(pair.before)).short(_largest(pair))
    titles = (pair.read_before, f"largest change {far}", pair.read_after)
    pictures = (pair.before, change, pair.after)
    return [(_sized(shown(each)), title) for each, title in zip(pictures, titles, strict=True)]


def _sized(picture: Tensor) -> Image.Image:
    made = enlarged(to_pil(picture), _SIDE)
    made.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return made


def _upwards(text: str, length: int) -> Image.Image:
    """Words that are read from below, in the middle of such a length."""
    font, line = lettering(_TITLE), round(1.3 * _TITLE)
    lines = broken(text, font, length, 3)
    made = Image.new("RGB", (length, line * len(lines)), "white")
    draw = ImageDraw.Draw(made)
    for number, part in enumerate(lines):
        middle = (length // 2, round((number + 0.5) * line))
        draw.text(middle, part, fill="black", font=font, anchor="mm")
    return made.rotate(90, expand=True)


def spread(count: int, most: int) -> Tensor:
    """At most so many positions out of ``count``, evenly spaced."""
    return (
        torch.linspace(0, count - 1, min(count, most), dtype=torch.float32, device="cpu")
        .round()
        .long()
    )
