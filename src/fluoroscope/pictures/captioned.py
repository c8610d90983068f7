"""Pictures in a grid, each with words under it."""

from collections.abc import Sequence
from math import ceil
from textwrap import wrap
from typing import TYPE_CHECKING

from torch import Tensor

from fluoroscope.pictures.display import said, shown_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACROSS = 6


def captioned_figure(pictures: Sequence[tuple[Tensor, str]], title: str = "") -> "Figure":
    """Images ``(C, H, W)`` in ``[0, 1]``, six in a row, each with its words below."""
    from matplotlib.figure import Figure

    across = min(_ACROSS, len(pictures))
    down = ceil(len(pictures) / across)
    size = (1.9 * across + 0.2, 2.3 * down + 0.6)
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    which = said(len(pictures[0][0]))
    # A title is as wide as the pictures, and a file's name in it may have no space.
    lines = wrap(f"{title} {which}".strip(), 26 * across)
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (picture, words) in zip(axes, pictures, strict=False):
        axis.set_axis_on()
        axis.imshow(shown_array(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        for side in axis.spines.values():
            side.set_color("#bbbbbb")
        lines = [line if len(line) <= 26 else line[:25] + "…" for line in words.splitlines()]
        axis.set_xlabel("\n".join(lines), fontsize=8, parse_math=False)
    return figure
