"""Bars of units with what each did to a decision, and what removing more and more of them does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluoroscope.pictures.curves import add_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's, told apart by colour-blind readers too: against, for, and a control.
AGAINST, FOR, CONTROL = "#0072B2", "#D55E00", "#999999"
# Up to so many units they are evenly spaced; of more from the second number on logarithmically.
_EVEN, _BEND = 64, 10


@dataclass(frozen=True)
class Bar:
    """A unit and its effect; ``faint`` is another number of it, drawn behind."""

    name: str
    effect: float
    faint: float | None = None


@dataclass(frozen=True)
class Curves:
    """The margin against how many units are gone: greedily, and in random orders."""

    greedy: Sequence[float]
    counts: Sequence[int]
    random: Sequence[Sequence[float]]
    decision: str


def bars_figure(
    bars: Sequence[Bar], *, left: str, right: str, title: str, unit: str = "effect on the margin",
    curves: Curves | None = None, faint: str = "",
) -> "Figure":  # fmt: skip
    """Horizontal signed bars, the first at the top; beside them the curves, if there are any.

    Args:
        bars: units.
        left, right: what a bar to that side means.
        title: over the bars.
        unit: of the bars.
        curves: of removing sets of units.
        faint: what the bars behind are.
    """
    from matplotlib.figure import Figure

    height = max(3.2, 0.24 * len(bars) + 1.5)
    figure = Figure(figsize=(10 if curves else 6, height), layout="constrained", dpi=150)
    axes = figure.subplots(1, 2 if curves else 1, squeeze=False)[0]
    _bars(axes[0], bars, left, right, title, unit, faint)
    if curves is not None:
        _curves(axes[1], curves)
    return figure


def _bars(
    axes: "Axes", bars: Sequence[Bar], left: str, right: str, title: str, unit: str, faint: str
) -> None:
    places = range(len(bars))
    colours = [FOR if bar.effect >= 0 else AGAINST for bar in bars]
    if any(bar.faint is not None for bar in bars):
        axes.barh(
            places, [bar.faint or 0.0 for bar in bars], height=0.86, color="none",
            edgecolor="#555555", linewidth=0.9, label=faint,
        )  # fmt: skip
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.barh(places, [bar.effect for bar in bars], height=0.6, color=colours)
    axes.set_yticks(list(places), [bar.name for bar in bars], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.set_xlabel(f"{unit}\n← {left}    {right} →", parse_math=False, fontsize=9)
    axes.set_title(title, parse_math=False, fontsize=10)
    axes.grid(axis="x", alpha=0.25)


def _curves(axes: "Axes", curves: Curves) -> None:
    many = range(len(curves.greedy))
    [greedy] = axes.plot(many, list(curves.greedy), "o-", color=FOR, markersize=3.5, zorder=3)
    named = [(greedy, "greedily")]
    for order in curves.random:
        [line] = axes.plot(curves.counts, order, color=CONTROL, linewidth=1, alpha=0.8)
    if curves.random:
        named.append((line, f"{len(curves.random)} random orders"))
    axes.axhline(0, color="#333333", linewidth=0.8, linestyle="--")
    last = curves.counts[-1]
    bent = last > _EVEN
    if bent:
        axes.set_xscale("symlog", linthresh=_BEND)
        ends = [tick for tick in (0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
                if tick <= last / 1.4] + [last]  # fmt: skip
        axes.set_xticks(ends, [f"{tick:,}" for tick in ends], fontsize=8)
        axes.minorticks_off()
        axes.axvline(_BEND, color="#555555", linewidth=0.8, linestyle=":")
    else:
        axes.locator_params(axis="x", integer=True)
    axes.set_xlim(0, last)
    axes.set_xlabel(f"units removed{f' (logarithmic from {_BEND} on)' if bent else ''}")
    axes.set_ylabel(f"margin of {curves.decision}", parse_math=False)
    axes.set_title("below the dashed line the decision is another", parse_math=False, fontsize=10)
    axes.grid(alpha=0.25)
    add_legend(axes, named, frameon=False, fontsize=9)
