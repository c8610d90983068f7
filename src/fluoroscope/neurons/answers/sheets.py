"""Top pictures as pictures for people: whole, with what the unit saw outlined, and that cut out.

``units.png`` has all units, ``unit-K.png`` one of them larger in number of pictures; where there is
a second set of pictures, such as an adversarial one, its rows stand below those of the first.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fluoroscope.files import output_directory, remove
from fluoroscope.neurons.answers.receptive_field import Box
from fluoroscope.neurons.answers.top import TopPicture, TopPictures
from fluoroscope.pictures.attribution_colours import colours_of
from fluoroscope.pictures.display import said, shown, shown_array
from fluoroscope.pictures.tile_sheet import MOST_ACROSS, MOST_DOWN, Tile, tile_sheet
from fluoroscope.pictures.write import write_png
from fluoroscope.words import count, network_name, percent

if TYPE_CHECKING:
    from PIL.Image import Image

_OURS = re.compile(r"units\.png|unit-\d+\.png")
# In pixels: the longest side of a tile, the one from which on pictures are not shown pixel by
# pixel, the outline's width; and the part of a tile that a patch fills.
_SIDE, _SMALL, _LINE, _ROOM = 224, 96, 2, 0.92
# Orange on black: seen on dark and on light pictures.
_INK, _UNDER, _GROUND = (1.0, 0.55, 0.0), (0.0, 0.0, 0.0), 0.93
_ALL = (
    "what the unit sees is nearly the whole picture; outlined is where 95 % of its derivative lie"
)
_LOOKED = (
    "where it looked: the unit's relevance gone back to the pixels, red for the predicted class "
    "and blue against it, each row on its own scale"
)
_NEARLY = "is nearly the whole picture, where 95 % of its derivative lie"
_SEEN = "outlined is what the unit sees from its strongest place, as measured"


def sheet(
    real: TopPictures, against: TopPictures | None = None, *, units: Sequence[int] | None = None
) -> "Image":
    """Rows for each unit: its pictures, its patches, and the same of the second set.

    Args:
        real: the top pictures.
        against: those of the same units in another set, to stand below.
        units: only these of them.
    """
    rows: list[list[Tile]] = []
    names: list[str] = []
    sets = [real] if against is None else [real, against]
    wanted = [unit for unit in real.chosen if units is None or unit in units]
    fit = MOST_DOWN // sum(2 + (one.maps is not None) for one in sets)
    for unit in wanted[:fit]:
        for number, one in enumerate(sets):
            if unit not in one.chosen:
                continue
            found = one.found[one.chosen.index(unit)][:MOST_ACROSS]
            title = f"unit {unit}" if not number else "adversarial" if _led(one) else "other set"
            share = real.shares.get(unit)
            if not number and share is not None:
                title += f", {percent(share)} of all relevance"
            rows.append([_whole(one, each) for each in found])
            names.append(title)
            rows.append([Tile(_cut(one, each), one.said(each)[1:]) for each in found])
            names.append("what it saw")
            if one.maps is not None:
                rows.append([Tile(each, []) for each in _looked(one, found)])
                names.append("where it looked")
    left = len(wanted) - fit
    return tile_sheet(
        rows,
        names,
        title=_title(real, wanted),
        foot=_foot(sets, f"{count(left, 'unit')} more" if left > 0 else ""),
    )


def draw(
    real: TopPictures, directory: str | Path, against: TopPictures | None = None
) -> list[Path]:
    """Write ``units.png`` and a ``unit-K.png`` of each; those of an earlier call go."""
    out = output_directory(directory)
    remove(*(file for file in out.iterdir() if _OURS.fullmatch(file.name)))
    written = [write_png(out / "units.png", sheet(real, against))]
    if len(real.chosen) > 1:
        written += [
            write_png(out / f"unit-{unit}.png", sheet(real, against, units=[unit]))
            for unit in real.chosen
        ]
    return written


def outlined(image: Tensor, box: Box) -> Tensor:
    """A picture ``(C, H, W)`` in ``[0, 1]`` at the size that it is drawn in, ``(3, h, w)``, with
    the outline of a box of its pixels.
    """
    found, scale = _sized(image)
    height, width = found.shape[1:]
    y0, x0, y1, x1 = (round(each * scale) for each in box)
    if y0 == y1 or x0 == x1:  # it saw nothing
        return found
    for grown, ink in ((_LINE, _UNDER), (0, _INK)):
        frame = torch.zeros(height, width, dtype=torch.bool, device="cpu")
        top, left = max(0, y0 - grown), max(0, x0 - grown)
        bottom, right = min(height, y1 + grown), min(width, x1 + grown)
        frame[top:bottom, left:right] = True
        inner = _LINE if not grown else 2 * _LINE
        frame[top + inner : bottom - inner, left + inner : right - inner] = False
        found[:, frame] = torch.tensor(ink, dtype=torch.float32, device="cpu")[:, None]
    return found


def _whole(top: TopPictures, one: TopPicture) -> Tile:
    picture = outlined(top.images[one.picture], top.seen(one))
    return Tile(picture, top.said(one)[:1], wrong=top.wrong(one))


def _cut(top: TopPictures, one: TopPicture) -> Tensor:
    """The patch on a ground as large as the picture is drawn, with its own proportions."""
    like, _ = _sized(top.images[one.picture])
    ground = torch.full_like(like, _GROUND)
    patch = top.patch(one)
    if not patch.numel():
        return ground
    patch = _colours(patch)
    height, width = like.shape[1:]
    scale = min(_ROOM * height / patch.shape[1], _ROOM * width / patch.shape[2])
    size = [max(1, round(side * scale)) for side in patch.shape[1:]]
    smooth = min(patch.shape[1:]) >= _SMALL // 2
    drawn = (
        F.interpolate(patch[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
        if smooth
        else F.interpolate(patch[None], size, mode="nearest")[0]
    )
    top_, left = (height - size[0]) // 2, (width - size[1]) // 2
    ground[:, top_ : top_ + size[0], left : left + size[1]] = drawn
    return ground


def _looked(top: TopPictures, found: Sequence[TopPicture]) -> list[Tensor]:
    """The maps of a row of pictures over these, on one scale."""
    assert top.maps is not None
    scale = replace(colours_of([top.maps[one.map] for one in found]), signed=True)
    laid = [scale.over(shown_array(top.images[one.picture]), top.maps[one.map]) for one in found]
    return [_sized(torch.from_numpy(each).permute(2, 0, 1).float())[0] for each in laid]


def _colours(image: Tensor) -> Tensor:
    """``(3, H, W)`` of any channels."""
    return shown(image).detach().cpu().float().nan_to_num().clamp(0, 1).expand(3, -1, -1).clone()


def _sized(image: Tensor) -> tuple[Tensor, float]:
    """At the size of a tile, small ones pixel by pixel; and by how much."""
    found = _colours(image)
    longest = max(found.shape[1:])
    if longest >= _SMALL:
        return _sized_to(found, _SIDE / longest), _SIDE / longest
    factor = max(1, 168 // longest)
    return found.repeat_interleave(factor, 1).repeat_interleave(factor, 2), float(factor)


def _sized_to(found: Tensor, scale: float) -> Tensor:
    size = [max(1, round(side * scale)) for side in found.shape[1:]]
    return F.interpolate(found[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def _led(top: TopPictures) -> bool:
    """Whether the set is an adversarial one."""
    return bool(top.record.get("adversarial"))


def _title(top: TopPictures, units: Sequence[int]) -> str:
    network = network_name(str(top.record.get("model", "")))
    who = f"unit {units[0]} answers" if len(units) == 1 else "its units answer"
    most = f"the pictures that {who} to most"
    if top.by == "relevance":
        had = f"unit {units[0]}" if len(units) == 1 else "its units"
        most = f"the pictures in whose decision {had} had the largest part"
    return f"{network}, layer {top.units.layer}: {most}"


def _foot(sets: Sequence[TopPictures], left: str) -> str:
    top = sets[0]
    how = (
        "by the unit's largest activation"
        if top.by == "activation"
        else f"by the unit's relevance for the predicted class ({top.way})"
    )
    everything = np.mean([one.sees_all(each) for one in sets for row in one.found for each in row])
    channels = said(len(top.images[0]))
    level = [
        row[0].unit
        for one in sets
        for row in one.found
        if len(row) > 1 and row[0].value == row[-1].value
    ]
    tied = ", ".join(map(str, dict.fromkeys(level)))
    parts = [
        how,
        f"all pictures of {'unit' if len(set(level)) == 1 else 'units'} {tied} share one number, "
        "so their order tells nothing"
        if level
        else "",
        "below: what each is predicted as, the unit's number, and how sure the network is",
        _LOOKED if top.maps is not None else "",
        _SEEN
        if not everything
        else _ALL
        if everything == 1
        else f"{_SEEN}, or where that {_NEARLY}",
        left,
        f"shown: {channels}" if channels else "",
    ]
    return "; ".join(filter(None, parts))
