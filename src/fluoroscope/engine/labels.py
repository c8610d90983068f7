"""Labels of a data set as the classes of a network: by name where both have names."""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fluoroscope.data.batches import Batch
from fluoroscope.data.imageset import ImageSet
from fluoroscope.data.sources import ArraySource
from fluoroscope.errors import FluoroscopeWarning, InvalidImagesError, UnknownLabelError
from fluoroscope.models.classifier import Classifier
from fluoroscope.pictures.checks import check_images


def labelled(images: ImageSet | Tensor, labels: Tensor | None) -> ImageSet:
    """Labelled pictures as a set: they are one, or a batch ``(N, C, H, W)`` and labels ``(N,)``.

    Raises:
        InvalidImagesError: no pictures, a batch without labels or with others than one each, or
            labels beside a set.
    """
    if isinstance(images, ImageSet):
        if labels is not None:
            raise InvalidImagesError(
                f"labels were given beside {images.name}, which has its own; expected them with a "
                "batch of images only"
            )
        if not len(images):
            raise InvalidImagesError(f"{images.name} has no pictures; expected 1 or more")
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
        f"{images.max():.3g}, mean {images.mean():.3g}, {scaling(model)} (as "
        f"{model.preprocessing.stated_by} states); the first are labelled {first}"
    )


def scaling(model: Classifier) -> str:
    """What the network does to the values of its images, in words."""
    scale = model.preprocessing
    if scale.mean is None and scale.std is None:
        return "not scaled further"
    mean, std = (
        "/".join(f"{one:g}" for one in values or (nothing,))
        for values, nothing in ((scale.mean, 0), (scale.std, 1))
    )
    return f"then less {mean} and divided by {std}"


def class_numbers(model: Classifier, names: Sequence[str] | None) -> Tensor | None:
    """For each class of the data ``(K,)`` the network's number for it; ``None`` if they agree.

    A class goes by its whole name, or by any of the synonyms that ImageNet's names list with commas
    between. Where the data's names are numbers, as those of folders may be, they are the network's.
    Where there are as many classes and no name says otherwise, they go by their places, with a
    warning.

    Raises:
        UnknownLabelError: fewer or other classes, and names that do not tell which is which.
    """
    if names is None:
        return None
    found, known = _meant(names, model.labels), True
    if not any(found) and all(name.isdecimal() and int(name) < len(model.labels) for name in names):
        found = [{int(name)} for name in names]
    if len(names) == len(model.labels) and all(at in one for at, one in enumerate(found) if one):
        # "crane" the bird and "crane" the machine, too, are told apart by where they stand.
        known = all(found)
        numbers = list(range(len(names)))
    else:
        numbers = [min(one) for one in found if len(one) == 1]
        if not len(numbers) == len(names) == len(set(numbers)):
            raise UnknownLabelError(
                f"the data has {len(names)} classes and {model.name} has {len(model.labels)}, and "
                f"their names do not match: {_apart(names, found, model.labels)}. Name the "
                "network's classes in the data's words (--labels FILE, one a line), or choose data "
                "of its classes"
            )
    if not known:
        lost = found.index(set())
        warnings.warn(
            f"the data's class names are not {model.name}'s ({names[lost]!r} stands where it has "
            f"{model.labels[lost]!r}), so classes are matched by their places",
            FluoroscopeWarning,
            stacklevel=2,
        )
    return None if numbers == list(range(len(model.labels))) else torch.tensor(numbers)


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


def _meant(names: Sequence[str], labels: Sequence[str]) -> list[set[int]]:
    """The classes that each name may stand for: of that whole name, else of any synonym."""
    whole, synonym = (_index(labels, of) for of in (_whole, _synonyms))
    return [
        whole.get(min(_whole(name)), set())
        or set().union(*(synonym.get(part, set()) for part in _synonyms(name)))
        for name in names
    ]


def _index(labels: Sequence[str], of: Callable[[str], set[str]]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for number, label in enumerate(labels):
        for name in of(label):
            found.setdefault(name, set()).add(number)
    return found


def _whole(name: str) -> set[str]:
    return {" ".join(name.replace("_", " ").casefold().split())}


def _synonyms(name: str) -> set[str]:
    return _whole(name).union(*map(_whole, name.split(",")))


def _apart(names: Sequence[str], found: list[set[int]], labels: Sequence[str]) -> str:
    for name, numbers in zip(names, found, strict=True):
        if len(numbers) != 1:
            several = f"stands for {len(numbers)} of the network's" if numbers else "is none of its"
            return f"the data's {name!r} {several}"
    single = [min(one) for one in found]
    doubled = next(number for number in single if single.count(number) > 1)
    return f"several of the data's names stand for the network's {labels[doubled]!r}"
