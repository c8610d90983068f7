"""Corrupted pictures by severity, and how many of them are classified correctly."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from fluoroscope.pictures.display import said, shown_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float, float]]
"""A share and its interval at each severity."""

_ACROSS = 5
# More rows than this stand in two columns, so that they are seen at once.
_TALLEST = 8
# A picture's side in inches, and what its name takes beside it.
_SIDE, _NAME = 1.3, 0.5


def severity_curves(
    lines: Mapping[str, Points],
    clean: tuple[float, float, float],
    *,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    title: str = "",
) -> "Figure":
    """Accuracy against severity: a panel for each corruption, beginning with the clean pictures."""
    from matplotlib.figure import Figure

    across = min(_ACROSS, len(lines))
    down = -(-len(lines) // across)
    figure = Figure(figsize=(0.6 + 2.1 * across, 0.6 + 1.8 * down), layout="constrained", dpi=150)
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axes, (name, points) in zip(panels.flat, lines.items(), strict=False):
        shares, lows, highs = zip(clean, *points, strict=True)
        places = (0, *severities)
        axes.fill_between(places, lows, highs, color="#0072B2", alpha=0.2, linewidth=0)
        axes.plot(places, shares, color="#0072B2", marker="o", markersize=3)
        axes.axhline(clean[0], color="#999999", linewidth=0.8, linestyle="--")
        axes.set_title(name, parse_math=False, fontsize=9)
        axes.set(ylim=(-0.02, 1.02), xticks=list(places))
        axes.grid(alpha=0.25)
    for axes in panels.flat[len(lines) :]:
        axes.set_axis_off()
    figure.supxlabel("severity (0: clean)", fontsize=10)
    figure.supylabel("accuracy", fontsize=10)
    figure.suptitle(title, parse_math=False, fontsize=11)
    return figure


def severity_strip(
    rows: Mapping[str, Sequence[Tensor]], *, severities: Sequence[int] = (1, 2, 3, 4, 5)
) -> "Figure":
    """One picture ``(C, H, W)`` under each corruption, a row each, from clean to the strongest."""
    from matplotlib.figure import Figure

    across, columns = 1 + len(severities), 1 if len(rows) <= _TALLEST else 2
    down = -(-len(rows) // columns)
    width, height = columns * (_SIDE * across + _NAME), 1.36 * down + 0.3
    figure = Figure(figsize=(width, height), dpi=100)
    which = said(len(next(iter(rows.values()))[0]))
    if which:
        figure.text(0.5, 0.05 / height, which, ha="center", va="bottom", fontsize=9)
    bottom, top = (0.25 if which else 0.0) / height + 0.01, 1 - 0.3 / height
    named = list(rows.items())
    for column in range(columns):
        part = named[column * down : (column + 1) * down]
        left = (column + _NAME / (width / columns) * 0.8) / columns
        # A shorter column's pictures are as large as the others'.
        axes = figure.add_gridspec(
            down, across, wspace=0.04, hspace=0.04, left=left, right=(column + 0.99) / columns,
            bottom=bottom, top=top,
        ).subplots(squeeze=False)  # fmt: skip
        for row, (name, pictures) in zip(axes, part, strict=False):
            for axis, picture in zip(row, pictures, strict=True):
                array = shown_array(picture)
                axis.imshow(array, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            row[0].set_ylabel(name, parse_math=False, fontsize=9)
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
            for side in axis.spines.values():
                side.set_color("#bbbbbb")
        for severity, axis in zip(("clean", *map(str, severities)), axes[0], strict=True):
            axis.set_title(severity, fontsize=9)
        for row in axes[len(part) :]:
            for axis in row:
                axis.remove()
    return figure
