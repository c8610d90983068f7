"""What labels mean for a network: those of a data set, and those that a user gives.

The one place where that is decided. Whatever reads labels asks a `Truth`, and none takes a data
set's numbers for the network's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fluoroscope.data.batches import Batch
from fluoroscope.data.imageset import ImageSet
from fluoroscope.data.sources import ArraySource
from fluoroscope.engine.classes import Given, class_values, names_of, within
from fluoroscope.engine.first_look import TURN
from fluoroscope.engine.predict import predict
from fluoroscope.errors import InvalidImagesError, UnknownLabelError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.matching import Matching, match
from fluoroscope.notices import tell
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count, of_classes

# Classes without pictures that a line names.
_NAMED = 5
# Pictures whose negatives are looked at.
_TURNED = 32


def labelled(model: Classifier, images: ImageSet | Tensor, labels: Given | None = None) -> ImageSet:
    """Labelled pictures as a set: they are one, or a batch ``(N, C, H, W)`` and its labels.

    Args:
        model: the network that the labels are classes of.
        images: the set or the batch.
        labels: of the batch, one for each: indices ``(N,)``, names, booleans, one-hot rows.

    Raises:
        InvalidImagesError: no pictures, a batch without labels or with others than one each, or
            labels beside a set.
        UnknownLabelError: labels of another kind, or classes that the network does not have.
    """
    if isinstance(images, ImageSet):
        if labels is not None:
            raise InvalidImagesError(
                f"labels were given beside {images.name}, which is a set of images; expected them "
                "with a batch of images only, and those of a set to be read with it"
            )
        if not len(images):
            raise InvalidImagesError(f"{images.name} has no pictures; expected 1 or more")
        return images.with_labels()
    batch = check_images(images, images.shape[-3] if _is_batch(images) else model.channels)
    if labels is None or _count(labels) not in (None, len(batch)):
        said = "none" if labels is None else f"labels of shape ({_count(labels)},)"
        raise InvalidImagesError(f"{said} for {len(batch)} images; expected ({len(batch)},)")
    classes = class_values(labels, len(batch), names_of(model, batch), model.name, whole=True)
    return ImageSet(ArraySource(batch.cpu(), "array", classes), "array", channels=batch.shape[1])


def _is_batch(images: object) -> bool:
    return isinstance(images, Tensor) and images.dim() == 4


def _count(labels: Any) -> int | None:
    """How many there are, where one can say."""
    try:
        return None if isinstance(labels, str | bytes) else len(labels)
    except TypeError:
        return 1


@dataclass(frozen=True)
class Truth:
    """What a data set's labels mean for a network."""

    model: Classifier
    images: ImageSet
    numbers: Tensor | None
    """The network's number for each class of the data ``(K,)``, where they differ."""
    notes: tuple[str, ...] = ()
    """What is to be said of the data, and of how its classes were matched."""

    @classmethod
    def of(cls, model: Classifier, images: ImageSet) -> "Truth":
        """Match the classes of the data with the network's, and warn of what is not plain.

        Raises:
            UnknownLabelError: fewer or other classes, and names that do not tell which is which.
        """
        found = matching(model, images.labels)
        numbers = None if found is None else _numbers(model, found)
        notes = (*images.notes, *(found.notes if found else ()))
        return cls(model, images, numbers, notes)

    def labels(self, batch: Batch) -> Tensor:
        """The network's labels ``(N,)`` of a batch of the data.

        Raises:
            InvalidImagesError: the pictures have no labels, or none that can be used.
            UnknownLabelError: a number that the network does not have.
        """
        if batch.labels is None:
            why = self.images.why_unlabelled
            usable = f" that can be used: {why}" if why else ""
            raise InvalidImagesError(
                f"{self.images.name} has no labels{usable}, and without them nobody can say "
                "what is misclassified; choose labelled data: class folders, or a data set with a "
                "label column"
            )
        numbers = self.numbers
        return checked(self.model, batch.labels if numbers is None else numbers[batch.labels])


def matching(model: Classifier, names: Sequence[str] | None) -> Matching | None:
    """Which of the network's classes those of the data are; ``None`` where they have no names."""
    if names is None:
        return None
    return match(names, model.labels, network=model.name)


def in_words_of(model: Classifier, names: Sequence[str] | None) -> Classifier:
    """The network with the data's class names, where it has numbers alone and places match them.

    Otherwise the network as it is: whatever names it has, are its own.
    """
    if names is None or model.labels != tuple(map(str, range(model.num_classes))):
        return model
    found = matching(model, names)
    placed = found is not None and found.refusal is None and set(found.how) == {"place"}
    return model.restated(labels=names) if placed else model


def class_numbers(model: Classifier, names: Sequence[str] | None) -> Tensor | None:
    """For each class of the data ``(K,)`` the network's number for it; ``None`` if they agree.

    What is not plain is warned of. See `match` for how names are compared.

    Raises:
        UnknownLabelError: fewer or other classes, and names that do not tell which is which.
    """
    found = matching(model, names)
    return None if found is None else _numbers(model, found)


def _numbers(model: Classifier, found: Matching) -> Tensor | None:
    if found.refusal is not None:
        many = len(found.names)
        if many > model.num_classes:  # no names for its classes would be enough
            raise UnknownLabelError(
                f"{found.refusal}; expected a network with {many} outputs, or data of its classes"
            )
        raise UnknownLabelError(
            f"{found.refusal}. Name the network's classes in the data's words (--labels FILE, one "
            "a line; fluoroscope labels shows the matching and writes one), or choose data of its "
            "classes"
        )
    for note in found.notes:
        tell(note)
    numbers = [number for number in found.numbers if number is not None]
    return (
        None if numbers == list(range(model.num_classes)) else torch.tensor(numbers, device="cpu")
    )


def checked(model: Classifier, labels: Tensor) -> Tensor:
    """The labels ``(N,)``, if the network has such classes.

    Raises:
        UnknownLabelError: a number it does not have.
    """
    for end in (labels.min(), labels.max()) if len(labels) else ():
        within(int(end), model.num_classes, model.name)
    return labels


# What was seen


@dataclass(frozen=True)
class Seen:
    """How many pictures of which classes something was measured on."""

    counts: Tensor
    """``(K,)``, pictures of each of the network's classes."""
    names: tuple[str, ...]
    """Of the classes."""

    @classmethod
    def of(cls, model: Classifier, labels: Tensor) -> "Seen":
        """From the pictures' labels ``(N,)``."""
        return cls(torch.bincount(labels.long(), minlength=model.num_classes), model.labels)

    @property
    def without(self) -> tuple[str, ...]:
        """Classes that there was no picture of."""
        return tuple(
            name for name, count in zip(self.names, self.counts.tolist(), strict=True) if not count
        )

    def __str__(self) -> str:
        classes, pictures = len(self.names), int(self.counts.sum())
        seen = classes - len(self.without)
        if pictures == 1:
            return f"1 picture of class {self.names[int(self.counts.argmax())]!r}"
        text = f"{count(pictures, 'picture')} of {of_classes(seen, classes)}"
        if seen == classes:
            return text
        few = ", ".join(map(repr, self.without[:_NAMED]))
        more = len(self.without) - _NAMED
        return f"{text}; none of {few}{f' and {more:,} more' if more > 0 else ''}"

    @property
    def notes(self) -> tuple[str, ...]:
        """A line where some classes have no picture."""
        return (str(self),) if self.without else ()

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        pairs = zip(self.names, self.counts.tolist(), strict=True)
        return {
            "pictures": int(self.counts.sum()),
            "classes": len(self.names) - len(self.without),
            "of": len(self.names),
            "by_class": [[name, count] for name, count in pairs if count],
            "without": list(self.without),
        }


def negatives(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    winners: Tensor | None = None,
    *,
    advised: bool = False,
) -> list[str]:
    """A note where a network classifies few of some grey pictures ``(N, 1, H, W)`` correctly, and
    far more of their negatives; of the first ones, in one small pass where the ``winners`` ``(N,)``
    are known. Where the first look has ``advised`` to show it those, that is not said again.
    """
    if images.shape[1] != 1:
        return []
    images, labels = images[:_TURNED], labels[:_TURNED].cpu()
    if winners is None:
        winners = predict(model, images).winners
    right = int((winners[:_TURNED].cpu() == labels).sum())
    if 2 * right >= len(labels):
        return []
    turned = int((predict(model, 1 - images).winners == labels).sum())
    if turned - right < max(3, len(labels) / 3):
        return []
    return [
        f"of the first {len(labels)} pictures {model.name} classifies {right} correctly, and "
        f"{turned} of their negatives{'' if advised else f'; {TURN}'}"
    ]


def what_was_fed(model: Classifier, images: Tensor, labels: Tensor) -> str:
    """A few words on a batch ``(N, C, H, W)`` for whoever wonders why it is misclassified."""
    first = ", ".join(repr(model.labels[label]) for label in labels[:3].tolist())
    turned = "".join(f"; {note}" for note in negatives(model, images, labels))
    return (
        f"images of {'×'.join(map(str, images.shape[1:]))} with values from {images.min():.3g} to "
        f"{images.max():.3g}, mean {images.mean():.3g}, {scaling(model)} (stated "
        f"by {model.preprocessing.stated_by}), the first labelled {first}{turned}"
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
