"""Where units looked, as it is shown: over the picture in grey, beside what removing a unit does.

A map is a unit's relevance, which shares a decision out; the number is measured by removing it.
Both are of one class over one other, and still they may differ in sign; where they do it is said.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from fluoroscope.pictures.attribution_colours import Colours, colours_of, evened, evened_by

DIFFERS = "its map says otherwise"
"""Below a map that adds up to the other sign than its number has."""


def seen(maps: Tensor) -> tuple[Tensor, Colours]:
    """Maps ``(M, C, H, W)`` as they are shown ``(M, 1, H, W)``, and their colours, on one scale."""
    ready = evened(maps.sum(1))[:, None] if len(maps) else maps.sum(1, keepdim=True)
    return ready, replace(colours_of(list(ready)), signed=True)


def words(values: Tensor, effect: float) -> list[str]:
    """What stands below a map ``(C, H, W)``."""
    differs = float(values.double().sum()) * effect < 0
    return [f"{effect:+.3g}", *([DIFFERS] if differs else [])]


def key(pair: Sequence[str], way: str, maps: Tensor, colours: Colours) -> str:
    """What the colours and numbers are, of maps ``(..., C, H, W)`` found in one of two ways."""
    how = "relevance" if way == "lrp" else "gradient × input"
    one, other = pair
    block = evened_by(maps)
    mean = f", means of {block}×{block} pixels" if block > 1 else ""
    return (
        f"Maps: {how} through this unit alone, in logits of {one} over {other}; red for {one}, "
        f"blue for {other}; the colours end at {colours.words(maps.shape[-3])}{mean}. Numbers: "
        f"what is lost of the logit of {one} over that of {other} without the unit, measured. "
        "Relevance shares out what removal measures, and may differ from it in sign: then that "
        "stands below the map"
    )
