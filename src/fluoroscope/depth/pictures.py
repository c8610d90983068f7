"""Depth networks as pictures: what they see, where they err, what their units answer to."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fluoroscope.depth.ablation import Ablation
from fluoroscope.depth.diagnosis import winning_bin
from fluoroscope.depth.reading import read
from fluoroscope.depth.scenes import Scenes
from fluoroscope.depth.selectivity import Selectivity
from fluoroscope.words import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 4
"""Scenes on a sheet."""
# Errors from this factor on are in full colour.
_FACTOR = 2.0
_TICKS = 8


def sheet(network: nn.Module, scenes: Scenes, measured: Selectivity) -> "Figure":
    """A row for each scene: picture, true depth, prediction, error, and the winning units' bins.

    Args:
        network: with features and depth.
        scenes: the first few are shown.
        measured: what its units answer to.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    few = Scenes(scenes.images[:SHOWN], scenes.depth[:SHOWN], scenes.seed, scenes.first)
    predicted, winning = _seen(network, few, measured)
    height, width = few.depth.shape[1:]
    figure = Figure(
        figsize=(11.5, 0.9 + len(few) * 2.05 * height / width * 1.12), layout="constrained", dpi=150
    )
    panels = figure.subplots(len(few), 5, squeeze=False)
    edges = measured.bins.edges
    metres = LogNorm(float(edges[1]) / 1.5, float(edges[-1]))
    error = (predicted.clamp_min(1e-6) / few.depth).log2()
    drawn: list[Any] = []
    for row in range(len(few)):
        drawn = [
            panels[row, 0].imshow(few.images[row].permute(1, 2, 0).numpy()),
            panels[row, 1].imshow(few.depth[row].numpy(), cmap="viridis", norm=metres),
            panels[row, 2].imshow(predicted[row].numpy(), cmap="viridis", norm=metres),
            panels[row, 3].imshow(error[row].numpy(), cmap="RdBu_r", vmin=-1, vmax=1),
            panels[row, 4].imshow(
                winning[row].numpy(), cmap="viridis", vmin=-0.5, vmax=measured.bins.count - 0.5
            ),
        ]
    heads = ("picture", "depth", "prediction", "error", "bin of the winning unit")
    for place, head in enumerate(heads):
        panels[0, place].set_title(head, fontsize=11)
    for axes in panels.ravel():
        axes.set(xticks=[], yticks=[])
    ticks = [1, 2, 3, 5, 10]
    bar = figure.colorbar(drawn[1], ax=list(panels[:, 1:3].ravel()), location="bottom", shrink=0.7,
                          aspect=40)  # fmt: skip
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.xaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.set_xticklabels([str(one) for one in ticks])
    bar.set_label("metres")
    bar = figure.colorbar(drawn[3], ax=list(panels[:, 3]), location="bottom", ticks=[-1, 0, 1],
                          extend="both")  # fmt: skip
    bar.ax.set_xticklabels(["half", "right", "twice"])
    bar = figure.colorbar(drawn[4], ax=list(panels[:, 4]), location="bottom")
    places, names = _ticks(measured)
    bar.set_ticks(places[::2], labels=names[::2])
    bar.set_label("bin, from metres on")
    return figure


def heat_maps(found: Sequence[tuple[str, Selectivity]]) -> "Figure":
    """What units answer to, one map beside the other: a row for each unit, a column for each bin.

    A unit's responses are shares of its largest; units stand in the order of their assigned bins,
    which a step of white marks.

    Args:
        found: a title and a measurement each.
    """
    from matplotlib.figure import Figure

    units = max(len(one.responses) for _, one in found)
    figure = Figure(
        figsize=(0.7 + 4.4 * len(found), min(9.0, 1.6 + 0.12 * max(units, 24))),
        layout="constrained", dpi=150,
    )  # fmt: skip
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    image: Any = None
    for axes, (title, one) in zip(panels, found, strict=True):
        answers = one.responses
        shares = answers / answers.nan_to_num().amax(1, keepdim=True).clamp_min(1e-12)
        image = axes.imshow(
            shares.numpy(), cmap="magma", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
        )
        for unit, own in enumerate(one.assigned.tolist()):
            axes.plot([own - 0.5, own + 0.5, own + 0.5, own - 0.5, own - 0.5],
                      [unit - 0.5, unit - 0.5, unit + 0.5, unit + 0.5, unit - 0.5],
                      color="#3fd0ff", linewidth=0.9)  # fmt: skip
        places, names = _ticks(one)
        axes.set_xticks(places, names, fontsize=8)
        axes.set_xlabel("bin, from metres on")
        dead = f", {one.dead} dead" if one.dead else ""
        axes.set_title(
            f"{title}\nmean selectivity {number(one.mean)}, for assigned bins "
            f"{number(one.mean_of_assigned)}{dead}",
            fontsize=10,
            parse_math=False,
        )
    panels[0].set_ylabel("unit")
    bar = figure.colorbar(image, ax=list(panels), aspect=30)
    bar.set_label("response, as a share of the unit's largest;\nblue frames: the assigned bin")
    return figure


def ablation_map(found: Sequence[tuple[str, Ablation]]) -> "Figure":
    """By how much the error rises in each bin when the units of another, or its own, are taken.

    Args:
        found: a title and a measurement each; all are drawn on one scale.
    """
    from matplotlib.colors import SymLogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.9 + 4.6 * len(found), 4.6), layout="constrained", dpi=150)
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    most = max(float((100 * one.rise).nan_to_num().abs().max()) for _, one in found)
    scale = SymLogNorm(1.0, vmin=-max(most, 1.0), vmax=max(most, 1.0))
    image: Any = None
    for axes, (title, one) in zip(panels, found, strict=True):
        image = axes.imshow((100 * one.rise).numpy(), cmap="RdBu_r", norm=scale, aspect="auto")
        edges = one.bins.edges.tolist()
        places = _places(one.bins.count)
        names = [f"{edges[place]:.2g}" for place in places]
        axes.set_xticks(places, names, fontsize=8)
        axes.set_yticks(places, names, fontsize=8)
        axes.set_xlabel("true depth, from metres on")
        axes.set_title(title, fontsize=10, parse_math=False)
    panels[0].set_ylabel("bin whose units are taken, from metres on")
    bar = figure.colorbar(image, ax=list(panels))
    powers = [10**power for power in range(math.ceil(math.log10(max(most, 1.0))) + 1)]
    ticks = [*(-one for one in reversed(powers)), 0, *powers]
    bar.set_ticks([one for one in ticks if abs(one) <= max(most, 1.0)])
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:+,.0f}" if value else "0")
    bar.set_label("rise of the relative error, in points")
    return figure


def _seen(network: nn.Module, few: Scenes, measured: Selectivity) -> tuple[Tensor, Tensor]:
    """The network's depth and the winning units' bins, ``(n, H, W)`` each."""
    predicted, winning = [], []
    for batch in read(network, few):
        size = (batch.depth.shape[1], batch.depth.shape[2])
        predicted.append(batch.predicted.float().cpu())
        winning.append(winning_bin(batch.features, size, measured).cpu())
    return torch.cat(predicted), torch.cat(winning)


def _ticks(measured: Selectivity) -> tuple[list[int], list[str]]:
    """Some bins, and where each begins."""
    edges, places = measured.bins.edges.tolist(), _places(measured.bins.count)
    return places, [f"{edges[place]:.2g}" for place in places]


def _places(count: int) -> list[int]:
    return list(range(0, count, max(1, count // _TICKS)))
