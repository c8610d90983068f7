"""Whether what a map says of a group of pixels is what the network loses with them.

Bhatt, Weller, Moura 2020, "Evaluating and Aggregating Feature-based Model Explanations"
(2005.00631), definition 3: the correlation, over random subsets ``S``, of the relevance within
``S`` and of ``f(x) - f(x without S)``. MuFidelity, as Xplique has it, is the same with the cells of
a grid for pixels and ranks for values. ``f`` is the logit, or the difference of two.

What the network loses does not depend on the map, so it is asked once for all maps.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fluoroscope.attribution.metrics.maps import Maps, as_maps, pixels
from fluoroscope.attribution.metrics.purposes import Purpose
from fluoroscope.attribution.metrics.replacing import Replace, Replacement, replacement
from fluoroscope.attribution.metrics.setting import Setting
from fluoroscope.attribution.metrics.similarity import pearson, ranked
from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.errors import InvalidParameterError

Scores = Callable[[Maps], Tensor]
"""Maps of a setting's pictures give a score ``(N,)`` for each."""


def faithfulness_correlation(
    setting: Setting, *, runs: int = 100, share: float = 0.1, replace: Replace = "black"
) -> Scores:
    """Pearson's correlation over ``runs`` random subsets of a ``share`` of the pixels.

    Whole pixels go, all channels at once. 0 where nothing varies.
    """
    runs, total = whole_number("runs", runs), setting.pixels
    many, keys = part_of(total, share), setting.keys(Purpose.SUBSETS)
    # As bits, a hundred subsets of a picture take about as much memory as the picture.
    kept = np.zeros((len(setting), runs, -(-total // 8)), dtype=np.uint8)

    def removed(rows: Tensor, numbers: Tensor) -> Tensor:
        masks = subsets(keys[rows], numbers, total, many)
        kept[rows.cpu().numpy(), numbers.cpu().numpy()] = np.packbits(masks.cpu().numpy(), axis=1)
        return masks.view(-1, *setting.images.shape[2:])

    drops = lost(setting, runs, removed, replacement(setting, replace))

    def scores(maps: Maps) -> Tensor:
        values = pixels(as_maps(maps, setting.images)).cpu()
        sums = [
            torch.from_numpy(np.unpackbits(masks, axis=1, count=total)).to(row.dtype) @ row
            for masks, row in zip(kept, values, strict=True)
        ]
        return pearson(torch.stack(sums), drops)

    return scores


def mufidelity(
    setting: Setting,
    *,
    grid: int = 9,
    share: float = 0.2,
    samples: int = 200,
    replace: Replace = "black",
) -> Scores:
    """Spearman's correlation over random subsets of a ``share`` of the cells of a grid.

    A picture with fewer pixels on a side has a cell for each of them.
    """
    samples, grid = whole_number("samples", samples), whole_number("grid", grid)
    cells = cell_of_each(setting.images, grid)
    many_cells = int(cells.max()) + 1
    everyone = torch.arange(len(setting) * samples, device=setting.images.device)
    rows, numbers = everyone // samples, everyone % samples
    chosen = subsets(
        setting.keys(Purpose.CELLS)[rows], numbers, many_cells, part_of(many_cells, share)
    ).view(len(setting), samples, many_cells)
    drops = lost(
        setting,
        samples,
        lambda rows, numbers: chosen[rows, numbers][:, cells],
        replacement(setting, replace),
    )

    def scores(maps: Maps) -> Tensor:
        values = pixels(as_maps(maps, setting.images))
        sums = values.new_zeros(len(values), many_cells).index_add_(1, cells.flatten(), values)
        inside = (chosen.to(sums.dtype) @ sums[:, :, None]).squeeze(2)
        return pearson(ranked(inside), ranked(drops))

    return scores


def part_of(total: int, share: float) -> int:
    """How many of ``total`` a share is: at least one, and not all.

    Raises:
        InvalidParameterError: no share between 0 and 1.
    """
    if not 0 < share < 1:
        raise InvalidParameterError(f"share is {share}; expected more than 0 and less than 1")
    return max(1, min(round(share * total), total - 1))


def subsets(keys: Tensor, draws: Tensor, total: int, many: int) -> Tensor:
    """``many`` of ``total`` things for each key, as booleans ``(n, total)``."""
    first = randomness.uniform(keys, draws, (total,)).topk(many, dim=1, sorted=False).indices
    return torch.zeros(len(keys), total, dtype=torch.bool, device=keys.device).scatter_(
        1, first, True
    )


def cell_of_each(images: Tensor, grid: int) -> Tensor:
    """In which cell of the grid each pixel ``(H, W)`` lies; row by row, all of about one size."""
    height, width = images.shape[2:]
    rows, columns = min(grid, height), min(grid, width)
    down = torch.arange(height, device=images.device) * rows // height
    right = torch.arange(width, device=images.device) * columns // width
    return down[:, None] * columns + right


def lost(
    setting: Setting,
    probes: int,
    removed: Callable[[Tensor, Tensor], Tensor],
    replace: Replacement,
) -> Tensor:
    """How much the logit falls with each of the removals, ``(N, probes)`` in float64."""
    whole = setting.ask(1, lambda rows, _: setting.images[rows], "logit")
    left = setting.ask(
        probes,
        lambda rows, numbers: replace(rows, removed(rows, numbers), numbers),
        "logit",
    )
    return (whole - left).double().cpu()
