"""Portraits as pictures for people: gallery, ladder, pairs, curves, and the way as a GIF.

``gallery.png`` (classes down, samples across), ``ladder.png`` (the picture at probability .5, .9,
.99 and .999), ``pairs.png`` (for and against a class), ``curves.png`` and ``curves.svg``,
``portraits.gif`` where frames were kept, and a ``portrait-….png`` of each at its own size.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fluoroscope.files import output_directory, remove
from fluoroscope.inversion.portraits.books import STATIONS
from fluoroscope.inversion.portraits.finished import Finished
from fluoroscope.pictures.maps import write_figure
from fluoroscope.pictures.portrait_curves import Way, portrait_curves
from fluoroscope.pictures.tile_sheet import (
    MOST_ACROSS,
    MOST_DOWN,
    Tile,
    picture_of,
    tile_sheet,
)
from fluoroscope.pictures.write import write_gif, write_png
from fluoroscope.words import count, network_name, percent, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

# Portraits in a GIF at the most, side by side in it or in a gallery of one sample each, rows of it
# where a class has several, and files of single ones.
_IN_GIF, _ACROSS, _DOWN_GIF, _FILES = 25, 5, 5, 200
_OURS = re.compile(
    r"(gallery|ladder|pairs|curves)\.png|curves\.svg|portraits\.gif|portrait-.+\.png"
)


def gallery(found: Finished, *, transparent: bool = False) -> "Image":
    """Classes down and samples across; of one sample each, classes side by side."""
    of_units = bool((found.targets < 0).all())
    network = _network(found)
    title = f"{network}: what excites it" if of_units else f"What {network} answers to as a class"
    return _sheet(found, _by_name(found), title, transparent=transparent)


def ladder(found: Finished) -> "Image | None":
    """Of the first portrait of each class the way stations, and the end."""
    firsts = [many[0] for many in _by_name(found).values()]
    rows = [row for row in firsts if found.towards[row] > 0 and found.targets[row] >= 0]
    if not rows:
        return None
    tiles = []
    for row in rows[:MOST_DOWN]:
        begun = len(found.starts) > 0
        line = [Tile(found.starts[row], [found.said_of_start(row)])] if begun else []
        for at, step in enumerate(found.reached[row].tolist()):
            there = step >= 0
            picture = found.stations[row, at] if there else None
            line.append(Tile(picture, [f"step {step}" if there else "not reached"]))
        line.append(Tile(found.images[row], found.said(row)[:1]))
        tiles.append(line)
    return tile_sheet(
        tiles,
        [shortened(found.name(row)) for row in rows[:MOST_DOWN]],
        heads=[
            *["the start"] * (len(found.starts) > 0),
            *(percent(each, 1 if each > 0.99 else 0) for each in STATIONS),
            "the end",
        ],
        title=f"{_network(found)}: the first look at which a probability was seen",
        warning=found.unreached,
        foot=_left_out(len(rows) - MOST_DOWN, "class", "classes"),
    )


def pairs(found: Finished) -> "Image | None":
    """For and against, from the same start."""
    against = {
        (int(found.targets[row]), int(found.numbers[row])): row
        for row in range(len(found.images))
        if found.towards[row] < 0
    }
    both = []
    for row in range(len(found.images)):
        key = int(found.targets[row]), int(found.numbers[row])
        if found.towards[row] > 0 and key in against:
            both.append((row, against.pop(key)))
    if not both:
        return None
    tiles = [
        [Tile(found.images[row], found.said(row), transparency=None) for row in pair]
        for pair in both[:MOST_DOWN]
    ]
    return tile_sheet(
        tiles,
        [shortened(found.name(row)) for row, _ in both[:MOST_DOWN]],
        heads=["for it", "against it"],
        title=f"{_network(found)}: for and against",
        foot=_left_out(len(both) - MOST_DOWN, "pair", "pairs"),
    )


def curves(found: Finished) -> "Figure":
    """Probability, goal and priors against the step."""
    ways = [
        Way(found.name(row), found.curve[row], bool(found.towards[row] < 0))
        for row in range(min(len(found.images), _FILES))
    ]
    return portrait_curves(
        ways, goal=found.goal, priors=found.record.get("priors", []), title=_network(found)
    )


def draw(
    found: Finished, directory: str | Path, *, transparent: bool = False, gif: bool = True
) -> list[Path]:
    """Write them all; those of an earlier call go."""
    out = output_directory(directory)
    remove(*(file for file in out.iterdir() if _OURS.fullmatch(file.name)))
    written = [write_png(out / "gallery.png", gallery(found, transparent=transparent))]
    for name, sheet in (("ladder", ladder(found)), ("pairs", pairs(found))):
        if sheet is not None:
            written.append(write_png(out / f"{name}.png", sheet))
    figure = curves(found)
    written += [write_figure(out / name, figure) for name in ("curves.png", "curves.svg")]
    if gif and found.frames.shape[1]:
        written.append(_gif(found, out / "portraits.gif"))
    for row in range(min(len(found.images), _FILES)):
        picture = found.images[row]
        moved = found.transparency[row] if transparent else None
        file = out / f"portrait-{_called(found, row)}.png"
        written.append(
            write_png(file, picture)
            if moved is None
            else write_png(file, picture_of(picture, moved))
        )
    return written


def _gif(found: Finished, path: Path) -> Path:
    """Portraits on their way, and as they are in the end; of many the first of each class."""
    rows, left = _in_gif(found)
    kept = found.frames.shape[1]
    steps = _steps(found)

    def sheet(pictures: Tensor) -> "Image":
        tiles = [[Tile(pictures[row], [_named(found, row)]) for row in line] for line in rows]
        return tile_sheet(tiles, [""] * len(tiles), foot=left)

    frames = [sheet(found.frames[:, at]) for at in range(kept)]
    captions = [f"step {at * steps // kept} of {steps}" for at in range(kept)]
    return write_gif(
        path, [*frames, sheet(found.images)], [*captions, f"step {steps} of {steps}"]
    )  # fmt: skip


def _in_gif(found: Finished) -> tuple[list[list[int]], str]:
    """Which portraits stand where in a GIF, and what is said of those that do not.

    Samples of a class stand in a row of their own; where there is no room for all, the first of
    each class is shown.
    """
    classes = list(_by_name(found).values())
    rows = [many[at : at + _ACROSS] for many in classes for at in range(0, len(many), _ACROSS)]
    several = any(len(many) > 1 for many in classes)
    if several and len(rows) <= _DOWN_GIF:
        return rows, ""
    firsts = [many[0] for many in classes][:_IN_GIF]
    rows = [firsts[at : at + _ACROSS] for at in range(0, len(firsts), _ACROSS)]
    left = _left_out(len(found.images) - len(firsts), "portrait", "portraits")
    if several and left:
        left = f"the first of each class; {left}"
    return rows, left


def _side_by_side(tiles: Sequence[Tile]) -> tuple[list[Sequence[Tile]], list[str]]:
    """Rows without names, as many tiles in each as stand on a screen."""
    rows = [tiles[at : at + _ACROSS] for at in range(0, len(tiles), _ACROSS)]
    return rows, [""] * len(rows)


def _named(found: Finished, row: int) -> str:
    return ("against " if found.towards[row] < 0 else "") + shortened(found.name(row))


def _steps(found: Finished) -> int:
    method = found.record.get("method")
    steps = method.get("steps") if isinstance(method, dict) else None
    return steps if isinstance(steps, int) else int(found.curve[:, -1, 0].max())


def _by_name(found: Finished) -> dict[tuple[int, bool], list[int]]:
    """Rows of each class, those for it before those against it."""
    rows: dict[tuple[int, bool], list[int]] = {}
    for row in range(len(found.images)):
        key = int(found.targets[row]), bool(found.towards[row] < 0)
        rows.setdefault(key, []).append(row)
    order = list(dict.fromkeys(target for target, _ in rows))
    return {
        (target, against): rows[target, against]
        for target in order
        for against in (False, True)
        if (target, against) in rows
    }


def _sheet(
    found: Finished, rows: dict[tuple[int, bool], list[int]], title: str, *, transparent: bool
) -> "Image":

    def tile(row: int, *words: str) -> Tile:
        return Tile(
            found.images[row],
            [*words, *found.said(row)],
            wrong=_wrong(found, row),
            transparency=found.transparency[row] if transparent else None,
        )

    def line(many: list[int]) -> list[Tile]:
        """Portraits of a class, after the picture that they were begun from."""
        tiles, before = [], None
        for row in many:
            start = found.starts[row] if begun else None
            if start is not None and (before is None or not torch.equal(start, before)):
                tiles.append(Tile(start, ["the start", found.said_of_start(row)]))
            tiles.append(tile(row))
            before = start
        return tiles

    begun = len(found.starts) > 0
    if not begun and len(rows) > 1 and all(len(many) == 1 for many in rows.values()):
        firsts = [many[0] for many in rows.values()][: MOST_DOWN * _ACROSS]
        shown = len(firsts)
        tiles, names = _side_by_side([tile(row, _named(found, row)) for row in firsts])
    else:
        across = MOST_ACROSS // 2 if begun else MOST_ACROSS
        some = [many[:across] for many in list(rows.values())[:MOST_DOWN]]
        shown = sum(map(len, some))
        names = [_named(found, many[0]) for many in some]
        tiles = [line(many) for many in some]
    second = found.record.get("second")
    of_classes, whole = bool((found.targets >= 0).any()), ""
    if found.in_parts:
        whole = " in the whole picture, of which the search looked at parts"
    not_shown = "what the class looks like" if of_classes else "what the network learnt from"
    foot = [
        f"portraits show what this network answers to, not {not_shown}",
        f"below: how probable {_network(found)} finds the class{whole}" if of_classes else "",
        f"second: what {network_name(str(second))} says" if second else "",
        found.made_with,
        "pixels that the search moved little are transparent" if transparent else "",
        _left_out(len(found.images) - shown, "portrait", "portraits"),
    ]  # fmt: skip
    return tile_sheet(
        tiles,
        names,
        title=title,
        foot="; ".join(filter(None, foot)),
    )


def _wrong(found: Finished, row: int) -> bool:
    """Whether the network does not take a portrait for its class."""
    for_it = bool(found.towards[row] > 0) and int(found.targets[row]) >= 0
    return for_it and found.winners[row] != int(found.targets[row])


def _left_out(many: int, one: str, several: str) -> str:
    return f"{count(many, one, several)} more in the .safetensors file" if many > 0 else ""


def _network(found: Finished) -> str:
    return network_name(str(found.record.get("model")))


def _called(found: Finished, row: int) -> str:
    """A part of the name of a file, in which a label is no path."""
    safe = re.sub(r"[^\w.]+", "-", shortened(found.name(row)))
    against = "against-" if found.towards[row] < 0 else ""
    return f"{against}{int(found.targets[row])}-{safe}-{int(found.numbers[row])}-{row}"
