"""Which data set on offer a job looks at where nobody names one."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from fluoroscope.engine.labels import Truth, labelled, matching
from fluoroscope.errors import PictureError, UnknownDataError, UnknownLabelError
from fluoroscope.studio.kinds.readable import readable, readable_place

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.studio import Studio


# Pictures that are decoded between two questions whether to go on.
_AT_ONCE = 8


def data_of(studio: "Studio", model: "Classifier", name: str | None) -> "tuple[str, ImageSet]":
    """The data set of that name, and its name; by default the first one whose classes are the
    network's, else the first.

    Raises:
        UnknownDataError: it is not on offer, or none is.
    """
    if name is not None:
        return name, studio.pictures.images(name, model.channels)
    there = fitting(studio, model) or list(studio.pictures.data)
    if not there:
        raise UnknownDataError(
            "the studio was given no data; expected some: fluoroscope studio --data DATA"
        )
    return there[0], studio.pictures.images(there[0], model.channels)


def fitting(studio: "Studio", model: "Classifier") -> list[str]:
    """The data sets on offer whose classes are the network's."""
    names = studio.pictures.data
    return [name for name in names if fits(model, studio.pictures.images(name, model.channels))]


def picture_of(studio: "Studio", model: "Classifier") -> str | None:
    """The picture that the page begins with on a network: a handwritten 7 of the digits, and of
    any other data set the one in the same place; none without data.
    """
    if not studio.pictures.data:
        return None
    name, images = data_of(studio, model, None)
    return f"{name}:{readable_place(images, min(7, len(images) - 1))}"


def fits(model: "Classifier", images: "ImageSet") -> bool:
    """Whether the data's classes are told to be the network's; numbers alone, as of digits, are
    those of as many classes only.
    """
    found = matching(model, images.labels)
    if found is None or found.refusal is not None:
        return False
    numbered = all(map(str.isdecimal, found.names))
    return not numbered or len(found.names) == model.num_classes


def speaks_of(model: "Classifier", images: "ImageSet") -> bool:
    """Whether the labels of data, which may have no names, are classes of the network."""
    return images.labels is None or fits(model, images)


def check_numbers(model: "Classifier", name: str, images: "ImageSet") -> None:
    """Refuse data whose labels are numbers and of more or fewer classes than the network has.

    Whoever reads the labels refuses other names.

    Raises:
        UnknownLabelError: they are such.
    """
    found = matching(model, images.labels)
    if found is not None and found.refusal is None and not fits(model, images):
        raise UnknownLabelError(
            f"the labels of {name} are the numbers of {len(found.names)} classes, and {model.name} "
            f"has {model.num_classes}; expected data of its classes: fluoroscope studio --data DATA"
        )


def labelled_pictures(
    model: "Classifier",
    images: "ImageSet",
    most: int,
    check: Callable[[], None],
    *,
    seconds: float = math.inf,
) -> "tuple[Tensor, Tensor]":
    """So many labelled pictures as the network receives them, and their classes; fewer where
    decoding them takes longer.

    ``check`` is called between a few and a few, to end there.

    Raises:
        InvalidImagesError, UnknownLabelError: they have no labels, or others than the network.
    """
    check_numbers(model, images.name, images)
    some = labelled(model, images).take(most)
    try:
        return _read(model, some, check, seconds)
    except PictureError:
        return _read(model, readable(some, most, check), check, seconds)


def _read(
    model: "Classifier", images: "ImageSet", check: Callable[[], None], seconds: float
) -> "tuple[Tensor, Tensor]":
    truth = Truth.of(model, images)
    ends, found = time.monotonic() + seconds, []
    for batch in truth.images.batches(_AT_ONCE, fit=model, workers=0):
        found.append((batch.images, truth.labels(batch)))
        check()
        if time.monotonic() > ends:
            break
    return torch.cat([one for one, _ in found]), torch.cat([each for _, each in found])
