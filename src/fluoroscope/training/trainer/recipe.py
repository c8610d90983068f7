"""How long and how fast to learn, and in which batches."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fluoroscope.errors import InvalidParameterError

Augment = Callable[[Tensor, Tensor], Tensor]
"""From images ``(N, C, H, W)`` in ``[0, 1]`` and labels ``(N,)`` to the images to learn from."""


# Share of the steps in which the learning rate rises.
WARM_UP = 0.1
# Rates beyond which a step is no number that a weight can hold.
_LARGEST = 1e10


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to learn.

    Adam with decoupled weight decay. The learning rate rises to ``learning_rate`` over the first
    tenth of the steps and falls to zero along a cosine. The last batch of an epoch is what is left:
    one picture alone joins the batch before. ``augment`` changes each batch before it is learnt
    from; its randomness is torch's global generator.
    """

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    augment: Augment | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InvalidParameterError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not 0 < self.learning_rate <= _LARGEST:
            raise InvalidParameterError(
                f"learning_rate is {self.learning_rate}; expected a number above 0, such as 0.003"
            )
        if not 0 <= self.weight_decay <= _LARGEST:
            raise InvalidParameterError(
                f"weight_decay is {self.weight_decay}; expected 0 or more, such as 0.01"
            )

    def steps(self, pictures: int) -> int:
        """Batches in all epochs over so many pictures."""
        whole, left = divmod(pictures, self.batch_size)
        # Batch normalisation learns nothing of one picture, and may refuse it.
        alone = whole > 0 and left == 1
        return self.epochs * (whole + (left > 0 and not alone))

    def batches(self, order: Tensor) -> list[Tensor]:
        """The pictures ``(N,)`` of an epoch, a batch at a time."""
        count = self.steps(len(order)) // self.epochs
        starts = [number * self.batch_size for number in range(1, count)]
        return list(order.tensor_split(starts))


def pace(number: int, total: int) -> float:
    """The learning rate of a step as a share of its highest."""
    return min(1.0, number / (WARM_UP * total)) * half_cosine(number, total)


def half_cosine(number: int, total: int) -> float:
    """From 1 at the first of so many steps down along half a cosine, nearly to 0 at the last."""
    return (1 + math.cos(math.pi * (number - 1) / total)) / 2
