"""What the rules of one evaluation know: their options, which tensors are still the picture itself,
and which are kept for the way back."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Limits = tuple[Tensor, Tensor] | None
"""What a rule for pixels asks of each number of a picture: its lowest and highest value (box), or
twice whether it is a pixel at all and no padding (flat)."""


@dataclass(frozen=True)
class How:
    """The rules of one evaluation by what they are for, and their numbers."""

    first: str
    """Of the layer that meets the picture."""
    conv: str
    depthwise: str
    dense: str
    epsilon: float
    gamma: float
    held: bool
    """Whether the weights of an attention are held, and its values get all."""
    absorbed: bool = False
    """Whether biases, shifts of norms and epsilon keep what they add, as in the literature."""


class Kept:
    """A tensor for the way back: as it is, until somebody is about to write into it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()


@dataclass
class Context:
    """One evaluation."""

    how: How
    pictures: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    """Tensors that are the picture itself, moved or scaled, with their limits."""
    kept: dict[int, list[Kept]] = field(default_factory=dict)
    """By storage, which lives as long as what is kept of it."""

    def is_picture(self, tensor: Tensor) -> bool:
        """Whether a tensor is the picture, which at first is the one leaf that wants a gradient."""
        if tensor in self.pictures:
            return True
        if not (tensor.is_leaf and tensor.requires_grad and torch.is_grad_enabled()):
            return False
        ones = torch.ones_like(tensor)
        ends = {"box": (torch.zeros_like(tensor), ones), "flat": (ones, ones)}
        self.pictures[tensor] = ends.get(self.how.first)
        return True

    def limits(self, tensor: Tensor) -> Limits:
        """What is known of a picture's numbers."""
        found: Limits = self.pictures[tensor]
        return found

    def keep(self, tensor: Tensor) -> Kept:
        """Keep a tensor for the way back."""
        made = Kept(tensor)
        self.kept.setdefault(_storage(tensor), []).append(made)
        return made

    def before_writing(self, tensor: Tensor) -> None:
        """Copy what is kept of a tensor that is about to be written into."""
        for kept in self.kept.pop(_storage(tensor), ()):
            kept.tensor = kept.tensor.clone()


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
