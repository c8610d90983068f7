"""What portraits come back with: pictures, how sure the network is of them, and how they came."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fluoroscope.pictures import html


@dataclass(frozen=True, kw_only=True, repr=False)
class Portraits(html.Shown):
    """``N`` portraits; all tensors are on the CPU."""

    images: Tensor
    """``(N, C, H, W)`` in ``[0, 1]``, exact floats."""
    targets: Tensor
    """``(N,)``, the class of each; -1 of one whose goal speaks of none."""
    towards: Tensor
    """``(N,)``, 1 of a portrait for its class, -1 of one against."""
    logits: Tensor
    """``(N, K)``, the network's answer to the finished picture."""
    transparency: Tensor
    """``(N, 1, H, W)``, the sum of the absolute gradients, the mean of the channels."""
    curve: Tensor
    """``(N, looks, 3 + P)``: step, goal, each prior, probability of the class (NaN of none)."""
    weights: Tensor
    """``(N, P)``, of the priors, as they were found or given."""
    stations: Tensor
    """``(N, 4, C, H, W)``, the picture when it first came to probability .5, .9, .99, .999."""
    reached: Tensor
    """``(N, 4)``, the step at which that was seen; -1 if it was not."""
    frames: Tensor
    """``(N, F, C, H, W)``, pictures on the way."""
    forwards: Tensor
    """``(N,)``, images that went through the network for each."""
    backwards: Tensor
    """``(N,)``, gradients computed for each."""
    numbers: Tensor
    """``(N,)``, on which, with the seed, everything random of a portrait depends."""
    record: dict[str, Any]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def probabilities(self) -> Tensor:
        """``(N,)``, of each portrait's class, at the finished picture; NaN of one of no class."""
        own = self.logits.double().softmax(1).gather(1, self.targets[:, None].clamp(min=0))[:, 0]
        return own.where(self.targets >= 0, torch.nan)

    def _line(self) -> str:
        return f"{len(self.images)} portraits of {self.record.get('model')}"
