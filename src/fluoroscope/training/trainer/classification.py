"""Learning classes: pictures, labels and a network that fit each other, and accuracy."""

import torch
from torch import Tensor, nn

from fluoroscope.engine.classes import Given, class_values
from fluoroscope.errors import (
    InvalidImagesError,
    InvalidParameterError,
    ModelOutputError,
    UnknownLabelError,
)
from fluoroscope.models.frozen import frozen
from fluoroscope.models.wording import first_line
from fluoroscope.pictures.checks import check_images
from fluoroscope.training.trainer.step import Task


class Classification:
    """Of each picture, its class: `fit_stream`'s task unless it is given another."""

    def check(self, module: nn.Module, images: Tensor, targets: Given) -> tuple[Tensor, int]:
        return check_training(module, images, targets)

    def right(self, answer: Tensor, targets: Tensor) -> Tensor:
        return (answer.argmax(1) == targets).float()


# Of numbers in the pictures that are looked at together when a network is judged, at most.
_TOGETHER = 2**22


def accuracy(
    module: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int | None = None
) -> float:
    """Share of images ``(N, C, H, W)`` classified as their label ``(N,)``; the module stays
    untouched.
    """
    return judge(Classification(), module, images, labels, batch_size=batch_size)


def judge(
    task: Task,
    module: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    batch_size: int | None = None,
) -> float:
    """How right a network is on images ``(N, C, H, W)``, from 0 to 1; it stays untouched.

    By default as many at a time as are 1000, or fewer where they are large.
    """
    batch_size = batch_size or max(1, min(1000, _TOGETHER // images[0].numel()))
    right, weight = 0.0, next(module.parameters())
    for chosen in torch.arange(len(images), device="cpu").split(batch_size):
        batch, expected = batch_for(images[chosen], targets[chosen], weight)
        with frozen(module), torch.no_grad():
            right += task.right(module(batch), expected).double().sum().item()
    return right / len(images)


def check_training(module: nn.Module, images: Tensor, labels: Given) -> tuple[Tensor, int]:
    """The labels as whole numbers ``(N,)``, and how many outputs the module has.

    Raises:
        InvalidImagesError: images that are none, or that the module does not take.
        InvalidParameterError: labels that do not fit.
        ModelOutputError: the module does not return logits.
    """
    like = next(module.parameters())
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise InvalidImagesError(f"images are {kind_of(images)}; expected a tensor (N, C, H, W)")
    check_images(images[:1] / 255 if images.dtype == torch.uint8 else images, images.shape[1])
    try:
        with frozen(module), torch.no_grad():
            logits = module(pixels_for(images[:1], like))
    except (RuntimeError, ValueError, AssertionError) as problem:
        raise InvalidImagesError(
            f"the network does not take images of shape {tuple(images.shape[1:])} "
            f"({first_line(problem)}); expected those it was built for: resize them, or begin it "
            "with nn.Flatten()"
        ) from problem
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ModelOutputError(
            f"the network's answer is {kind_of(logits)}; expected logits (N, classes): wrap it in "
            "a module that returns them"
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


def kind_of(value: object) -> str:
    """Shape of a tensor, or type of something else."""
    if isinstance(value, Tensor):
        return f"of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def batch_for(images: Tensor, targets: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """On the device of ``like``: pixels of its type in ``[0, 1]``, and int64 labels or targets of
    its type.
    """
    kind = like.dtype if targets.is_floating_point() else torch.int64
    return pixels_for(images, like), targets.to(like.device, kind)


def pixels_for(images: Tensor, like: Tensor) -> Tensor:
    """Floats in ``[0, 1]`` of floats or 8-bit pixels, of the type and on the device of ``like``."""
    return images.to(like) / (255 if images.dtype == torch.uint8 else 1)
