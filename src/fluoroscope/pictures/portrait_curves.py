"""How portraits came about: probability, goal and each prior against the step."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from fluoroscope.pictures.curves import COLORS, add_legend
from fluoroscope.pictures.plots import families
from fluoroscope.process import drawing
from fluoroscope.words import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from torch import Tensor

# Classes that have a colour and a line in the legend, as many as there are digits; the others are
# grey.
_COLOURS, _OTHERS = (*COLORS[:-1], "#8B4513", "#7F3FBF", "#9ACD32"), COLORS[-1]
# Steps up to which their axis is a plain one.
_SHORT = 40
# Priors that have a panel.
_PRIORS = 4


@dataclass(frozen=True)
class Way:
    """How one portrait came about."""

    name: str
    """Whose it is."""
    looks: "Tensor"
    """``(L, 3 + P)``: step, goal, each prior, probability."""
    against: bool = False


def portrait_curves(
    ways: Sequence[Way], *, goal: str, priors: Sequence[str] = (), title: str = ""
) -> "Figure":
    """Panels of the probability, the goal and the priors; portraits against are dashed.

    Args:
        ways: of the portraits, at least one.
        goal: what is raised.
        priors: what is lowered, by name; of those without room nothing is shown.
        title: over everything.
    """
    from matplotlib.figure import Figure

    panels = [("probability", -1), (goal, 1)]
    panels += [(f"prior: {name}", 2 + at) for at, name in enumerate(priors[:_PRIORS])]
    names = list(dict.fromkeys(way.name for way in ways))
    colours = dict(zip(names, _COLOURS, strict=False))
    last = max(float(way.looks[-1, 0]) for way in ways)
    with drawing({"font.family": families()}):
        size = (3.6 * len(panels) + 1.6, 3.2)
        figure = Figure(figsize=size, layout="constrained", dpi=150)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        named: dict[str, Line2D] = {}
        for axis, (label, column) in zip(axes, panels, strict=True):
            for way in ways:
                [line] = axis.plot(
                    way.looks[:, 0].tolist(),
                    way.looks[:, column].tolist(),
                    color=colours.get(way.name, _OTHERS),
                    linestyle="--" if way.against else "-",
                    linewidth=1.4 if len(ways) <= len(_COLOURS) else 0.9,
                )
                if not way.against:
                    named.setdefault(way.name, line)
            axis.set_xlabel("step")
            if last > _SHORT:
                # Most happens in the first steps, and portraits are looked at ever more rarely.
                axis.set_xscale("symlog", linthresh=10, linscale=1)
                axis.xaxis.set_major_formatter("{x:g}")
                axis.set_xlim(0, last)
            axis.set_ylabel("\n".join(wrap(shortened(label, 60), 28)), parse_math=False)
            axis.grid(alpha=0.25)
        axes[0].set_ylim(-0.02, 1.02)
        if title:
            figure.suptitle(title, fontsize=10, parse_math=False)
        legend = [(line, shortened(name)) for name, line in named.items() if name in colours]
        left = len(names) - len(legend)
        if left > 0:
            [grey] = axes[0].plot([], [], color=_OTHERS)
            legend.append((grey, f"{left:,} more"))
        if any(way.against for way in ways):
            [dashed] = axes[0].plot([], [], color=_OTHERS, linestyle="--")
            legend.append((dashed, "against it"))
        how = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False}
        add_legend(axes[-1], legend, fontsize=9, **how)
    return figure
