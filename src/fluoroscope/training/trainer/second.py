"""A second source of pictures to learn from, such as what a generator made, beside the real ones.

Of each batch a fixed share comes from it; every picture of the first source is still seen once an
epoch. Today's most robust networks learn so: with 70 % generated pictures in Wang et al. 2023
(2302.04638).
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.engine.classes import Given
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.training.trainer.checkpoint import sha256
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.words import count


@dataclass(frozen=True, eq=False)
class SecondSource:
    """Pictures ``(N, C, H, W)`` of the first source's size, their labels, and the ``share`` of each
    batch that they make up: ``round(share * batch_size)`` of it.

    They are drawn without repetition until all were seen, then anew. A last batch that is smaller
    has its part, rounded.

    Raises:
        InvalidParameterError: a share that is not between 0 and 1.
    """

    images: Tensor
    labels: Given
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InvalidParameterError(
                f"share is {self.share}; expected a part of each batch between 0 and 1, such as 0.5"
            )

    def of_batch(self, recipe: Recipe) -> int:
        """How many of a batch come from here.

        Raises:
            InvalidParameterError: none, or all.
        """
        many = round(self.share * recipe.batch_size)
        if not 0 < many < recipe.batch_size:
            raise InvalidParameterError(
                f"share is {self.share}, and of a batch of {count(recipe.batch_size, 'picture')} "
                f"that is {many or 'none'}; expected some of both sources: another share, or a "
                "larger batch_size"
            )
        return many

    def first(self, recipe: Recipe) -> Recipe:
        """The recipe as the first source is seen: its part of each batch."""
        return replace(recipe, batch_size=recipe.batch_size - self.of_batch(recipe))

    def fits(self, images: Tensor) -> None:
        """Refuse pictures of another size than the first source's ``(N, C, H, W)``.

        Raises:
            InvalidImagesError: they are.
        """
        given = tuple(getattr(self.images, "shape", ())[1:])
        if given and given != tuple(images.shape[1:]):
            raise InvalidImagesError(
                f"the second source's images are of shape {given}; expected "
                f"{tuple(images.shape[1:])}, as the first's: resize them"
            )

    def beside(self, first: int, recipe: Recipe) -> int:
        """How many come from here beside so many of the first source."""
        many = self.of_batch(recipe)
        return round(first * many / (recipe.batch_size - many))

    def describe(self) -> dict[str, Any]:
        """As plain values, for checkpoints and records; the labels are whole numbers by then."""
        assert isinstance(self.labels, Tensor)
        pictures = f"{len(self.images)} ({sha256(self.images, self.labels)[:16]})"
        return {"pictures": pictures, "share": self.share}


class Drawn:
    """Which of so many pictures come next: without repetition until all were seen, then anew."""

    def __init__(self, pictures: int, seed: int) -> None:
        self._pictures = pictures
        # A stream of its own: the first source is seen in the same order with a second and without.
        own = randomness.keys(seed, torch.zeros(1, dtype=torch.int64, device="cpu"))
        self._rng = torch.Generator().manual_seed(int(own) & (2**62 - 1))
        self._left = torch.zeros(0, dtype=torch.int64, device="cpu")

    def take(self, many: int) -> Tensor:
        """The numbers of the next ones, ``(many,)``."""
        while len(self._left) < many:
            again = torch.randperm(self._pictures, generator=self._rng, device="cpu")
            self._left = torch.cat([self._left, again])
        taken, self._left = self._left[:many], self._left[many:]
        return taken


def also_in(images: Tensor, others: Tensor) -> int:
    """How many of the 8-bit images ``(N, C, H, W)`` are among the others, bit for bit."""
    known = {each.numpy().tobytes() for each in others} if len(images) else set()
    return sum(each.numpy().tobytes() in known for each in images)
