"""Distances between classes as a heat map, classes that lie close together side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Side of a cell in inches, and up to how many classes their numbers are written into the cells.
_CELL, _SMALL_CELL, _NUMBERS = 0.5, 0.19, 12


def class_map_figure(
    distance: NDArray[np.float64],
    labels: Sequence[str],
    *,
    norm: str,
    most: int = 40,
    title: str = "",
) -> "Figure":
    """A clustered heat map of the distances from the classes of the rows to those of the columns.

    The order is that of average linkage on the mean of both directions, neighbours as close as the
    tree allows (Bar-Joseph et al. 2001); a pair that was not measured or never reached counts as
    far. Grey was not measured; a cross marks what was never reached.

    Args:
        distance: ``(K, K)``; ``nan`` where nothing was measured, infinite where nothing was found.
        labels: of the ``K`` classes.
        norm: what the distances are in.
        most: classes that are drawn at the most; where more were measured, those with most pairs.
        title: above the map; how many classes were left out is added.

    Raises:
        InvalidParameterError: no distance between two classes.
    """
    from matplotlib.figure import Figure
    from scipy.cluster.hierarchy import dendrogram

    shown = _most_connected(distance, most)
    if len(shown) < 2:
        raise InvalidParameterError("the map has no measured pair of classes; expected one or more")
    tree = _tree(distance[np.ix_(shown, shown)])
    order = shown[dendrogram(tree, no_plot=True)["leaves"]]
    part, count = distance[np.ix_(order, order)], len(order)
    small = count > _NUMBERS
    side = count * (_SMALL_CELL if small else _CELL)
    names = [labels[label][:24] for label in order]
    beside = 0.085 * max(map(len, names)) + 0.5
    size = (side + beside + 1.3, side + beside + 1.1)
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    top, axes = figure.subplots(2, 1, height_ratios=(0.7, side), gridspec_kw={"hspace": 0})
    dendrogram(tree, ax=top, no_labels=True, color_threshold=0, above_threshold_color="#555555")
    top.set_axis_off()
    axes.set_facecolor("#dddddd")
    found = np.where(np.isfinite(part), part, np.nan)
    image = axes.imshow(found, cmap="viridis", vmin=0, vmax=np.nanmax(found), aspect="auto")
    rows, columns = np.nonzero(np.isinf(part))
    axes.plot(columns, rows, "x", color="#333333", markersize=4 if small else 8)
    if not small:
        for (row, column), value in np.ndenumerate(part):
            if np.isfinite(value):
                dark = value < 0.6 * np.nanmax(found)
                axes.text(
                    column, row, _short(value), ha="center", va="center", fontsize=8,
                    color="white" if dark else "black",
                )  # fmt: skip
    points = 6.5 if small else 9
    axes.set_xticks(range(count), names, rotation=90 if _wordy(names) else 0, fontsize=points)
    axes.set_yticks(range(count), names, fontsize=points)
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        text.set_parse_math(False)
    axes.set(xlabel="to", ylabel="from")
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    bar.set_label(f"median smallest {norm} perturbation")
    measured = int(_connected(distance).sum())
    left_out = f" ({count} of {measured} classes)" if measured > count else ""
    figure.suptitle(f"{title}{left_out}", parse_math=False, fontsize=11)
    return figure


def _connected(distance: NDArray[np.float64]) -> NDArray[np.bool_]:
    measured = ~np.isnan(distance)
    found: NDArray[np.bool_] = np.asarray((measured | measured.T).any(0))
    return found


def _most_connected(distance: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """The classes to draw: those left when the one with fewest pairs among them goes, in turn."""
    measured = ~np.isnan(distance)
    kept = np.flatnonzero(_connected(distance))
    pairs = measured.sum(0) + measured.sum(1)
    while len(kept) > most:
        lonely = int(np.argmin(pairs[kept]))
        pairs = pairs - measured[kept[lonely]] - measured[:, kept[lonely]]
        kept = np.delete(kept, lonely)
    return kept


def _tree(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    both = np.stack([distance, distance.T])
    known = np.isfinite(both)
    far = 1.2 * max(float(both[known].max(initial=0)), 1e-12)
    total = np.where(known, both, 0).sum(0)
    mean = np.where(known.any(0), total / known.sum(0).clip(1), far)
    np.fill_diagonal(mean, 0)
    found: NDArray[np.float64] = linkage(squareform(mean), "average", optimal_ordering=True)
    return found


def _short(value: float) -> str:
    text = f"{value:.2g}" if value < 10 else f"{value:.0f}"
    return text.removeprefix("0") if text.startswith("0.") else text


def _wordy(names: Sequence[str]) -> bool:
    return max(map(len, names)) > 4
