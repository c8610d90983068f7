"""Train, invert, exclude: a class for what is none of the others (Suhail and Sethi 2025).

A network of ``n + 1`` outputs learns its ``n`` classes and, as the last, garbage: pictures of
Gaussian noise at first. After every epoch all classes are inverted by a generator, and the
inverted pictures go to the garbage, from which the network learns in the next (2505.23448). Each
class counts the same in the cross-entropy, however many pictures it has.

The paper gives neither the generator's steps nor how many pictures are inverted; ours are in
:class:`Inverting`. A batch brings as many pictures of garbage as it has its share of all pictures,
drawn anew each time, up to as many as it has of the others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.engine.classes import Given
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import user_path
from fluoroscope.hashing import as_seed
from fluoroscope.inversion.exclusion.garbage import Garbage, Inverting
from fluoroscope.training.trainer.books import training_identity
from fluoroscope.training.trainer.checkpoint import read_step
from fluoroscope.training.trainer.classification import check_training
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.fitting import fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import FitStep, Moment

# Bytes that the pictures to exclude may take in memory.
MEMORY = 2**30
_CHUNK = 4096


@dataclass(frozen=True)
class ExclusionRecipe:
    """How the network learns, and what is excluded."""

    training: Recipe = field(default_factory=Recipe)
    inverting: Inverting = field(default_factory=Inverting)


@dataclass(frozen=True)
class Excluding:
    """The loss: every batch together with some of the garbage, each class counting the same."""

    inverting: Inverting
    counts: tuple[int, ...]
    """Training pictures of each class."""
    garbage: InitVar[Garbage]

    def __post_init__(self, garbage: Garbage) -> None:
        object.__setattr__(self, "_garbage", garbage)

    def __call__(
        self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        """The number to lower, and the logits of the images ``(N, n + 1)``."""
        garbage: Garbage = self._garbage  # type: ignore[attr-defined]
        everything = sum(self.counts)
        many = max(1, round(len(images) * min(1.0, len(garbage) / everything)))
        strange = garbage.draw(many).to(images) / 255
        none = len(self.counts)
        logits = module(torch.cat([images, strange]))
        classes = torch.cat([labels, labels.new_full((many,), none)])
        share = many / len(images)  # of garbage to the rest, in this batch as in the whole epoch
        rows = F.cross_entropy(logits, classes, weight=self._weights(share, logits))
        return rows, logits[: len(images)]

    def _weights(self, share: float, like: Tensor) -> Tensor:
        """Of each class ``(n + 1,)``, the other way round as how often it comes."""
        everything = sum(self.counts)
        often = [*self.counts, share * everything]
        mean = sum(often) / len(often)
        return like.new_tensor([mean / each if each else 0.0 for each in often])


def exclude(
    module: nn.Module,
    images: Tensor,
    labels: Given,
    recipe: ExclusionRecipe | None = None,
    *,
    seed: int = 0,
    held_out: tuple[Tensor, Given] | None = None,
    checkpoint: str | Path | None = None,
) -> FitStep:
    """Train a module in place and return its last step; `exclude_stream` with nobody watching."""
    *_, last = exclude_stream(
        module, images, labels, recipe, seed=seed, held_out=held_out, checkpoint=checkpoint
    )
    return last


def exclude_stream(
    module: nn.Module,
    images: Tensor,
    labels: Given,
    recipe: ExclusionRecipe | None = None,
    *,
    seed: int = 0,
    held_out: tuple[Tensor, Given] | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[FitStep]:
    """Train a module in place to know its classes and what is none of them, yielding each step.

    As :func:`fluoroscope.training.fit_stream`, whose words on weights, modes, randomness and
    checkpoints hold here too. Beside the ``checkpoint`` lie the pictures to exclude, in
    ``NAME.garbage.safetensors``, while the training goes on.

    Args:
        module: maps ``(N, C, H, W)`` to logits ``(N, n + 1)``, the last for none of the classes.
        images: ``(N, C, H, W)``, floats in ``[0, 1]`` or 8-bit.
        labels: the class of each, from 0 to ``n - 1``.
        recipe: how long and how fast, and how much is inverted; by default ``ExclusionRecipe()``.
        seed: for everything random.
        held_out: images and labels on which each epoch is judged.
        checkpoint: a file, in a directory that is there.

    Raises:
        InvalidImagesError, InvalidParameterError, ModelFormatError, ModelOutputError: as
            ``fit_stream``; and labels of the class for none of the others, or more pictures to
            exclude than memory should hold.
    """
    recipe, seed = recipe or ExclusionRecipe(), as_seed(seed)
    books = Exclusion(module, images, labels, recipe, seed, checkpoint)
    return books.steps(held_out)


class Exclusion:
    """One such training: its loss and pictures, and where they are kept."""

    def __init__(
        self,
        module: nn.Module,
        images: Tensor,
        labels: Given,
        recipe: ExclusionRecipe,
        seed: int,
        checkpoint: str | Path | None,
    ) -> None:
        self._module, self._images, self._seed = module, images, seed
        self._checkpoint = None if checkpoint is None else user_path(checkpoint)
        self.classes, many = _classes(module, images, labels)
        counts = torch.bincount(self.classes, minlength=many)
        self.recipe = replace(
            recipe, inverting=_filled(recipe.inverting, len(images), len(counts), recipe.training)
        )
        shape = (images.shape[1], images.shape[2], images.shape[3])
        _check_memory(self.recipe, len(counts), shape)
        colours = _colours(images)
        self.garbage = Garbage(shape, len(counts), self.recipe.inverting, colours, seed)
        self.loss = Excluding(self.recipe.inverting, tuple(counts.tolist()), self.garbage)
        self._per_epoch = self.recipe.training.steps(len(images)) // self.recipe.training.epochs

    @property
    def kept(self) -> Path | None:
        """Where the pictures to exclude lie while it goes on."""
        if self._checkpoint is None:
            return None
        name = self._checkpoint.name.removesuffix(".safetensors").removesuffix(".checkpoint")
        return self._checkpoint.with_name(f"{name}.garbage.safetensors")

    def steps(
        self, held_out: tuple[Tensor, Given] | None, beside: Sequence[Running] = ()
    ) -> Iterator[FitStep]:
        """All steps; after each epoch but the last the classes are inverted. What goes along
        ``beside`` only looks on.
        """
        training, path = self.recipe.training, self.kept
        identity = self._identity()
        self._go_on(identity)
        for step in fit_stream(
            self._module,
            self._images,
            self.classes,
            training,
            seed=self._seed,
            held_out=held_out,
            loss=self.loss,
            beside=beside,
            checkpoint=self._checkpoint,
        ):
            ends = step.number % self._per_epoch == 0
            if ends and self.garbage.epoch < step.epoch < training.epochs:
                self.garbage.invert(self._module, step.epoch)
                if path is not None:
                    self.garbage.save(path, identity)
            yield step

    def _identity(self) -> dict[str, Any]:
        return training_identity(
            self._module, self._images, self.classes, self.recipe.training, self._seed, self.loss
        )

    def _go_on(self, identity: dict[str, Any]) -> None:
        """Take up the pictures of a training that was broken off."""
        if self._checkpoint is None:
            return
        path = self.kept
        assert path is not None
        found = read_step(self._checkpoint, identity)
        if found is None:
            return  # pictures that lie there alone are of a training that is no more
        behind, rest = divmod(int(found["number"]), self._per_epoch)
        if path.is_file():
            self.garbage.restore(path, identity)
        # After the last step of an epoch the pictures may not have been written yet.
        last = min(behind, self.recipe.training.epochs - 1)
        if self.garbage.epoch not in ((last,) if rest else (last, last - 1)):
            raise InvalidParameterError(
                f"{self._checkpoint} stands after {behind} epochs and the pictures to exclude "
                f"after {self.garbage.epoch}; expected files of one training: delete both to begin "
                "anew"
            )


def _classes(module: nn.Module, images: Tensor, labels: Given) -> tuple[Tensor, int]:
    """Whole numbers ``(N,)``, and how many classes the module has beside that for none of them."""
    found, outputs = check_training(module, images, labels)
    if outputs < 2 or int(found.max()) >= outputs - 1:
        raise InvalidParameterError(
            f"labels go to {int(found.max())}, and the network has {outputs} outputs, the last for "
            f"none of the classes; expected 0 to {outputs - 2}, or a network of one output more"
        )
    return found.cpu().long(), outputs - 1


def _filled(inverting: Inverting, pictures: int, classes: int, training: Recipe) -> Inverting:
    """With a number for everything."""
    each = max(1, pictures // (classes * max(1, training.epochs - 1)))
    return replace(
        inverting,
        noise=inverting.noise or max(1, pictures // classes),
        inverted=inverting.inverted or each,
    )


def _check_memory(recipe: ExclusionRecipe, classes: int, shape: tuple[int, int, int]) -> None:
    inverting = recipe.inverting
    assert inverting.noise is not None
    assert inverting.inverted is not None
    many = inverting.noise + inverting.inverted * classes * (recipe.training.epochs - 1)
    size = many * shape[0] * shape[1] * shape[2]
    if size > MEMORY:
        raise InvalidParameterError(
            f"{many:,} pictures to exclude would take {size / 2**20:,.0f} MiB; expected at most "
            f"{MEMORY / 2**20:.0f} MiB: invert fewer of each class, or for fewer epochs"
        )


def _colours(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel ``(C,)``, on the scale of ``[0, 1]``."""
    scale = 255 if images.dtype == torch.uint8 else 1
    sums = torch.zeros(2, images.shape[1], dtype=torch.float64, device=images.device)
    for part in images.split(_CHUNK):
        values = part.double() / scale
        sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
    mean, squares = sums / (images.numel() / images.shape[1])
    return mean, (squares - mean.square()).clamp(min=0).sqrt()
