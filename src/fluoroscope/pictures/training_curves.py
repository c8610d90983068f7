"""How a training went, as curves: the loss and its terms, accuracies, the learning rate."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from fluoroscope.pictures.curves import COLORS, add_legend
from fluoroscope.pictures.plots import families, percent_axis
from fluoroscope.process import drawing
from fluoroscope.words import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = Sequence[tuple[float, float]]
"""Epochs, and the value there."""

# From this ratio of the largest to the smallest number on, their axis is a logarithmic one.
_FAR = 30.0
# Below this share of the largest a logarithmic axis shows nothing.
_DEEPEST = 1e6
# Points up to which each is marked.
_FEW = 40
# One after the other, so that a line that lies over another's lets it be seen.
_STYLES = ("-", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))
# Terms of a loss that have a line.
_TERMS = 6


def training_curves(
    loss: Curve,
    accuracies: Mapping[str, Curve],
    learning_rate: Curve,
    *,
    terms: Mapping[str, Curve] | None = None,
    epochs: int,
    title: str = "",
    right: str = "classified correctly",
    loss_is: str = "loss",
    whole: float | None = None,
) -> "Figure":
    """Panels of the loss with its terms, of accuracies, and of the learning rate.

    Args:
        loss: what is lowered.
        accuracies: by name, from 0 to 1.
        learning_rate: of the network's weights.
        terms: the parts of the loss, by name.
        epochs: where the axes end, though the training may not be there yet.
        title: over everything.
        right: what accuracies are shares of.
        loss_is: the name of the loss's line.
        whole: from which epoch on pictures are moved as far as they ever are.
    """
    from matplotlib.figure import Figure

    with drawing({"font.family": families()}):
        figure = Figure(figsize=(11, 4.1), dpi=110)
        # By hand, since it is drawn again and again: letting Matplotlib lay it out costs as much
        # as drawing it.
        figure.subplots_adjust(left=0.06, right=0.985, bottom=0.29, top=0.86, wspace=0.22)
        left, middle, last = figure.subplots(1, 3, width_ratios=[5, 5, 3])
        shown = dict(list((terms or {}).items())[:_TERMS])
        _lines(left, {loss_is: loss, **shown})
        _scale(left, [value for _, value in loss], shown)
        left.set_title("loss, and its terms" if shown else "loss", fontsize=10)
        _lines(middle, accuracies, {} if whole is None else {"eps is whole from here on": whole})
        percent_axis(middle)
        middle.set_title(right, fontsize=10)
        _lines(last, {"learning rate": learning_rate}, legend=False)
        last.set_ylim(bottom=0)
        last.set_title("learning rate", fontsize=10)
        last.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        for axis in (left, middle, last):
            axis.set_xlim(0, 1.02 * epochs)
            axis.set_xlabel("epoch")
            axis.grid(alpha=0.25)
            axis.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        if title:
            figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


def _lines(
    axis: "Axes",
    curves: Mapping[str, Curve],
    marks: Mapping[str, float] | None = None,
    *,
    legend: bool = True,
) -> None:
    """Curves, and epochs that are marked; the legend lies below, where no line does."""
    named, longest = [], max(map(len, curves.values()))
    styles = cycle(_STYLES)
    for (name, curve), color, style in zip(curves.items(), COLORS, styles, strict=False):
        # The fewer points, the larger, so that none is hidden behind those of another curve.
        size = 3 if 2 * len(curve) > longest else 5
        [line] = axis.plot(
            [at for at, _ in curve], [value for _, value in curve],
            color=color, linewidth=1.5, linestyle=style, marker="o" if len(curve) <= _FEW else None,
            markersize=size, zorder=3 if size == 5 else 2,
        )  # fmt: skip
        named.append((line, shortened(name)))
    for name, at in (marks or {}).items():
        named.append((axis.axvline(at, color="#777777", linewidth=1, linestyle=":"), name))
    if legend:
        add_legend(
            axis, named, fontsize=8, frameon=False, loc="upper center",
            bbox_to_anchor=(0.5, -0.19), ncols=2 if len(named) <= 4 else 3, columnspacing=1.2,
        )  # fmt: skip


def _scale(axis: "Axes", loss: Sequence[float], terms: Mapping[str, Curve]) -> None:
    """A logarithmic axis where one term is far larger than another, or the loss fell so far."""
    values = [*loss, *(value for curve in terms.values() for _, value in curve)]
    above = [value for value in values if value > 0]
    # What a term comes to, not the little that it may begin with.
    heights = [max(value for _, value in curve) for curve in terms.values()]
    heights = [height for height in [*heights, *loss] if height > 0]
    if not heights or max(heights) < _FAR * min(heights):
        return
    if min(values) >= 0:  # what is 0 lies at the bottom
        axis.set_yscale("log", nonpositive="clip")
        axis.set_ylim(max(min(above), max(above) / _DEEPEST) / 2, 2 * max(above))
    else:
        axis.set_yscale("symlog", linthresh=max(above) / _FAR)
