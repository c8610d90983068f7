"""A matrix of shares as colours, with the numbers in its cells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Beyond so many columns the numbers no longer fit into the cells.
_NUMBERED = 16

Shares = Sequence[Sequence[float | None]]
"""From 0 to 1, one sequence a row; ``None`` leaves a cell empty."""


def heat_map(
    shares: Shares,
    rows: Sequence[str],
    columns: Sequence[str],
    under: Shares = (),
    under_rows: Sequence[str] = (),
    *,
    row_title: str = "",
    column_title: str = "",
    bar: str = "",
    under_bar: str = "",
    title: str = "",
) -> "Figure":
    """Shares in percent, and below them others of the same columns, which mean something else.

    Args:
        shares: the matrix.
        rows, columns: what each row and column stands for.
        under, under_rows: the rows below.
        row_title, column_title: what rows and columns are.
        bar, under_bar: what the colours mean above and below.
        title: over everything.
    """
    from matplotlib.figure import Figure

    # Tall enough for what stands along the colour bars.
    cell, edge = max(0.5, 1.8 / len(rows)), 1.5 + 0.25 * bool(title)
    height = cell * (len(rows) + len(under)) + edge + 0.3 * bool(under)
    figure = Figure(figsize=(0.8 * len(columns) + 3.6, height), layout="constrained", dpi=150)
    ratios = [len(rows), len(under)] if under else [1]
    panels = figure.subplots(len(ratios), 1, squeeze=False, sharex=True, height_ratios=ratios)[:, 0]
    image = _draw(panels[0], shares, rows, "viridis")
    figure.colorbar(image, ax=panels[0]).set_label(_folded(bar), fontsize=9)
    panels[0].set_ylabel(row_title)
    if under:
        below = _draw(panels[1], under, under_rows, "cividis")
        figure.colorbar(below, ax=panels[1]).set_label(_folded(under_bar), fontsize=9)
    panels[-1].set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    for label in panels[-1].get_xticklabels():
        label.set_parse_math(False)  # labels are data: a "$" in one is no formula
    panels[-1].set_xlabel(column_title)
    panels[0].set_title(title, parse_math=False, fontsize=10)
    return figure


def _draw(axes: Any, shares: Shares, rows: Sequence[str], colours: str) -> Any:
    percent = [[float("nan") if share is None else 100 * share for share in row] for row in shares]
    image = axes.imshow(percent, cmap=colours, vmin=0, vmax=100, aspect="auto")
    axes.set_yticks(range(len(rows)), rows)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    if len(percent[0]) <= _NUMBERED:
        for y, row in enumerate(shares):
            for x, share in enumerate(row):
                if share is not None:
                    ink = "black" if share > 0.6 else "white"
                    words = f"{100 * share:.0f}"
                    axes.text(x, y, words, ha="center", va="center", color=ink, fontsize=9)
    return image


def _folded(words: str) -> str:
    return words.replace(", ", ",\n")
