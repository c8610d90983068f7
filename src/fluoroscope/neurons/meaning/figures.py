"""Figures like those of Dong et al. (2017): similarity by level of consistency, and ratios."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fluoroscope.neurons.meaning.resampling import Number
from fluoroscope.pictures.curves import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES = {"cs1": "CS1: true classes", "cs2": "CS2: target classes"}
_RATIOS = {"r1": "r1: class means", "r2": "r2: source, nearest"}
# Ratios beyond this share of the pictures are drawn in the last bar.
_SEEN = 0.99
_BARS = 40


def levels_figure(
    bins: Sequence[tuple[float, Mapping[str, Number]]],
    chance: Mapping[str, float],
    colours: Sequence[str] | None = None,
) -> "Figure":
    """CS1 and CS2 of units by their level of consistency, with intervals.

    Args:
        bins: the level of each, and its numbers by ``cs1`` and ``cs2``.
        chance: the same where adversarial pictures are drawn at random.
        colours: of the two.
    """
    figure, axes = _plot()
    levels = [level for level, _ in bins]
    for colour, dash, (name, words) in zip(colours or COLORS, (0, 4), _NAMES.items(), strict=False):
        found = [numbers[name] for _, numbers in bins]
        values = [one.value for one in found]
        axes.plot(levels, values, color=colour, marker="o", markersize=4, label=words)
        ends = [one.interval or (one.value, one.value) for one in found]
        low, high = [end[0] for end in ends], [end[1] for end in ends]
        axes.fill_between(levels, low, high, color=colour, alpha=0.18, linewidth=0)
        if len(levels) == 1:
            axes.vlines(levels, low, high, color=colour, alpha=0.4, linewidth=4)
            axes.set_xlim(levels[0] - 0.5, levels[0] + 0.5)
        if np.isfinite(chance[name]):
            # Dashes of one lie in the gaps of the other, where both are at one height.
            axes.axhline(chance[name], color=colour, linewidth=1, linestyle=(dash, (3, 5)),
                         label=f"{name.upper()} at chance")  # fmt: skip
    if levels and min(levels) > 0 and max(levels) > 8 * min(levels):
        axes.set_xscale("log")
        axes.set_xticks(_spread(levels), minor=False)
        axes.xaxis.set_major_formatter("{x:.2g}")
        axes.xaxis.set_minor_formatter("")
    axes.set(xlabel="level of consistency of a unit", ylabel="cosine of class histograms",
             ylim=(-0.02, 1.02))  # fmt: skip
    _explain(axes)
    return figure


def _explain(axes: "Axes") -> None:
    """A grid, and beside it what the colours are."""
    axes.grid(alpha=0.25)
    axes.legend(
        fontsize=8,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        title="read as inferred",
        title_fontsize=8,
    )


def _spread(levels: Sequence[float]) -> list[float]:
    """Levels to number on a logarithmic axis: from the highest down, none within 1.5 of another."""
    ticks: list[float] = []
    for level in sorted(levels, reverse=True):
        if not ticks or ticks[-1] > 1.5 * level:
            ticks.append(level)
    return ticks


def ratios_figure(
    pictures: Mapping[str, NDArray[np.float64]], colours: Sequence[str] | None = None
) -> "Figure":
    """How r1 and r2 are distributed over adversarial pictures; left of 1 they are on their side."""
    figure, axes = _plot()
    shown = {name: values[~np.isnan(values)] for name, values in pictures.items()}
    every = np.concatenate([values for values in shown.values() if len(values)] or [np.ones(1)])
    finite = every[np.isfinite(every)]
    end = max(1.25, float(np.quantile(finite, _SEEN)) * 1.05) if len(finite) else 1.25
    edges = np.linspace(0, end, _BARS + 1)
    real = shown["r1_real"]
    if len(real):
        axes.stairs(_heights(real, edges), edges, color="#888888", linewidth=1.2,
                    label="r1 of real pictures")  # fmt: skip
    for colour, (name, words) in zip(colours or COLORS, _RATIOS.items(), strict=False):
        values = shown[name]
        if not len(values):
            continue
        axes.stairs(_heights(values, edges), edges, color=colour, fill=True, alpha=0.35)
        mean = float(values.mean())
        axes.stairs(_heights(values, edges), edges, color=colour, linewidth=1.4,
                    label=f"{words}\n(mean {mean:.2f})")  # fmt: skip
    axes.axvline(1, color="#888888", linewidth=1.2, linestyle="--")
    axes.set(xlabel="distance to its own side ÷ distance to the target's",
             ylabel="share of adversarial pictures", xlim=(0, end), ylim=(0, None))  # fmt: skip
    _explain(axes)
    return figure


def _plot() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.6), layout="constrained", dpi=150)
    return figure, figure.subplots()


def _heights(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the values in each bar; whatever lies beyond is in the last."""
    counts, _ = np.histogram(np.minimum(values, edges[-1]), edges)
    return counts / len(values)
