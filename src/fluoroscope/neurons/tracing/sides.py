"""Which side of a decision a unit is on, and whether it turned between two pictures.

A unit's effect is what is lost without it of the margin of one class over another, the same pair in
all pictures. It is for the first class where that is above 0, for the second where it is below, and
on no side where it is less than a hundredth of the largest effect in that picture. It turned where
it is on one side in the one picture and on the other in the other.
"""

import torch
from torch import Tensor

LEAST = 0.01
"""The share of a picture's largest effect below which a unit is on no side."""


def sides(effects: Tensor) -> Tensor:
    """Of effects ``(F, K)``: 1 for the first class, -1 for the second, 0 for none, int64."""
    least = LEAST * effects.abs().amax(1, keepdim=True)
    return (effects.sign() * (effects.abs() >= least)).long()


def turned_units(before: Tensor, after: Tensor) -> Tensor:
    """The units ``(T,)`` that turned between effects ``(K,)``, by how much, the most first."""
    now = sides(torch.stack([before, after]))
    change = (after - before).abs()
    order = change.argsort(descending=True, stable=True)
    return order[(now[0] * now[1])[order] < 0]


def cannot_turn(effects: Tensor, found: str) -> list[str]:
    """Of effects ``(F, K)`` without a unit that changed sides, why none could, as a note."""
    now = sides(effects)
    if not found.startswith("closed") or bool(((now > 0).any(0) & (now < 0).any(0)).any()):
        return []
    return [
        "no unit turned, and perhaps none can: from this layer on the network adds up numbers with "
        "fixed weights, so a unit that is never below 0 speaks for one class alone; an earlier "
        "layer says more"
    ]
