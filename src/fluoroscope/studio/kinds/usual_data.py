"""Which data set on offer a job looks at where nobody names one."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from fluoroscope.engine.labels import Truth, labelled, matching
from fluoroscope.errors import PictureError, UnknownDataError, UnknownLabelError
from fluoroscope.studio.kinds.readable import readable, readable_place
from fluoroscope.words import count

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.studio import Studio


# Pictures that are decoded between two questions whether to go on.
_AT_ONCE = 8


def data_of(studio: "Studio", model: "Classifier", name: str | None) -> "tuple[str, ImageSet]":
    """The data set of that name, and its name; by default the first one whose classes are the
    network's, else the first with as many channels.

    Raises:
        UnknownDataError: it is not on offer, or none is that the network can be shown.
    """
    if name is not None:
        return name, studio.pictures.images(name, model.channels)
    there = _suiting(studio, model)
    if not there:
        names = ", ".join(studio.pictures.data) or "none"
        raise UnknownDataError(
            f"no data on offer ({names}) can be read with the "
            f"{count(model.channels, 'channel')} that {model.name} takes; expected some: "
            "fluoroscope studio --data DATA"
        )
    named = next((name for name, images in there.items() if fits(model, images)), next(iter(there)))
    return named, there[named]


def fitting(studio: "Studio", model: "Classifier") -> list[str]:
    """The data sets on offer whose classes are the network's."""
    return [name for name, images in _suiting(studio, model).items() if fits(model, images)]


def _suiting(studio: "Studio", model: "Classifier") -> "dict[str, ImageSet]":
    """The data sets on offer whose pictures have as many channels as the network takes."""
    held, channels = studio.pictures, model.channels
    return {name: held.images(name, channels) for name in held.data if held.suits(name, channels)}


def check_pictures(studio: "Studio", model: "Classifier") -> None:
    """Refuse a network that there is no picture for: what is brought is grey or in colour.

    Raises:
        UnknownDataError: it takes other channels, and so have no data on offer.
    """
    if model.channels not in (1, 3):
        data_of(studio, model, None)


def picture_of(studio: "Studio", model: "Classifier") -> str | None:
    """The picture that the page begins with on a network: a handwritten 7 of the digits, and of
    any other data set the one in the same place; none where no data on offer fit.
    """
    try:
        name, images = data_of(studio, model, None)
    except UnknownDataError:
        return None
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
