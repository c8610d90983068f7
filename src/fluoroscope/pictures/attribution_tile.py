"""One map by itself as a picture: the pixels, the colours with their ends, and what it speaks of.

Drawn by Pillow alone, as there may be many. What is wrong with a map stands over it.
"""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from fluoroscope.pictures.attribution_colours import Colours
from fluoroscope.pictures.lettering import broken, lettering
from fluoroscope.pictures.write import enlarged, to_pil

# Pixels: about as wide as a map is made, at least so wide is the tile, and around everything.
_SIDE, _LEAST, _AROUND = 448, 320, 12
_BAR, _SIZE = 14, 15
_INK, _SOFT, _PAPER, _WRONG = (24, 24, 27), (82, 82, 91), (255, 255, 255), (180, 35, 24)


def attribution_tile(
    values: Tensor, colours: Colours, words: Sequence[str], *, warning: str = ""
) -> Image.Image:
    """A map ``(C, H, W)`` enlarged by a whole factor, a bar of its colours below, then the words.

    Args:
        values: the map.
        colours: its scale.
        words: lines below, each broken where it is too long.
        warning: a sentence over the map.
    """
    drawn = enlarged(to_pil(colours.rgb(values.nan_to_num())), _SIDE)
    width = max(_LEAST, drawn.width)
    font = lettering(_SIZE)
    below = [line for text in words for line in broken(text, font, width, 3)]
    line = _SIZE * 4 // 3
    height = drawn.height + 2 * _AROUND + _BAR + line + line * len(below)
    canvas = Image.new("RGB", (width + 2 * _AROUND, height + 2 * _AROUND), _PAPER)
    draw = ImageDraw.Draw(canvas)
    left, top = _AROUND + (width - drawn.width) // 2, _AROUND
    canvas.paste(drawn, (left, top))
    frame = (left - 1, top - 1, left + drawn.width, top + drawn.height)
    draw.rectangle(frame, outline=_WRONG if warning else (187, 187, 187), width=2 if warning else 1)
    if warning:
        _warn(draw, warning, left, top + drawn.height, drawn.width)
    y = top + drawn.height + _AROUND
    shades = torch.linspace(
        colours.start, colours.end, width, dtype=torch.float32, device="cpu"
    ).repeat(1, _BAR, 1)
    canvas.paste(to_pil(colours.rgb(shades)), (_AROUND, y))
    y += _BAR + 2
    places = ((_AROUND, "la", colours.start), (_AROUND + width, "ra", colours.end))
    for x, anchor, number in places:
        draw.text((x, y), f"{number:.3g}", fill=_SOFT, font=font, anchor=anchor)
    for text in below:
        y += line
        draw.text((_AROUND, y + 4), text, fill=_INK, font=font)
    return canvas


def _warn(draw: ImageDraw.ImageDraw, warning: str, left: int, bottom: int, width: int) -> None:
    font, line = lettering(_SIZE - 1, bold=True), _SIZE + 3
    lines = broken(warning, font, width - 16, 8)
    draw.rectangle(
        (left, bottom - line * len(lines) - 8, left + width - 1, bottom - 1), fill=_WRONG
    )
    for number, text in enumerate(lines):
        y = bottom - line * (len(lines) - number) - 4
        draw.text((left + 8, y), text, fill=_PAPER, font=font)
