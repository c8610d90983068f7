"""A random share of every class, whatever order the pictures come in.

Pictures from class folders come sorted by class: the last of them, or the first, are all of one.
"""

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.hashing import uniform

_DRAW = 0


def share_of_each(labels: Tensor, most: int, seed: int) -> Tensor:
    """Which pictures to take, ``(n,)`` in random order: of each class about the same share.

    The last picture of a class is never taken.

    Args:
        labels: ``(N,)``, the pictures' classes.
        most: so many of them; fewer where all the others are their class's last.
        seed: which of each class.
    """
    numbers = torch.arange(len(labels), device=labels.device)
    drawn = uniform(randomness.keys(seed, numbers), _DRAW, (1,))[:, 0].argsort(stable=True)
    by_class = drawn[labels[drawn].argsort(stable=True)]
    sorted_labels = labels[by_class]
    last = torch.ones_like(sorted_labels, dtype=torch.bool)
    last[:-1] = sorted_labels[:-1] != sorted_labels[1:]
    free = by_class[~last]
    total = min(most, len(free))
    # At even distances along the sorted ones, so that each class gives its share.
    taken = torch.zeros_like(numbers, dtype=torch.bool)
    taken[free[(2 * numbers[:total] + 1) * len(free) // max(1, 2 * total)]] = True
    return drawn[taken[drawn]]
