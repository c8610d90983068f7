"""Pictures before and after, with what was changed between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fluoroscope.pictures.display import said, shown_array
from fluoroscope.pictures.maps import signed_map
from fluoroscope.words import Ruler

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Pair:
    """A picture ``(C, H, W)`` in ``[0, 1]`` before and after, and what each was predicted as."""

    before: Tensor
    after: Tensor
    read_before: str
    read_after: str


def pair_figure(pairs: Sequence[Pair]) -> "Figure":
    """A column for each pair: before, the change, after; all changes on one scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.1 * len(pairs) + 0.7, 6.9), layout="constrained", dpi=150)
    axes = figure.subplots(3, len(pairs), squeeze=False)
    scale = max(signed_map(pair.after - pair.before)[1] for pair in pairs)
    for column, pair in zip(axes.T, pairs, strict=True):
        change, _ = signed_map(pair.after - pair.before, scale=scale, style="diverging")
        largest = float((pair.after - pair.before).abs().max())
        far = Ruler("linf", len(pair.before)).short(largest)
        titles = (pair.read_before, f"largest change {far}", pair.read_after)
        arrays = (
            shown_array(pair.before),
            change.permute(1, 2, 0).numpy(),
            shown_array(pair.after),
        )
        for axis, array, title in zip(column, arrays, titles, strict=True):
            axis.imshow(array, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_title(_short(title), parse_math=False, fontsize=9)
            axis.set(xticks=[], yticks=[])
            for side in axis.spines.values():
                side.set_color("#bbbbbb")
    which = said(len(pairs[0].before))
    words = (f"before\n{which}".strip(), "change", f"after\n{which}".strip())
    for axis, word in zip(axes[:, 0], words, strict=True):
        axis.set_ylabel(word)
    return figure


def _short(title: str) -> str:
    return title if len(title) <= 24 else title[:23] + "…"


def spread(count: int, most: int) -> Tensor:
    """At most so many positions out of ``count``, evenly spaced."""
    return (
        torch.linspace(0, count - 1, min(count, most), dtype=torch.float32, device="cpu")
        .round()
        .long()
    )
