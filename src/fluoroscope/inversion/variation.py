"""How much neighbouring pixels differ: what portraits and generators lower alike."""

from torch import Tensor

# Below this a difference counts as none, where a power has no slope.
SMALL = 1e-12


def total_variation(pictures: Tensor, power: float = 1.0) -> Tensor:
    """The mean of ``|dx|^power`` plus that of ``|dy|^power``, of each ``(N, C, H, W)``: ``(N,)``.

    A side of one pixel has no neighbours, and adds nothing.
    """
    down, across = (mean(raised(pictures.diff(dim=dim), power)) for dim in (2, 3))
    return across + down


def raised(values: Tensor, power: float) -> Tensor:
    """``|values| ** power``, with a finite slope everywhere."""
    return values.abs() if power == 1 else values.abs().clamp(min=SMALL) ** power


def mean(values: Tensor) -> Tensor:
    """Of each ``(N, *)``: ``(N,)``; of no values 0."""
    return values.flatten(1).sum(1) / max(1, values[0].numel())
