"""Corrupted pictures by severity, and how well they are read."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from fluoroscope.pictures.display import said, shown_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float, float]]
"""A share and its interval at each severity."""


def severity_curves(
    lines: Mapping[str, Points], clean: tuple[float, float, float], *, title: str = ""
) -> "Figure":
    """Accuracy against severity: a panel for each corruption, beginning with the clean pictures."""
    from matplotlib.figure import Figure

    across = min(4, len(lines))
    down = -(-len(lines) // across)
    figure = Figure(figsize=(0.6 + 2.2 * across, 0.6 + 1.9 * down), layout="constrained", dpi=150)
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axes, (name, points) in zip(panels.flat, lines.items(), strict=False):
        shares, lows, highs = zip(clean, *points, strict=True)
        severities = range(len(shares))
        axes.fill_between(severities, lows, highs, color="#0072B2", alpha=0.2, linewidth=0)
        axes.plot(severities, shares, color="#0072B2", marker="o", markersize=3)
        axes.axhline(clean[0], color="#999999", linewidth=0.8, linestyle="--")
        axes.set_title(name, parse_math=False, fontsize=9)
        axes.set(ylim=(-0.02, 1.02), xticks=list(severities))
        axes.grid(alpha=0.25)
    for axes in panels.flat[len(lines) :]:
        axes.set_axis_off()
    figure.supxlabel("severity (0: clean)", fontsize=10)
    figure.supylabel("share read right", fontsize=10)
    figure.suptitle(title, parse_math=False, fontsize=11)
    return figure


def severity_strip(rows: Mapping[str, Sequence[Tensor]]) -> "Figure":
    """One picture ``(C, H, W)`` under each corruption, a row each, from clean to the strongest."""
    from matplotlib.figure import Figure

    across = max(map(len, rows.values()))
    height = 1.36 * len(rows) + 0.3
    figure = Figure(figsize=(1.3 * across + 0.6, height), dpi=100)
    which = said(len(next(iter(rows.values()))[0]))
    if which:
        figure.text(0.5, 0.05 / height, which, ha="center", va="bottom", fontsize=9)
    axes = figure.subplots(
        len(rows), across, squeeze=False,
        gridspec_kw={"wspace": 0.04, "hspace": 0.04, "left": 0.09, "right": 0.99,
                     "bottom": (0.25 if which else 0.0) / height + 0.01, "top": 1 - 0.3 / height},
    )  # fmt: skip
    for row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(row, pictures, strict=True):
            array = shown_array(picture)
            axis.imshow(array, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            for side in axis.spines.values():
                side.set_color("#bbbbbb")
        row[0].set_ylabel(name, parse_math=False, fontsize=9)
    for severity, axis in enumerate(axes[0]):
        axis.set_title("clean" if severity == 0 else str(severity), fontsize=9)
    return figure
