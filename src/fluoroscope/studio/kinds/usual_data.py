"""Which data set on offer a job looks at where nobody names one."""

from typing import TYPE_CHECKING

from fluoroscope.engine.labels import matching
from fluoroscope.errors import UnknownDataError

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.studio import Studio


def data_of(studio: "Studio", model: "Classifier", name: str | None) -> "ImageSet":
    """The data set of that name; by default the first one whose classes are the network's, else
    the first.

    Raises:
        UnknownDataError: it is not on offer, or none is.
    """
    if name is not None:
        return studio.pictures.images(name, model.channels)
    sets = [studio.pictures.images(each, model.channels) for each in studio.pictures.data]
    if not sets:
        raise UnknownDataError(
            "the studio was given no data; expected some: fluoroscope studio --data DATA"
        )
    return next((each for each in sets if fits(model, each)), sets[0])


def fits(model: "Classifier", images: "ImageSet") -> bool:
    """Whether the data's classes are told by names to be the network's."""
    found = matching(model, images.labels)
    return found is not None and found.refusal is None
