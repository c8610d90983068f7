"""Whether units answer to patches: what is left of an activation when only a part is shown.

Of a unit's strongest place in a picture the part around it, a square of half the picture's side, is
shown alone, the rest replaced by the picture's mean colour; and, as a control, an equal square at a
random place. What a unit keeps of its activation, and what the network keeps of the class that it
predicted, are told apart: a unit that answers to patches keeps its activation where the network has
lost the class.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import fluoroscope as fs
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.neurons.reading.activations import Activations

UNITS, PICTURES = 24, 5
"""Units of a layer, evenly among those that answer at all, and the top pictures of each."""


@dataclass(frozen=True)
class Kept:
    """Means over units and their top pictures."""

    patch: float
    """The share of the unit's activation that its patch alone brings about."""
    control: float
    """The same of an equal square at a random place."""
    decision: float
    """The share of the patches that the network classifies as it did the whole picture."""
    searched: int
    """Pictures, each counted for each unit that it is a top picture of."""


def kept(model: fs.Classifier, found: Activations, images: fs.ImageSet, seed: int = 0) -> Kept:
    """Of the pictures that the units of a layer answer to most."""
    values, units = np.asarray(found.values), found.units
    alive = np.flatnonzero(values.max(0) > 0)
    chosen = alive[np.linspace(0, len(alive) - 1, min(UNITS, len(alive))).astype(int)]
    rows = np.argsort(-values[:, chosen], axis=0, kind="stable")[:PICTURES].T
    patch, control, same = [], [], []
    for unit, tops in zip(chosen.tolist(), rows.tolist(), strict=True):
        whole = torch.stack([model.fit(images[row].image) for row in tops])
        answer = evaluate(model, whole, layer=units.layer, look=False)
        assert answer.activation is not None
        maps = units.maps(answer.activation)[:, unit]  # (n, h, w)
        strongest = maps.flatten(1).max(1)
        at = torch.stack([strongest.indices // maps.shape[2], strongest.indices % maps.shape[2]], 1)
        middle = (at + 0.5) / torch.tensor(maps.shape[1:])
        keys = randomness.keys(seed, torch.tensor(tops), unit)
        elsewhere = randomness.uniform(keys, 0, (2,))
        shown = torch.cat([_alone(whole, middle), _alone(whole, elsewhere)])
        again = evaluate(model, shown, layer=units.layer, look=False)
        assert again.activation is not None
        largest = units.maps(again.activation)[:, unit].flatten(1).amax(1)
        before = strongest.values.repeat(2)
        share = torch.where(before > 0, (largest / before).clamp(0, 2), torch.nan)
        patch.append(share[: len(tops)])
        control.append(share[len(tops) :])
        same.append(again.logits[: len(tops)].argmax(1) == answer.logits.argmax(1))
    return Kept(
        float(torch.cat(patch).nanmean()), float(torch.cat(control).nanmean()),
        float(torch.cat(same).double().mean()), len(chosen) * PICTURES,
    )  # fmt: skip


def _alone(images: Tensor, middle: Tensor) -> Tensor:
    """Only the square around ``middle`` ``(n, 2)`` of each, a quarter of its area."""
    height, width = images.shape[2:]
    sides = torch.tensor([height // 2, width // 2])
    sizes = torch.tensor([height, width])
    first = (middle * sizes - sides / 2).round().long().clamp(min=0)
    first = torch.minimum(first, sizes - sides)
    shown = images.mean((2, 3), keepdim=True).expand_as(images).clone()
    for row, (y, x) in enumerate(first.tolist()):
        part = (row, slice(None), slice(y, y + height // 2), slice(x, x + width // 2))
        shown[part] = images[part]
    return shown
