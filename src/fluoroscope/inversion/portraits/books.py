"""The books on portraits under way: looks at them as they are, way stations, and frames.

What is noted is written into the state's own tensors: nobody else has them, and copies of all way
stations at every look would cost more than the look.
"""

from dataclasses import replace

import torch
from torch import Tensor

from fluoroscope.inversion.portraits.painting import Painting

STATIONS = (0.5, 0.9, 0.99, 0.999)
"""The probabilities at which a portrait is kept on its way."""


def look_steps(steps: int) -> list[int]:
    """At which steps a portrait is looked at as it is: at each at first, then ever more rarely.

    A class is often found within a few steps, and then little changes. Of 256 steps these are 21.
    """
    found, at = [], 0
    while at < steps:
        found.append(at)
        at += max(1, at // 3)
    return found if found[-1] == steps - 1 else [*found, steps - 1]


def noted(
    state: Painting, now: Tensor, pictures: Tensor, logits: Tensor, terms: list[Tensor]
) -> Painting:
    """Note where those stand who are looked at ``now`` ``(n,)``.

    Args:
        pictures: ``(n, C, H, W)``, as they are.
        logits: ``(n, K)``, what the network says of them.
        terms: ``(n,)`` each, the goal and the priors.
    """
    classes = state.samples.classes
    sure = logits.double().softmax(1).gather(1, classes[:, None].clamp(min=0))[:, 0]
    sure = sure.where(classes >= 0, torch.nan)  # of no class there is none
    columns = [state.number, *terms, sure]
    row = torch.stack([each.to(state.curve) for each in columns], 1)
    rows = now.nonzero()[:, 0]
    state.curve[rows, state.looks[rows]] = row[rows]
    for at, wanted in enumerate(STATIONS):
        fresh = now & (sure >= wanted) & (state.reached[:, at] < 0) & (state.samples.towards > 0)
        state.stations[fresh, at] = pictures[fresh].to(state.stations)
        state.reached[fresh, at] = state.number[fresh]
    return replace(state, looks=state.looks + now, looked=state.looked | now)


def framed(state: Painting, pictures: Tensor, moving: Tensor | None, steps: int) -> None:
    """Keep the pictures as they are now of those that are ``moving``, where it is their turn."""
    count = state.frames.shape[1]
    if not count:
        return
    # Evenly spaced: frame k is that of step k * steps // frames.
    place = (state.number * count + steps - 1) // steps
    now = (place * steps // count == state.number) & (place < count)
    now = now if moving is None else moving & now
    rows = now.nonzero()[:, 0]
    state.frames[rows, place[rows]] = pictures[rows].to(state.frames)
