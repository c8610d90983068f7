"""Do pictures go through the layers as real ones of their class do?

Geirhos et al. 2024 (2306.04719): a picture can excite a unit by another way than any real picture
takes, and a network can be made to show forged ones. For each layer stand beside each other how
alike made pictures are to real ones of their class, real ones of a class to each other, and real
ones of a class to those of others: mean cosines about the mean of real pictures. A *place* puts
that on one scale: 1 is as real pictures of the class, 0 as those of other classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# The least by which real pictures of a class are more alike than those of others in a layer that
# tells classes apart at all; in others a place would be a ratio of two zeros.
TELLS = 0.05


@dataclass(frozen=True)
class AtLayer:
    """What one layer says: means over classes."""

    layer: str
    made: float
    """Made pictures and real ones of their class."""
    same: float
    """Real pictures of a class."""
    others: float
    """Real pictures of a class and of others."""

    @property
    def tells(self) -> bool:
        """Whether the layer tells classes apart."""
        return self.same - self.others > TELLS

    @property
    def place(self) -> float | None:
        """1 as real pictures of the class, 0 as of others; ``None`` where it tells nothing."""
        return (self.made - self.others) / (self.same - self.others) if self.tells else None

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "layer": self.layer, "made_to_same": self.made, "real_to_same": self.same,
            "real_to_others": self.others, "place": self.place,
        }  # fmt: skip


def at_layer(
    layer: str, made: Tensor, classes: Tensor, real: Tensor, labels: Tensor
) -> AtLayer | None:
    """Features ``(N, D)`` of made pictures beside those of real ones ``(M, D)``.

    ``None`` where no class has a made picture, two real ones, and others beside it.
    """
    middle = real.double().mean(0)
    ours, theirs = _unit(made.double() - middle), _unit(real.double() - middle)
    found = []
    for each in classes.unique().tolist():
        mine = labels == each
        many, rest = int(mine.sum()), int((~mine).sum())
        if many < 2 or not rest:
            continue
        own, other = theirs[mine].sum(0), theirs[~mine].sum(0)
        alone = theirs[mine].square().sum()
        same = (own @ own - alone) / (many * (many - 1))
        to_made = ours[classes == each].mean(0) @ own / many
        found.append(torch.stack([to_made, same, own @ other / (many * rest)]))
    if not found:
        return None
    return AtLayer(layer, *torch.stack(found).mean(0).tolist())


def mean_place(path: tuple[AtLayer, ...]) -> float | None:
    """The mean place over the layers that tell classes apart, none counted above 1."""
    places = [min(1.0, one.place) for one in path if one.place is not None]
    return sum(places) / len(places) if places else None


def _unit(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths.clamp(min=1e-300)
