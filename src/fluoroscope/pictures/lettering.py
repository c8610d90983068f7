"""Words drawn into pictures without Matplotlib, whose font they are set in: it has the accents and
signs that Pillow's own lacks.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def lettering(size: int, *, bold: bool = False) -> Font:
    """DejaVu Sans in a size in pixels; where it cannot be found, the font within Pillow."""
    found = find_spec("matplotlib")  # looked for, not imported
    for place in (found and found.submodule_search_locations) or ():
        name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
        file = Path(place, "mpl-data", "fonts", "ttf", name)
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)


def broken(text: str, font: Font, width: float, lines: int) -> list[str]:
    """A text in at most so many lines of a width in pixels: broken between words, a word only where
    it is wider than a line, and cut with an ellipsis where it is longer than they are.
    """
    found: list[str] = []
    # The narrow space keeps a number and its unit together.
    seen = "".join(sign if sign.isprintable() or sign == "\u202f" else " " for sign in text)
    left = " ".join(filter(None, seen.split(" ")))
    while left and len(found) < lines:
        last = len(found) == lines - 1
        end = _fits(left, font, width)
        if end < len(left) and last:
            end = max(1, _fits(left, font, width - font.getlength("…")))
            found.append(left[:end].rstrip(" ,;-") + "…")
            break
        if end < len(left):
            space = left.rfind(" ", 0, end + 1)
            end = space if space > 0 else max(1, end)
        found.append(left[:end].rstrip())
        left = left[end:].lstrip()
    return found


def _fits(text: str, font: Font, width: float) -> int:
    """How many signs of a text fit, which may be thousands long."""
    low, high = 0, min(len(text), 400)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low
