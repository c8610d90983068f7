"""Pictures in rows with words before each row, and if wanted words under each picture.

Drawn by Pillow alone, since there may be hundreds, and may be drawn again while they form.
"""

from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from fluoroscope.pictures.display import said, shown
from fluoroscope.pictures.lettering import broken, lettering
from fluoroscope.pictures.write import to_pil

# Pixels: the side that pictures are brought near to, gaps, the words before a row.
_SIDE, _LARGE, _GAP, _WORDS = 84, 224, 6, 150
_SIZE, _SMALL = 15, 12
_INK, _SOFT, _PAPER, _WRONG = (24, 24, 27), (82, 82, 91), (255, 255, 255), (180, 35, 24)


def gallery(
    rows: Sequence[tuple[str, Tensor]],
    *,
    title: str = "",
    under: Sequence[Sequence[str]] | None = None,
    warning: str = "",
) -> Image.Image:
    """Rows of pictures ``(n, C, H, W)`` in ``[0, 1]``, each with its words before it.

    Args:
        rows: words, and pictures of one size, as many or fewer in each row.
        title: a line over all.
        under: for each row the words under each of its pictures; one line each.
        warning: a sentence below the title, in red: what is wrong with what is seen.
    """
    height, width = rows[0][1].shape[2:]
    side = _SIDE if max(height, width) <= _SIDE else _LARGE
    factor = max(1, side // max(height, width)) if max(height, width) <= side else 0
    cell = (width * factor, height * factor) if factor else _shrunk(width, height, side)
    most = max(len(pictures) for _, pictures in rows)
    font, small, bold = lettering(_SIZE), lettering(_SMALL), lettering(_SIZE, bold=True)
    line = _SIZE * 4 // 3
    across = _WORDS + 2 * _GAP + most * (cell[0] + _GAP)
    which = said(rows[0][1].shape[1])
    above = [
        *((text, bold, _INK) for text in broken(title, bold, across - 2 * _GAP, 3)),
        *((text, font, _WRONG) for text in broken(warning, font, across - 2 * _GAP, 8)),
        *((text, small, _SOFT) for text in broken(which, small, across - 2 * _GAP, 2)),
    ]
    deep = cell[1] + _GAP + (_SMALL * 4 // 3 if under is not None else 0)
    labels = [broken(words, font, _WORDS - _GAP, max(1, deep // line)) for words, _ in rows]
    top = _GAP + line * len(above) + (_GAP if above else 0)
    canvas = Image.new("RGB", (across, top + deep * len(rows) + _GAP), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, (text, letters, colour) in enumerate(above):
        draw.text((_GAP, _GAP + number * line), text, fill=colour, font=letters)
    for number, (_, pictures) in enumerate(rows):
        y = top + number * deep
        for at, text in enumerate(labels[number]):
            draw.text((_GAP, y + at * line), text, fill=_INK, font=font)
        for at, picture in enumerate(pictures):
            x = _WORDS + _GAP + at * (cell[0] + _GAP)
            how = Image.Resampling.NEAREST if factor else Image.Resampling.LANCZOS
            canvas.paste(to_pil(shown(picture)).resize(cell, how), (x, y))
            if under is not None and at < len(under[number]):
                words = broken(under[number][at], small, cell[0], 1)
                middle = x + cell[0] // 2
                draw.text(
                    (middle, y + cell[1] + 1), "".join(words[:1]), fill=_SOFT, font=small,
                    anchor="ma",
                )  # fmt: skip
    return canvas


def _shrunk(width: int, height: int, side: int) -> tuple[int, int]:
    share = side / max(width, height)
    return max(1, round(width * share)), max(1, round(height * share))
