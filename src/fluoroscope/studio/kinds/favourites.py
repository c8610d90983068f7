"""The pictures of a data set that units answer to most, of a reading that is made once and kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from fluoroscope.neurons.answers.top import top_rows_of
from fluoroscope.neurons.reading.read import read
from fluoroscope.studio.kinds.page_words import with_minus
from fluoroscope.studio.kinds.readable import readable, readable_place
from fluoroscope.words import class_names, number

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.neurons.reading.activations import Activations
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio

# Pictures that are read, small ones and others; and the longer side up to which they are small.
_PICTURES, _FEWER, _SMALL = 600, 200, 64
MANY = 4
SIDE = 112
"""The longer side of one as it is shown."""
"""Favourites of each unit."""


@dataclass(frozen=True)
class Favourite:
    """One of the pictures that a unit answers to most."""

    name: str
    """As requests name pictures, ``DATA:INDEX``."""
    image: Tensor
    """``(C, H, W)``"""
    words: str
    """What it is, what it is predicted as, and the unit's number there."""


def favourites(
    studio: "Studio",
    job: "Job",
    model: "Classifier",
    names: tuple[str, str],
    images: "ImageSet",
    place: tuple[str, int | None],
    units: Sequence[int],
    *,
    begin: float,
) -> list[list[Favourite]]:
    """Of each unit the pictures that it answers to most, by its largest place; those that do not
    activate it are none.

    ``names`` are those of network and data. The pictures are read the first time that a layer is
    asked about, from when on the share ``begin`` of the job lies behind.
    """  # fmt: skip
    layer, call = place
    by = (*names, layer, str(call))
    found = studio.readings.get(model, *by)
    if found is None:
        first = images[readable_place(images)].image
        many = _PICTURES if max(first.shape[1:]) <= _SMALL else _FEWER
        looked = readable(images, many, job.check)
        found = read(
            model, looked, layer, call=call, reduction="max", cancelled=job.cancelled,
            on_share=lambda share: job.progress(
                begin + (1 - begin) * share, f"reading {len(looked)} pictures of {names[1]}"
            ),
        )  # fmt: skip
        job.check()
        studio.readings.put(model, found, *by)
    best = top_rows_of(found.values, units, MANY)
    return [
        [
            _favourite(model, (names[1], images), found, unit, int(row))
            for row in rows
            if float(found.values[row, unit]) > 0
        ]
        for unit, rows in zip(units, best, strict=True)
    ]


def _favourite(
    model: "Classifier", data: "tuple[str, ImageSet]", found: "Activations", unit: int, row: int
) -> Favourite:
    names = class_names(model.labels, 22)
    label, predicted = int(found.labels[row]), int(found.predicted[row])
    said = names[predicted]
    if label not in (-1, predicted):
        said = f"{names[label]}, predicted as {said}"
    index = int(found.indices[row])
    name, images = data
    place = images.indices.index(index)
    return Favourite(
        f"{name}:{place}",
        model.fit(images[place].image).float().cpu(),
        with_minus(f"{said}; {number(float(found.values[row, unit]))}"),
    )
