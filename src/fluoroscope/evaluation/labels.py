"""Labels of a data set as the classes of a network: by name where both have names."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fluoroscope.data.batches import Batch
from fluoroscope.data.imageset import ImageSet
from fluoroscope.data.sources import ArraySource
from fluoroscope.errors import InvalidImagesError, UnknownLabelError
from fluoroscope.models.classifier import Classifier
from fluoroscope.pictures.checks import check_images


def labelled(images: ImageSet | Tensor, labels: Tensor | None) -> ImageSet:
    """Labelled pictures as a set: they are one, or a batch ``(N, C, H, W)`` and labels ``(N,)``.

    Raises:
        InvalidImagesError: a batch without labels or with others than one each, or labels beside a
            set.
    """
    if isinstance(images, ImageSet):
        if labels is not None:
            raise InvalidImagesError(
                f"labels were given beside {images.name}, which has its own; expected them with a "
                "batch of images only"
            )
        return images
    if labels is None or labels.shape != (len(images),):
        shape = "none" if labels is None else f"labels of shape {tuple(labels.shape)}"
        raise InvalidImagesError(f"{shape} for {len(images)} images; expected ({len(images)},)")
    source = ArraySource(check_images(images, images.shape[1]).cpu(), "array", labels.cpu())
    return ImageSet(source, "array", channels=images.shape[1])


def labels_of(model: Classifier, batch: Batch, numbers: Tensor | None, name: str) -> Tensor:
    """The network's labels ``(N,)`` of a batch of the data set ``name``.

    ``numbers`` are what `class_numbers` says.

    Raises:
        InvalidImagesError: the pictures have no labels.
        UnknownLabelError: a number that the network does not have.
    """
    if batch.labels is None:
        raise InvalidImagesError(
            f"{name} has no labels, and without them nobody can say what is "
            "misread; choose labelled data: class folders, or a data set with a label column"
        )
    return checked(model, batch.labels if numbers is None else numbers[batch.labels])


def what_was_fed(model: Classifier, images: Tensor, labels: Tensor) -> str:
    """A few words on a batch ``(N, C, H, W)`` for whoever wonders why it is misread."""
    first = ", ".join(repr(model.labels[label]) for label in labels[:3].tolist())
    return (
        f"images of {'×'.join(map(str, images.shape[1:]))} with values from {images.min():.3g} to "
        f"{images.max():.3g}, mean {images.mean():.3g}, {model.preprocessing}; the first are "
        f"labelled {first}"
    )


def class_numbers(model: Classifier, names: Sequence[str] | None) -> Tensor | None:
    """For each class of the data ``(K,)`` the network's number for it; ``None`` if they agree.

    Raises:
        UnknownLabelError: fewer or other classes, and names that do not tell which is which.
    """
    if names is None or [_plain(name) for name in names] == [_plain(n) for n in model.labels]:
        return None
    known: dict[str, list[int]] = {}
    for number, label in enumerate(model.labels):
        for name in {_plain(name) for name in (label, *label.split(","))}:
            known.setdefault(name, []).append(number)
    found = [known.get(_plain(name), []) for name in names]
    if all(len(numbers) == 1 for numbers in found) and len(names) == len({n[0] for n in found}):
        return torch.tensor(found).squeeze(1)
    if len(names) == model.num_classes:
        return None  # Other words for as many classes: they go by their numbers.
    lost = next(name for name, numbers in zip(names, found, strict=True) if len(numbers) != 1)
    raise UnknownLabelError(
        f"the data has {len(names)} classes and {model.name} has {model.num_classes}, and their "
        f"names do not match: {lost!r} is not one of the network's. Name the network's classes in "
        "the data's words (labels), or choose data of its classes"
    )


def checked(model: Classifier, labels: Tensor) -> Tensor:
    """The labels ``(N,)``, if the network has such classes.

    Raises:
        UnknownLabelError: a number it does not have.
    """
    outside = labels[(labels < 0) | (labels >= model.num_classes)]
    if len(outside):
        raise UnknownLabelError(
            f"the data has the label {int(outside[0])}, and {model.name} has {model.num_classes} "
            f"classes; expected 0 to {model.num_classes - 1}: choose data of the network's classes"
        )
    return labels


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
