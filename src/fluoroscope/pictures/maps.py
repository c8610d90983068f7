"""Signed numbers as colours, on a scale that the picture states.

Blue below zero, white at it and red above, for pictures of any number of channels: one key for all
maps, on pages, in notebooks and in files. The scale is symmetric.
"""

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.files import atomic_path, user_path
from fluoroscope.pictures.display import said, shown_array
from fluoroscope.process import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIGNED = "RdBu_r"
"""Matplotlib's name of the colours."""
# True of dark ink on white as of white ink on black, where to add ink is to darken or to brighten.
_KEY = "red: brighter pixels raise it\nblue: darker pixels raise it"


def signed_map(values: Tensor, *, scale: float | None = None) -> tuple[Tensor, float]:
    """Colour a signed ``(C, H, W)``, its channels added up, as ``(3, H, W)`` in ``[0, 1]``.

    Returns the picture and the scale: the value at the end of the colours, by default the 98th
    percentile of the absolute values (as Evans 2015 showed gradients), or the largest where most
    values are zero.
    """
    from matplotlib import colormaps

    flat, limit = _flat(values, scale)
    rgb = colormaps[SIGNED](np.clip(0.5 + flat / (2 * limit), 0, 1))[..., :3]
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).float(), limit


def amplified(values: Tensor, factor: float = 50.0) -> Tensor:
    """The classic view "times 50": mid-grey plus ``factor`` times the values, clamped.

    ``(C, H, W)`` in, the same in ``[0, 1]`` out; the channels keep their colours.
    """
    return (0.5 + factor * values).clamp(0, 1)


def map_figure(
    panels: "list[tuple[str, Tensor]]",
    *,
    picture: Tensor | None = None,
    scale: float | None = None,
    unit: str = "",
) -> "Figure":
    """Gradients, up to five in a row, on one scale, with a colour bar that states the numbers.

    Args:
        panels: a title and a signed ``(C, H, W)`` each.
        picture: an image ``(C, H, W)`` in ``[0, 1]`` to show first.
        scale: the value at the end of the colours; by default the largest of the panels' own.
        unit: what the numbers are, written along the bar.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    limit = scale or max(_flat(values, None)[1] for _, values in panels)
    count = len(panels) + (picture is not None)
    across = min(count, 5)
    down = ceil(count / across)
    size = (2.9 * across + 0.9, 3.0 * down + 0.2)
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    if picture is not None:
        axes[0].imshow(shown_array(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        which = said(len(picture))
        axes[0].set_title(f"picture\n{which}".strip(), parse_math=False)
    for axis, (title, values) in zip(axes[count - len(panels) : count], panels, strict=True):
        rgb, _ = signed_map(values, scale=limit)
        axis.imshow(rgb.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(title, parse_math=False)
    for axis in axes:
        axis.set_axis_off()
    bar = ScalarMappable(Normalize(-limit, limit), SIGNED)
    largest = max(float(np.abs(_flat(values, limit)[0]).max()) for _, values in panels)
    beyond = largest > limit * (1 + 1e-6)
    # Pointed ends: there are values beyond, in the same colours.
    extend = "both" if beyond else "neither"
    colorbar = figure.colorbar(bar, ax=list(axes), shrink=0.85, extend=extend)
    colorbar.set_ticks([-limit, -limit / 2, 0, limit / 2, limit])
    colorbar.ax.set_yticklabels([f"{tick:.3g}" for tick in colorbar.get_ticks()])
    words = [unit, _KEY, f"the ends stand for up to ±{largest:.3g}" if beyond else ""]
    colorbar.set_label("\n".join(filter(None, words)))
    return figure


def write_figure(path: str | Path, figure: "Figure") -> Path:
    """Save a figure as PNG or SVG, by the suffix: atomic, the same figure in the same bytes."""
    suffix = Path(path).suffix.removeprefix(".")
    metadata = {"Date": None} if suffix == "svg" else None
    with atomic_path(path) as draft, drawing({"svg.hashsalt": "fluoroscope"}):
        figure.savefig(draft, format=suffix, metadata=metadata)
    return user_path(path)


def _flat(values: Tensor, scale: float | None) -> tuple[NDArray[np.float64], float]:
    flat = values.detach().cpu().double().sum(0).numpy()
    if scale is None:
        size = np.abs(flat)
        scale = float(np.percentile(size, 98)) or float(size.max()) or 1.0
    return flat, scale
