"""Which pictures a few of many are: drawn evenly over the classes where they lie in order of class.

The first hundred of a folder that is sorted by class are a hundred of one class, and say nothing of
the others. The draw is random by counters (`hashing`), so it is the same on every machine.
"""

import torch
from torch import Tensor

from fluoroscope.hashing import bits

# So many of the places where a mixed order would change the class must do so.
_MIXED = 0.5
# Keeps the randomness of classes apart from that of pictures.
_CLASSES = 1 << 40


def by_class(numbers: Tensor) -> bool:
    """Whether pictures of these classes ``(N,)`` lie in order of class: the class changes from one
    to the next far more seldom than in a mixed order, or every class comes once and in order.
    """
    if len(numbers) < 2:
        return False
    changes = int((numbers[1:] != numbers[:-1]).sum())
    counts = numbers.unique(return_counts=True)[1].double()
    classes, count = len(counts), len(numbers)
    if classes < 2:
        return False
    if changes == classes - 1:
        return classes < count or bool((numbers[1:] > numbers[:-1]).all())
    alike = float((counts * (counts - 1)).sum()) / (count * (count - 1))
    return changes < _MIXED * (1 - alike) * (count - 1)


def draw_evenly(numbers: Tensor, indices: Tensor, count: int, seed: int) -> Tensor:
    """Positions of ``count`` pictures ``(count,)``, in order, as evenly over the classes as their
    sizes allow.

    Args:
        numbers: the class of each picture ``(N,)``.
        indices: the number of each in its data set ``(N,)``, on which its randomness depends.
        count: at most ``N``.
        seed: of the draw.
    """
    rng = bits(indices, seed, 1)[:, 0]
    shuffled = rng.argsort(stable=True)
    together = shuffled[numbers[shuffled].argsort(stable=True)]
    sizes = numbers.unique(return_counts=True)[1]
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    # The first of every class, then the second of every class, the classes themselves shuffled.
    turn = torch.arange(len(numbers), device="cpu") - starts
    first = bits(numbers[together] + _CLASSES, seed, 1)[:, 0].argsort(stable=True)
    order = first[turn[first].argsort(stable=True)]
    return together[order[:count]].sort().values
