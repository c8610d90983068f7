"""One picture for a slide: the original, plus the change, is what the network takes for another.

Szegedy et al. 2013 and Goodfellow et al. 2014 showed it so. Drawn by Pillow alone, as it is to be
there at once; pixels are enlarged by whole factors and stay square.
"""

from dataclasses import dataclass
from math import floor, log10

from PIL import Image, ImageDraw
from torch import Tensor

from fluoroscope.pictures.display import said, shown
from fluoroscope.pictures.lettering import broken, lettering
from fluoroscope.pictures.write import to_pil
from fluoroscope.words import Ruler, as_percent, network_name, shortened

WIDTH = 1920
"""Of a slide in pixels; a little more where pictures can only be doubled to fit."""
# The side that a picture is brought near to, the room between two, and that around everything.
_SIDE, _BETWEEN, _AROUND = 540, 105, 45
# Sizes of type on a slide of WIDTH: 1080 pixels high, so 48 are what 24 points are on a slide.
_LABEL, _NUMBER, _SIGN, _FOOT = 60, 50, 110, 32
_INK, _SOFT, _FRAME, _PAPER = (24, 24, 27), (82, 82, 91), (190, 190, 196), (255, 255, 255)
# Mid-grey plus the change times a factor reaches the end of the scale where that is half of it.
_ROOM = 0.5


@dataclass(frozen=True)
class Caption:
    """What a network says of a picture."""

    label: str
    probability: float


def slide(
    before: Tensor, after: Tensor, *, was: Caption, became: Caption, network: str = ""
) -> Image.Image:
    """The original with its class, plus the change, equals the result with its class.

    Of the change is shown mid-grey plus a factor times it, which is written below it: the largest
    one of one digit with which no value leaves the scale. Pictures are enlarged by whole factors,
    nearest neighbour; those too large for the slide are shrunk.

    Args:
        before: ``(C, H, W)`` in ``[0, 1]``.
        after: the same, changed.
        was: what the network says of ``before``, with its probability.
        became: what it says of ``after``.
        network: whose words these are, for the bottom line.

    Returns:
        A picture in colour, about 1920 pixels wide and 1080 high.
    """
    change = (after - before).detach().cpu().float()
    largest = float(change.abs().max())
    factor = amplification(largest)
    grey = (_ROOM + factor * change).clamp(0, 1)
    pictures = [_sized(to_pil(shown(each))) for each in (before, grey, after)]
    ruler = Ruler("linf", len(before))
    at_most = f"at most {ruler.short(largest)} a pixel"
    words = [
        (was.label, as_percent(was.probability)),
        (f"change × {factor:g}", at_most) if largest else ("no change", ""),
        (became.label, as_percent(became.probability)),
    ]
    foot = " · ".join(filter(None, [network_name(network), said(len(before))]))
    return _composed(pictures, words, foot)


def amplification(largest: float) -> float:
    """What a change is multiplied with to be seen: one digit, and nothing leaves the scale."""
    if not largest > 0:
        return 1.0
    # Float noise in what is given as 0.1 is not to cost a step.
    wanted = _ROOM / largest * (1 + 1e-4)
    unit = 10.0 ** floor(log10(wanted))
    return floor(wanted / unit) * unit


def _sized(picture: Image.Image) -> Image.Image:
    """About the side that a slide has room for: whole factors up, or shrunk to it."""
    longer = max(picture.size)
    factor = max(1, round(_SIDE / longer))
    if factor * longer > 1.3 * _SIDE:
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        return picture
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def _composed(pictures: list[Image.Image], words: list[tuple[str, str]], foot: str) -> Image.Image:
    wide, high = pictures[0].size
    cell = max(wide, _SIDE)
    width = max(WIDTH, 3 * cell + 2 * _BETWEEN + _AROUND)
    label, number = lettering(_LABEL, bold=True), lettering(_NUMBER)
    # Words may reach into the room between the pictures.
    names = [broken(shortened(name, 60), label, cell + 0.6 * _BETWEEN, 2) for name, _ in words]
    rows = max(map(len, names))
    text = 40 + round(1.2 * _LABEL) * rows + round(1.4 * _NUMBER)
    bottom = 2 * _FOOT + _AROUND if foot else _AROUND
    height = max(width * 9 // 16, high + text + bottom + 2 * _AROUND)
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    top = (height - bottom - high - text) // 2
    middles = [width // 2 + step * (cell + _BETWEEN) for step in (-1, 0, 1)]
    for middle, picture, lines, (_, below) in zip(middles, pictures, names, words, strict=True):
        left = middle - wide // 2
        canvas.paste(picture, (left, top))
        draw.rectangle(
            (left - 2, top - 2, left + wide + 1, top + high + 1), outline=_FRAME, width=2
        )
        y = top + high + 40
        for line in lines:
            draw.text((middle, y), line, fill=_INK, font=label, anchor="ma")
            y += round(1.2 * _LABEL)
        draw.text((middle, y + 6), below, fill=_SOFT, font=number, anchor="ma")
    sign = lettering(_SIGN)
    for joint, left, right in (("+", 0, 1), ("=", 1, 2)):
        place = ((middles[left] + middles[right]) // 2, top + high // 2)
        draw.text(place, joint, fill=_INK, font=sign, anchor="mm")
    if foot:
        small = lettering(_FOOT)
        [line] = broken(foot, small, width - 2 * _AROUND, 1)
        draw.text((width // 2, height - _AROUND), line, fill=_SOFT, font=small, anchor="ms")
    return canvas
