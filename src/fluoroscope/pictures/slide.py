"""One picture for a slide: the original, plus the change, is what the network takes for another.

Szegedy et al. 2013 and Goodfellow et al. 2014 showed it so. Drawn by Pillow alone, as it is to be
there at once; pixels are enlarged by whole factors and stay square.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, log10

from PIL import Image, ImageDraw
from torch import Tensor

from fluoroscope.pictures.display import said, shown
from fluoroscope.pictures.lettering import Font, broken, lettering
from fluoroscope.pictures.write import to_pil
from fluoroscope.words import Ruler, as_percent, network_name, percent, shortened

# Lengths where pictures are _SIDE long, which makes a slide 1920 pixels wide: the room between
# two pictures, that around everything and that above the words. All grow with the pictures.
_SIDE, _BETWEEN, _AROUND, _GAP = 540, 105, 45, 40
# The longer side that a picture is brought near to by a whole factor, and the longest.
_NEAR, _LONGEST = 640, 860
# Sizes of type: on a slide 1080 pixels high, 48 are what 24 points are.
_LABEL, _NUMBER, _SIGN, _FOOT = 60, 50, 110, 32
_INK, _SOFT, _FRAME, _PAPER = (24, 24, 27), (82, 82, 91), (190, 190, 196), (255, 255, 255)
_FAILED = (180, 35, 24)
# Mid-grey plus the change times a factor reaches the end of the scale where that is half of it.
_ROOM = 0.5


@dataclass(frozen=True)
class Caption:
    """What a network says of a picture."""

    label: str
    probability: float


@dataclass(frozen=True)
class _Words:
    """What stands below a picture."""

    label: str
    below: str
    failed: str = ""


def slide(
    before: Tensor,
    after: Tensor,
    *,
    was: Caption,
    became: Caption,
    network: str = "",
    failed: str = "",
) -> Image.Image:
    """The original with its class, plus the change, equals the result with its class.

    Of the change is shown mid-grey plus a factor times it, which is written below it: the largest
    one of one digit with which no value leaves the scale. Pictures are enlarged by whole factors,
    nearest neighbour; large ones are shrunk.

    Args:
        before: ``(C, H, W)`` in ``[0, 1]``.
        after: the same, changed.
        was: what the network says of ``before``, with its probability.
        became: what it says of ``after``.
        network: whose words these are, for the bottom line.
        failed: where the result is not what was wanted, words for that.

    Returns:
        A picture in colour, filled by the three: about 1500 to 2700 pixels wide, and as high as
        they and their words are.
    """
    change = (after - before).detach().cpu().float()
    largest = float(change.abs().max())
    factor = amplification(largest)
    grey = (_ROOM + factor * change).clamp(0, 1)
    pictures = [_sized(to_pil(shown(each))) for each in (before, grey, after)]
    at_most = f"at most {Ruler('linf', len(before)).share(largest)}"
    words = [
        _Words(was.label, as_percent(was.probability)),
        _Words(drawn_at(factor), at_most) if largest else _Words("no change", ""),
        _Words(became.label, as_percent(became.probability), failed),
    ]
    foot = " · ".join(filter(None, [network_name(network), said(len(before))]))
    return _composed(pictures, words, foot)


def drawn_at(factor: float) -> str:
    """How much of a change is drawn, in words: ``change × 60``, ``change at half strength``."""
    if factor == 1:
        return "change"
    if factor > 1:
        return f"change × {factor:g}"
    return f"change at {'half' if factor == _ROOM else percent(factor, 0)} strength"


def amplification(largest: float) -> float:
    """What a change is multiplied with to be seen: one digit, and nothing leaves the scale."""
    if not largest > 0:
        return 1.0
    # Float noise in what is given as 0.1 is not to cost a step.
    wanted = _ROOM / largest * (1 + 1e-4)
    unit = 10.0 ** floor(log10(wanted))
    return floor(wanted / unit) * unit


def _sized(picture: Image.Image) -> Image.Image:
    """About the side that is wanted: whole factors up, or shrunk to it."""
    longer = max(picture.size)
    factor = max(1, round(_NEAR / longer))
    if factor * longer > _LONGEST:
        picture.thumbnail((_NEAR, _NEAR), Image.Resampling.LANCZOS)
        return picture
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def _composed(pictures: list[Image.Image], words: list[_Words], foot: str) -> Image.Image:
    (wide, high), cell = pictures[0].size, max(pictures[0].size)

    def at(length: float) -> int:
        return round(length * cell / _SIDE)

    between, around, gap = at(_BETWEEN), at(_AROUND), at(_GAP)
    width = 3 * cell + 2 * (between + around)
    # Words may reach into the room between the pictures.
    texts = [_lines(each, cell + 0.6 * between, at) for each in words]
    text = max(sum(line.size * 6 // 5 for line in lines) for lines in texts)
    bottom = 2 * at(_FOOT) if foot else 0
    height = high + gap + text + bottom + 2 * around
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    middles = [width // 2 + step * (cell + between) for step in (-1, 0, 1)]
    for middle, picture, lines in zip(middles, pictures, texts, strict=True):
        left, y = middle - wide // 2, around + high + gap
        canvas.paste(picture, (left, around))
        frame = (left - 2, around - 2, left + wide + 1, around + high + 1)
        draw.rectangle(frame, outline=_FRAME, width=2)
        for line in lines:
            draw.text((middle, y), line.text, fill=line.ink, font=line.font, anchor="ma")
            y += line.size * 6 // 5
    sign = lettering(at(_SIGN))
    for joint, left, right in (("+", 0, 1), ("=", 1, 2)):
        place = ((middles[left] + middles[right]) // 2, around + high // 2)
        draw.text(place, joint, fill=_INK, font=sign, anchor="mm")
    if foot:
        small = lettering(at(_FOOT))
        [words_below] = broken(foot, small, width - 2 * around, 1)
        draw.text((width // 2, height - around), words_below, fill=_SOFT, font=small, anchor="ms")
    return canvas


@dataclass(frozen=True)
class _Line:
    text: str
    font: Font
    size: int
    ink: tuple[int, int, int]


def _lines(words: _Words, width: float, at: Callable[[float], int]) -> list[_Line]:
    """The words below a picture, broken to a width in pixels."""
    parts = (
        (shortened(words.label, 60), _LABEL, True, _INK),
        (words.below, _NUMBER, False, _SOFT),
        (words.failed, _NUMBER, True, _FAILED),
    )
    return [
        _Line(line, lettering(at(size), bold=bold), at(size), ink)
        for text, size, bold, ink in parts
        for line in broken(text, lettering(at(size), bold=bold), width, 2)
    ]
