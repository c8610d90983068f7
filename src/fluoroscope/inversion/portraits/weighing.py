"""Weights of priors by the ratio of gradients, found once, before a portrait is moved by them.

In sums of absolute values at the pixels the pull of a prior is then so many times the goal's
(Hamblin et al. 2024, 2402.10039).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fluoroscope.inversion.portraits.painting import Painting
from fluoroscope.inversion.portraits.recipe import Weighted


def weighed_once_more(
    state: Painting,
    weighing: Tensor,
    pull: Tensor,
    on_pixels: list[Tensor],
    priors: Sequence[Weighted],
    passes: int,
) -> Painting:
    """Note one term's pull of those who are ``weighing``; after the last the weights are known.

    Args:
        pull: ``(n, C, H, W)``, the gradient of the goal, or of the next prior on layers.
        on_pixels: those of the priors on pixels, which come after these.
        priors: all of them, in that order.
        passes: how many a portrait needs, one for the goal and each prior on layers.
    """
    found = pull.abs().flatten(1).sum(1)
    at = state.weighed.clamp(max=state.pulls.shape[1] - 1)
    pulls = state.pulls.clone()
    rows = weighing.nonzero()[:, 0]
    pulls[rows, at[rows]] = found[rows]
    for number, one in enumerate(on_pixels):
        place = passes + number
        pulls[rows, place] = one.abs().flatten(1).sum(1)[rows]
    weighed = state.weighed + weighing
    over = weighing & (weighed == passes)
    weights = state.weights
    for number, each in enumerate(priors):
        if each.ratio:
            ratio = each.weight * pulls[:, 0] / pulls[:, 1 + number]
            ratio = torch.where(pulls[:, 1 + number] > 0, ratio, 0.0)
            weights = torch.where(
                (over[:, None]) & (torch.arange(len(priors), device=over.device) == number),
                ratio[:, None],
                weights,
            )
    return replace(state, pulls=pulls, weighed=weighed, weights=weights)
