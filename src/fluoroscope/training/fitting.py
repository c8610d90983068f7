"""Fit a network to labelled images, as a stream of steps."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.engine.classes import Given, class_values
from fluoroscope.errors import (
    InvalidImagesError,
    InvalidParameterError,
    ModelOutputError,
    UnknownLabelError,
)
from fluoroscope.files import user_path
from fluoroscope.hashing import as_seed
from fluoroscope.models.frozen import frozen
from fluoroscope.models.wording import first_line
from fluoroscope.pictures import html
from fluoroscope.pictures.checks import check_images
from fluoroscope.process import random_state_lock
from fluoroscope.training.checkpoint import (
    describe,
    load_checkpoint,
    read_step,
    save_checkpoint,
    sha256,
)
from fluoroscope.words import count, duration, percent

Augment = Callable[[Tensor, Tensor], Tensor]
"""From images ``(N, C, H, W)`` in ``[0, 1]`` and labels ``(N,)`` to the images to learn from."""


@dataclass(frozen=True)
class Moment:
    """When in a training a batch comes, for losses that draw or change with time."""

    indices: Tensor
    """``(N,)``, which of the training pictures these are."""
    epoch: int
    """From 1."""
    share: float
    """Of all steps, this one included: from just above 0 to 1."""
    seed: int
    """The training's."""


Loss = Callable[[nn.Module, Tensor, Tensor, Moment], tuple[Tensor, Tensor]]
"""From the network, a batch and its moment to the number to lower and logits ``(N, classes)``."""

# Share of the steps in which the learning rate rises.
WARM_UP = 0.1
# Seconds after which a checkpoint is written within an epoch.
CHECKPOINT_EVERY = 60.0


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
        if not 0 < self.learning_rate < math.inf:
            raise InvalidParameterError(
                f"learning_rate is {self.learning_rate}; expected a number above 0, such as 0.003"
            )
        if not 0 <= self.weight_decay < math.inf:
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


@dataclass(frozen=True, repr=False)
class FitStep(html.Shown):
    """What one batch taught."""

    number: int
    """Batches learnt from, this one included."""
    epoch: int
    """From 1."""
    loss: float
    """Mean of the batch, before the update."""
    accuracy: float
    """Share of the batch classified correctly, before the update and in training mode; in
    adversarial training, of the moved pictures."""
    learning_rate: float
    seconds: float
    """Since the start; of a training that went on, without the pause."""
    held_out: float | None
    """After the last batch of an epoch: share of the held-out pictures classified correctly."""
    held_out_adversarial: float | None = None
    """Share of them still classified correctly under attack, where somebody looked."""

    def _line(self) -> str:
        held_out = "" if self.held_out is None else f", {percent(self.held_out)} held out"
        return (
            f"{self.number} of epoch {self.epoch}: loss {self.loss:.4g}, accuracy "
            f"{percent(self.accuracy)} of the batch{held_out}, {duration(self.seconds)}"
        )


def cross_entropy(
    module: nn.Module, images: Tensor, labels: Tensor, moment: Moment | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of a batch and its logits ``(N, classes)``; the same at every moment."""
    logits = module(images)
    return F.cross_entropy(logits, labels), logits


def fit(
    module: nn.Module,
    images: Tensor,
    labels: Given,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    held_out: tuple[Tensor, Given] | None = None,
    loss: Loss = cross_entropy,
    checkpoint: str | Path | None = None,
) -> FitStep:
    """Train a module in place and return its last step; `fit_stream` with nobody watching."""
    *_, last = fit_stream(
        module,
        images,
        labels,
        recipe,
        seed=seed,
        held_out=held_out,
        loss=loss,
        checkpoint=checkpoint,
    )
    return last


def fit_stream(
    module: nn.Module,
    images: Tensor,
    labels: Given,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    held_out: tuple[Tensor, Given] | None = None,
    loss: Loss = cross_entropy,
    checkpoint: str | Path | None = None,
) -> Iterator[FitStep]:
    """Train a module in place, yielding each step; drop the iterator at any time to stop.

    Only weights that collect gradients are trained. At every yield the module is in the mode it
    was found in, without gradients, and torch's random state is untouched: the same seed and
    machine give the same weights whatever else is drawn.

    With a ``checkpoint`` the training is written there after every epoch, and every minute. If the
    file is there already, the training goes on from it, beginning with a repeat of the step it
    tells of, and ends with the weights of one that was never broken off. It stays at the end.

    Args:
        module: maps ``(N, C, H, W)`` to logits ``(N, classes)``; it is given what ``images`` holds.
        images: ``(N, C, H, W)``, floats in ``[0, 1]`` or 8-bit; batches go to the module's device.
        labels: the class of each: whole numbers ``(N,)`` in a tensor, array or sequence, or one-hot
            rows.
        recipe: how long and how fast; by default ``Recipe()``.
        seed: for the order, the augmentation and dropout.
        held_out: images and labels on which each epoch is judged.
        loss: what is lowered.
        checkpoint: a file, in a directory that is there.

    Raises:
        InvalidImagesError: images that are none, or that the module does not take.
        InvalidParameterError: labels that do not fit, nothing to train, a loss that overflows, or
            the checkpoint of another training.
        ModelFormatError: a checkpoint that cannot be read.
        ModelOutputError: the module does not return logits.
    """
    if not isinstance(module, nn.Module):
        raise InvalidParameterError(
            f"the network is {_kind(module)}; expected a torch.nn.Module: of a Classifier, its "
            ".module"
        )
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    if not weights:
        raise InvalidParameterError(
            "no weight of the network is trainable; expected some: module.requires_grad_(True)"
        )
    classes = check_training(module, images, labels)[0]
    judges = None if held_out is None else (held_out[0], check_training(module, *held_out)[0])
    recipe, seed = recipe or Recipe(), as_seed(seed)
    books = None
    if checkpoint is not None:
        identity = training_identity(module, images, classes, recipe, seed, loss)
        books = _Books(user_path(checkpoint), identity)
    return _steps(module, weights, images, classes, recipe, seed, judges, loss, books)


def training_identity(
    module: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, seed: int, loss: Loss
) -> dict[str, Any]:
    """What makes two trainings the same, as plain values."""
    return {
        "fluoroscope": version("fluoroscope"),
        "parameters": sum(weight.numel() for weight in module.parameters()),
        **describe(recipe),
        "seed": seed,
        "loss": describe(loss),
        "pictures": f"{len(images)} ({sha256(images, labels)[:16]})",
    }


def accuracy(module: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 1000) -> float:
    """Share of images ``(N, C, H, W)`` classified as their label ``(N,)``; the module stays
    untouched.
    """
    right, weight = 0, next(module.parameters())
    for chosen in torch.arange(len(images), device="cpu").split(batch_size):
        batch, classes = _batch(images[chosen], labels[chosen], weight)
        with frozen(module), torch.no_grad():
            right += int((module(batch).argmax(1) == classes).sum())
    return right / len(images)


class _Books:
    """Where a training writes how far it is, and what it finds there at the start."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path, self._identity = path, identity
        self._written = perf_counter()
        found = read_step(path, identity)
        self.found = None if found is None else FitStep(**found)

    def restore(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        load_checkpoint(self._path, module, optimizer)

    def note(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, step: FitStep, now: bool
    ) -> None:
        if now or perf_counter() - self._written >= CHECKPOINT_EVERY:
            save_checkpoint(self._path, module, optimizer, self._identity, asdict(step))
            self._written = perf_counter()


def _steps(
    module: nn.Module,
    weights: list[nn.Parameter],
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    seed: int,
    held_out: tuple[Tensor, Tensor] | None,
    loss: Loss,
    books: _Books | None,
) -> Iterator[FitStep]:
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(weights, weight_decay=recipe.weight_decay)
    total = recipe.steps(len(images))
    number, behind, start = 0, 0, perf_counter()
    if books is not None and books.found is not None:
        books.restore(module, optimizer)
        behind, start = books.found.number, start - books.found.seconds
        yield books.found
    for epoch in range(1, recipe.epochs + 1):
        batches = recipe.batches(torch.randperm(len(images), generator=rng, device="cpu"))
        for position, chosen in enumerate(batches, 1):
            number += 1
            # Also for a step that lies behind: the next one draws after it.
            step_seed = int(torch.randint(2**62, (), generator=rng, device="cpu"))
            if number <= behind:
                continue
            rate = recipe.learning_rate * _pace(number, total)
            optimizer.param_groups[0]["lr"] = rate
            with _learning(module, step_seed, weights[0].device):
                batch, classes = _batch(images[chosen], labels[chosen], weights[0])
                if recipe.augment is not None:
                    batch = recipe.augment(batch, classes)
                moment = Moment(chosen, epoch, number / total, seed)
                try:
                    value, logits = loss(module, batch, classes, moment)
                except ValueError as problem:
                    if "more than 1 value per channel" not in str(problem):
                        raise
                    raise InvalidParameterError(
                        f"batches are of {count(len(batch), 'picture')}, and the network "
                        "normalises over a batch; expected 2 or more: a larger batch_size, or more "
                        "pictures"
                    ) from problem
                if not math.isfinite(value.item()):
                    raise InvalidParameterError(
                        f"the loss is {value.item()} at step {number}; expected a finite number: "
                        f"lower the learning rate ({recipe.learning_rate:g})"
                    )
                value.backward()
                optimizer.step()
                optimizer.zero_grad()
            epoch_ends = position == len(batches)
            step = FitStep(
                number=number,
                epoch=epoch,
                loss=value.item(),
                accuracy=(logits.argmax(1) == classes).float().mean().item(),
                learning_rate=rate,
                seconds=perf_counter() - start,
                held_out=accuracy(module, *held_out) if held_out and epoch_ends else None,
            )
            if books is not None:
                books.note(module, optimizer, step, now=epoch_ends)
            yield step


def _pace(number: int, total: int) -> float:
    """The learning rate of a step as a share of its highest."""
    return min(1.0, number / (WARM_UP * total)) * half_cosine(number, total)


def half_cosine(number: int, total: int) -> float:
    """From 1 at the first of so many steps down along half a cosine, nearly to 0 at the last."""
    return (1 + math.cos(math.pi * (number - 1) / total)) / 2


@contextmanager
def _learning(module: nn.Module, seed: int, device: torch.device) -> Iterator[None]:
    """Training mode, gradients, and a random state of our own inside the block; all undone."""
    modes = {part: part.training for part in module.modules()}
    elsewhere = [] if device.type == "cpu" else [device]
    with (
        random_state_lock,
        torch.random.fork_rng(elsewhere, device_type=device.type),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        torch.default_generator.manual_seed(seed)
        if elsewhere:
            torch.get_device_module(device).manual_seed(seed)
        module.train()
        try:
            yield
        finally:
            # The flag is set by hand: train() may be overridden and do more than set it.
            for part, mode in modes.items():
                part.training = mode


def _batch(images: Tensor, labels: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """On the device of ``like``: floats of its type in ``[0, 1]``, and int64 labels."""
    return _pixels(images, like), labels.to(like.device, torch.int64)


def _pixels(images: Tensor, like: Tensor) -> Tensor:
    return images.to(like) / (255 if images.dtype == torch.uint8 else 1)


def check_training(module: nn.Module, images: Tensor, labels: Given) -> tuple[Tensor, int]:
    """The labels as whole numbers ``(N,)``, and how many outputs the module has.

    Raises:
        InvalidImagesError: images that are none, or that the module does not take.
        InvalidParameterError: labels that do not fit.
        ModelOutputError: the module does not return logits.
    """
    like = next(module.parameters())
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise InvalidImagesError(f"images are {_kind(images)}; expected a tensor (N, C, H, W)")
    check_images(images[:1] / 255 if images.dtype == torch.uint8 else images, images.shape[1])
    try:
        with frozen(module), torch.no_grad():
            logits = module(_pixels(images[:1], like))
    except (RuntimeError, ValueError, AssertionError) as problem:
        raise InvalidImagesError(
            f"the network does not take images of shape {tuple(images.shape[1:])} "
            f"({first_line(problem)}); expected those it was built for: resize them, or begin it "
            "with nn.Flatten()"
        ) from problem
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ModelOutputError(
            f"the network's answer is {_kind(logits)}; expected logits (N, classes): wrap it in a "
            "module that returns them"
        )
    return _classes(labels, len(images), logits.shape[1]), logits.shape[1]


def _classes(labels: Given, count: int, classes: int) -> Tensor:
    if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.is_floating_point():
        # A module has no names; such as are numbers are taken for these.
        try:
            labels = class_values(labels, count, [str(one) for one in range(classes)], whole=True)
        except UnknownLabelError as problem:
            raise InvalidParameterError(
                f"labels do not fit: {problem}; expected whole numbers, one for each picture"
            ) from problem
    if labels.shape != (count,):
        raise InvalidParameterError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected whole numbers "
            f"({count},), one for each picture"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InvalidParameterError(
            f"labels go from {int(labels.min())} to {int(labels.max())}; the network has "
            f"{classes} classes: expected 0 to {classes - 1}"
        )
    return labels


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
