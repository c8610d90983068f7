"""Pictures of a data set to choose from, with their labels in the network's words; and one that a
network gets wrong.
"""

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fluoroscope.data.batches import Batch, Sample
from fluoroscope.data.classes import MISSING
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.labels import Truth
from fluoroscope.engine.predict import predict
from fluoroscope.errors import UnknownDataError, UnknownLabelError
from fluoroscope.studio.frames import frame
from fluoroscope.studio.kinds.readable import sample_at, tell_left_out
from fluoroscope.studio.kinds.usual_data import speaks_of
from fluoroscope.words import count as counted

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier

SIDE = 96
"""The longer side of a picture to choose."""
MOST_SEARCHED = 512
"""Pictures that are looked at for one that is misclassified."""
MOST_SECONDS = 5.0
"""For so long."""
_AT_ONCE = 32


@dataclass(frozen=True)
class Example:
    """One picture as the page lists it."""

    name: str
    label: str | None
    width: int
    height: int
    frame: dict[str, Any]
    winner: int | None = None
    predicted_as: str | None = None


def examples(
    model: "Classifier",
    data: str,
    images: ImageSet,
    offset: int,
    count: int,
    *,
    predicted: bool = False,
) -> list[Example]:
    """So many pictures from one on; those that cannot be read are left out and told of."""
    words, found, broken = _Words(model, images), [], 0
    for position in range(offset, min(offset + count, len(images))):
        sample = sample_at(images, position)
        if sample is None:
            broken += 1
            continue
        found.append(_example(model, f"{data}:{position}", sample, words, predicted=predicted))
    tell_left_out(broken)
    return found


def wrong_one(model: "Classifier", data: str, images: ImageSet, seed: int) -> tuple[Example, int]:
    """A random picture that the network gets wrong, and how many were looked at.

    Raises:
        InvalidImagesError: the data have no labels.
        UnknownLabelError: their classes are not the network's.
        UnknownDataError: none was found among as many as are looked at.
    """
    truth, end = Truth.of(model, images), time.monotonic() + MOST_SECONDS
    if not speaks_of(model, images):
        raise UnknownLabelError(
            f"the labels of {data} are numbers, of {len(images.labels or ())} classes, and "
            f"{model.name} has {model.num_classes}, so nobody can say what it gets wrong; expected "
            "data of its classes"
        )
    numbers = images.class_numbers()
    labelled = [] if numbers is None else (numbers != MISSING).nonzero()[:, 0].tolist()
    # Where none has a label the first that is looked at is refused.
    among = labelled or range(len(images))
    order = random.Random(seed).sample(among, min(MOST_SEARCHED, len(among)))
    at_once, searched = 1, 0
    while order and time.monotonic() < end:
        taken, order = order[:at_once], order[at_once:]
        there = [(place, sample) for place in taken if (sample := sample_at(images, place))]
        wrong = _wrong(model, truth, [sample for _, sample in there])
        if wrong is not None:
            (place, sample), words = there[wrong], _Words(model, images)
            name = f"{data}:{place}"
            shown = _example(model, name, sample, words, predicted=True)
            return shown, searched + wrong + 1
        searched += len(there)
        at_once = min(2 * at_once, _AT_ONCE)
    raise UnknownDataError(
        f"{model.name} classifies all of {counted(searched, 'picture')} of {data} correctly that "
        f"were looked at, of {len(images)}; expected one that it gets wrong: choose other data, "
        "another network, or morph a picture"
    )


def _wrong(model: "Classifier", truth: Truth, samples: list[Sample]) -> int | None:
    """The first of some that is misclassified."""
    if not samples:
        return None
    seen = [model.fit(one.image[None].to(model.device, model.dtype)) for one in samples]
    labels = [one.label for one in samples]
    batch = Batch(
        images=seen[0],
        labels=None if None in labels else torch.tensor(labels, device="cpu"),
        indices=torch.tensor([one.index for one in samples], device="cpu"),
    )
    wanted = truth.labels(batch).tolist()
    if len({one.shape for one in seen}) == 1:
        winners = predict(model, torch.cat(seen)).winners.tolist()
    else:  # a network that takes any size
        winners = [int(predict(model, one).winners) for one in seen]
    pairs = enumerate(zip(wanted, winners, strict=True))
    return next((place for place, (label, winner) in pairs if label != winner), None)


class _Words:
    """What the labels of a data set are called: as the network does, where they are its classes."""

    def __init__(self, model: "Classifier", images: ImageSet) -> None:
        self._model, self._names = model, images.labels
        self._truth: Truth | None = None
        if speaks_of(model, images):  # otherwise the data's own words are shown
            self._truth = Truth.of(model, images)

    def of(self, label: int | None) -> str | None:
        if label is None:
            return None
        if self._truth is not None:
            numbers = self._truth.numbers
            number = label if numbers is None else int(numbers[label])
            if number < self._model.num_classes:
                return self._model.labels[number]
        return self._names[label] if self._names else str(label)


def _example(
    model: "Classifier", name: str, sample: Sample, words: _Words, *, predicted: bool
) -> Example:
    height, width = sample.image.shape[1:]
    winner = None
    if predicted:
        image = model.fit(sample.image[None].to(model.device, model.dtype))
        winner = int(predict(model, image).winners)
    return Example(
        name=name,
        label=words.of(sample.label),
        width=width,
        height=height,
        frame=frame(sample.image, SIDE),
        winner=winner,
        predicted_as=None if winner is None else model.labels[winner],
    )
