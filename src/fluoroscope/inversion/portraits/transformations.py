"""How a portrait is shown to the network: moved, turned, cut and blurred a little, anew each step.

Each view's own parameters are hashed from the portrait's key and its step, so that a portrait is
the same alone, in a batch, and after it was put down.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Transformations:
    """What is done to each view; the default shows the portrait as it is.

    Args:
        copies: views of a portrait at each step, whose gradients are averaged.
    """

    copies: int = 1

    def views(
        self, pictures: Tensor, keys: Tensor, numbers: Tensor, share: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Views ``(n * copies, C, *size)`` of pictures ``(n, C, H, W)``, differentiable in these.

        The copies of a picture follow each other. ``keys`` ``(n,)`` are what its random numbers are
        hashed from, ``numbers`` ``(n,)`` its step, ``share`` ``(n,)`` how much of its steps lies
        behind, from 0 to 1.
        """
        return pictures.repeat_interleave(self.copies, 0)
