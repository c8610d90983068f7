"""What units do to a margin along a trajectory, as bands one upon the other; pictures above."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.pictures.curves import COLORS, add_legend
from fluoroscope.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Units with a band of their own, and pictures above at the most; units named below each.
_BANDS, _LOOKS, _NAMED = 7, 8, 4
# Of the others: those that turned, and those that did not, for the one class and for the other.
_TURNED, _STAYED = "#8c6d31", ("#9a9aa0", "#d3d3d8")


@dataclass(frozen=True)
class Look:
    """A picture of the trajectory that is shown."""

    step: int
    picture: Tensor
    """``(C, H, W)`` in ``[0, 1]``."""
    predicted: str
    turned: Sequence[int]
    """Units that turned since the picture before it, the most first."""


def bands_figure(
    steps: Sequence[int],
    effects: NDArray[np.float64],
    order: Sequence[int],
    looks: Sequence[Look],
    turned: Collection[int] = (),
    *,
    margins: Sequence[float],
    pair: tuple[str, str],
    title: str = "",
) -> "Figure":
    """Bands of units, up for one class and down for another: those that went farthest each its
    own; of the rest those that turned together, and in grey those that did not.

    Args:
        steps: of the frames.
        effects: ``(F, K)`` on the margin.
        order: all units, those that went farthest first.
        looks: pictures above, the first at the start.
        turned: units that turned on the way.
        margins: of the first class of the pair over the second, drawn below.
        pair: the classes.
        title: over everything.
    """
    from matplotlib.figure import Figure

    shown = _chosen(looks)
    figure = Figure(figsize=(9.0, 7.4 if shown else 4.6), layout="constrained", dpi=150)
    below: Any = figure
    if shown:
        above, below = np.asarray(figure.subfigures(2, 1, height_ratios=[2.6, 4.8])).tolist()
        _pictures(above, shown)
    rows = below.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    _bands(rows[0], steps, effects, order, set(turned), pair)
    rows[1].plot(steps, margins, color="#333333", linewidth=1.8)
    rows[1].axhline(0, color="#333333", linewidth=0.8, linestyle="--")
    rows[1].set_ylabel(f"margin of\n{pair[0]} over {pair[1]}", parse_math=False, fontsize=8)
    rows[1].set_xlabel("step")
    rows[1].xaxis.get_major_locator().set_params(integer=True)
    for axes in rows:
        axes.grid(alpha=0.25)
        axes.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
        for look in looks[1:]:
            axes.axvline(look.step, color="#555555", linewidth=0.9, linestyle=":")
    figure.suptitle(title, parse_math=False, fontsize=11)
    return figure


def _chosen(looks: Sequence[Look]) -> list[Look]:
    """So many as there is room for, the first and the last among them."""
    if len(looks) <= _LOOKS:
        return list(looks)
    places = np.linspace(0, len(looks) - 1, _LOOKS).round().astype(int)
    return [looks[place] for place in places]


def _pictures(part: Any, looks: Sequence[Look]) -> None:
    from fluoroscope.pictures.display import shown_array

    row = part.subplots(1, len(looks), squeeze=False)[0]
    for axes, look in zip(row, looks, strict=True):
        axes.imshow(shown_array(look.picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(
            f"step {look.step}\npredicted as {look.predicted}", parse_math=False, fontsize=9
        )
        if look is looks[0]:
            continue
        named = ", ".join(map(str, look.turned[:_NAMED]))
        more = f"\nmost of all {named}" if look.turned else ""
        axes.text(
            0.5, -0.04, f"{count(len(look.turned), 'unit')} turned{more}", ha="center", va="top",
            transform=axes.transAxes, fontsize=8.5,
        )  # fmt: skip


def _bands(
    axes: "Axes", steps: Sequence[int], effects: NDArray[np.float64], order: Sequence[int],
    turned: set[int], pair: tuple[str, str],
) -> None:  # fmt: skip
    up, down = np.zeros(len(steps)), np.zeros(len(steps))
    named = []
    for units, colour, name in _groups(effects, order, turned, pair):
        value = effects[:, units]
        above, below = up + value.clip(min=0).sum(1), down + value.clip(max=0).sum(1)
        area = axes.fill_between(steps, up, above, color=colour, linewidth=0)
        axes.fill_between(steps, down, below, color=colour, linewidth=0)
        named.append((area, name))
        up, down = above, below
    axes.axhline(0, color="#333333", linewidth=0.9)
    axes.set_ylabel(f"← for {pair[1]}   for {pair[0]} →", parse_math=False, fontsize=9)
    axes.set_title(
        f"what each unit alone does to the margin of {pair[0]} over {pair[1]} (exact, by removing "
        "it);\nwhat units do together is not the sum, so bands do not add up to the margin",
        parse_math=False, fontsize=9,
    )  # fmt: skip
    add_legend(
        axes, named, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5)
    )  # fmt: skip


def _groups(
    effects: NDArray[np.float64], order: Sequence[int], turned: set[int], pair: tuple[str, str]
) -> Iterator[tuple[list[int], str, str]]:
    """The units of each band with its colour and name, from the axis outwards."""
    for number, unit in enumerate(order[:_BANDS]):
        yield [unit], COLORS[number % len(COLORS)], f"unit {unit}"
    rest = list(order[_BANDS:])
    mean = effects.mean(0)
    others = (
        ([unit for unit in rest if unit in turned], _TURNED, "that turned"),
        ([unit for unit in rest if unit not in turned and mean[unit] >= 0], _STAYED[0],
         f"for {pair[0]}"),
        ([unit for unit in rest if unit not in turned and mean[unit] < 0], _STAYED[1],
         f"for {pair[1]}"),
    )  # fmt: skip
    for units, colour, name in others:
        if units:
            yield units, colour, f"{count(len(units), 'other')} {name}"
