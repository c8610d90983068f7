"""Maps of a decision on one sheet: methods across, classes down, each column on a stated scale.

Every method has a unit of its own, so every column has its own colour bar; within a column one
scale serves all classes, so that they can be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from fluoroscope.pictures.attribution_colours import Colours
from fluoroscope.pictures.display import said, shown_array
from fluoroscope.pictures.plots import families
from fluoroscope.process import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches of a cell and of what stands above, below and beside them; letters in a line of a cell.
_CELL, _ABOVE, _BELOW, _BESIDE, _CAPTION = (2.1, 1.95), 0.55, 1.5, 0.9, 0.3
_LETTERS, _SMALL, _ROW = 27, 34, 13
_WARNING = "#b42318"
# A map with nothing above this share of the scale looks empty.
_FAINT = 0.05
# Spaces that no line is broken at, as fonts have them.
_KEPT = dict.fromkeys("\u00a0\u202f", "\u00a0")


@dataclass(frozen=True)
class Column:
    """The maps of one method, one of each row of the sheet."""

    title: str
    maps: Sequence[Tensor]
    """``(C, H, W)`` each, as large as the pictures."""
    colours: Colours
    unit: str = ""
    key: str = ""
    """What the colours mean, and what else is to be known of all of them, a line each."""
    captions: Sequence[str] = ()
    """Words below each map."""
    missed: Sequence[bool] = ()
    """Of each map whether its words are a warning."""
    warning: str = ""
    """What is wrong with them, in a sentence that the picture carries."""
    drawn: bool = True
    """Whether the maps are drawn; else the warning alone."""
    foot: str = ""
    """A word that is explained below the sheet, once."""


def attribution_sheet(
    columns: Sequence[Column],
    rows: Sequence[str],
    pictures: Sequence[Tensor | None],
    answers: Sequence[str] = (),
    *,
    overlay: bool = False,
    title: str = "",
) -> "Figure":
    """The pictures, and beside them the maps, with a colour bar below each column.

    Args:
        columns: the methods, at least one.
        rows: what the maps of each row speak of.
        pictures: ``(C, H, W)`` in ``[0, 1]``, that of each row; ``None`` where it is the one above.
        answers: what the network says of each of them.
        overlay: lay the maps over the picture, which becomes grey.
        title: over everything.
    """
    from matplotlib.figure import Figure

    with drawing({"font.family": families()}):
        down, across = len(rows), len(columns) + 1
        told = any(any(_captions(column)) for column in columns if column.drawn)
        wide, high = _CELL
        told |= any(answers)
        foot = "; ".join(dict.fromkeys(column.foot for column in columns if column.foot))
        around = _ABOVE + _BELOW + 0.3 * bool(title) + 0.2 * bool(foot)
        height = (high + _CAPTION * told) * down + around
        size = (wide * across + _BESIDE, height)
        figure = Figure(figsize=size, layout="constrained", dpi=150)
        ratios = [1] * down + [0.05]
        *maps, bars = figure.subplots(down + 1, across, squeeze=False, height_ratios=ratios)
        axes = np.array(maps)
        bars[0].set_axis_off()
        _draw_pictures(axes[:, 0], pictures, [*answers, *[""] * (down - len(answers))])
        below = _filled(pictures) if overlay else None
        for column, places, bar in zip(columns, axes.T[1:], bars[1:], strict=True):
            _draw_column(places, column, below)
            _draw_bar(figure, bar, column)
        for axis, words in zip(axes[:, 1], rows, strict=True):
            # Upright, as a 6 on its side is a 9.
            axis.set_ylabel(
                _folded(words, _ROW, 5),
                fontsize=9,
                parse_math=False,
                rotation=0,
                ha="right",
                va="center",
            )
        if foot:
            figure.supxlabel(foot, fontsize=8, color="#555555", parse_math=False)
        if title:
            figure.suptitle(_folded(title, 17 * across, 2), fontsize=10, parse_math=False)
    return figure


def _draw_pictures(axes: Any, pictures: Sequence[Tensor | None], answers: Sequence[str]) -> None:
    for axis, picture, answer in zip(axes, pictures, answers, strict=True):
        if picture is None:
            axis.set_axis_off()
            continue
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.imshow(shown_array(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        words = f"picture\n{said(len(picture))}".strip()
        axis.set_title(words, fontsize=9, parse_math=False)
        if answer:
            lines = f"the network says:\n{_folded(answer, _LETTERS, 2)}"
            axis.set_xlabel(lines, fontsize=9, parse_math=False)


def _filled(pictures: Sequence[Tensor | None]) -> list[Tensor]:
    """The picture of each row."""
    found: list[Tensor] = []
    for picture in pictures:
        found.append(found[-1] if picture is None else picture)
    return found


def _draw_column(axes: Any, column: Column, below: Sequence[Tensor] | None) -> None:
    colours = column.colours
    missed = column.missed or [False] * len(column.maps)
    for row, (axis, values, words) in enumerate(
        zip(axes, column.maps, _captions(column), strict=True)
    ):
        axis.set(xticks=[], yticks=[])
        for side in axis.spines.values():
            side.set_color("#bbbbbb")
        if not column.drawn:
            _draw_refusal(axis, column.warning, values)
            continue
        ready = values.nan_to_num()
        if below is None:
            drawn = colours.rgb(ready).permute(1, 2, 0).numpy()
        else:
            drawn = colours.over(np.asarray(shown_array(below[row]), float), ready)
        axis.imshow(drawn, interpolation="nearest")
        colour, weight = (_WARNING, "bold") if missed[row] else ("#555555", "normal")
        axis.set_xlabel(
            _folded(words, _SMALL, 2), fontsize=7, color=colour, weight=weight, parse_math=False
        )
        if column.warning:
            _warn(axis, column.warning)
    axes[0].set_title(_folded(column.title, _LETTERS, 2), fontsize=10, parse_math=False)


def _captions(column: Column) -> list[str]:
    """The words below each map, and of one that looks empty on the column's scale that it does."""
    given = column.captions or [""] * len(column.maps)
    found = []
    for words, values in zip(given, column.maps, strict=True):
        largest = float(values.nan_to_num().sum(0).abs().max())
        faint = (
            "zero everywhere" if largest == 0 else f"all below {100 * _FAINT:.0f} % of the scale"
        )
        also = [faint] if largest < _FAINT * column.colours.end else []
        found.append("; ".join([*filter(None, [words]), *also]))
    return found


def _draw_bar(figure: "Figure", axis: Any, column: Column) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    if not column.drawn:
        axis.set_axis_off()
        return
    colours = column.colours
    ends = ("both" if colours.signed else "max") if colours.cut else "neither"
    scale = ScalarMappable(Normalize(colours.start, colours.end), colours.name)
    bar = figure.colorbar(scale, cax=axis, orientation="horizontal", extend=ends)
    bar.set_ticks([colours.start, (colours.start + colours.end) / 2, colours.end])
    bar.ax.set_xticklabels([f"{tick:.2g}" for tick in bar.get_ticks()], fontsize=8)
    cut = colours.told if colours.cut else ""
    lines = [_folded(part, _SMALL, 2) for part in (column.unit, *column.key.splitlines(), cut)]
    bar.set_label("\n".join(filter(None, lines)), fontsize=8)
    bar.ax.xaxis.label.set_parse_math(False)


def _warn(axis: Any, warning: str) -> None:
    """The sentence over the map itself, so that it stays with it where a part is cut out."""
    axis.text(
        0.5, 0.02, _folded(warning, _SMALL, 6), transform=axis.transAxes, ha="center", va="bottom",
        fontsize=6.5, color="white", parse_math=False,
        bbox={"facecolor": _WARNING, "edgecolor": "none", "boxstyle": "square,pad=0.4"},
    )  # fmt: skip
    for side in axis.spines.values():
        side.set(color=_WARNING, linewidth=2)


def _draw_refusal(axis: Any, warning: str, values: Tensor) -> None:
    """The sentence in place of a map."""
    height, width = values.shape[-2:]
    axis.imshow(np.full((height, width, 3), 0.95), interpolation="nearest")
    axis.text(
        0.5, 0.5, _folded(f"not drawn: {warning}", _LETTERS, 12), transform=axis.transAxes,
        ha="center", va="center", fontsize=7.5, color=_WARNING, parse_math=False,
    )  # fmt: skip


def _folded(text: str, width: int, lines: int) -> str:
    """A text in at most so many lines of so many letters, words of other scripts counted as wide.

    What does not fit ends in an ellipsis.
    """
    # A number stays with its unit.
    signs = (sign if sign.isprintable() else _KEPT.get(sign, " ") for sign in text)
    plain = " ".join(filter(None, "".join(signs).split(" ")))
    found = wrap(plain[: 4 * width * lines], max(4, width * len(plain) // max(1, _width(plain))))
    if len(found) > lines:
        found = [*found[: lines - 1], found[lines - 1][: width - 1].rstrip(" ,;:-") + "…"]
    return "\n".join(found)


def _width(text: str) -> int:
    from unicodedata import east_asian_width

    return sum(1 + (east_asian_width(sign) in "WF") for sign in text)
