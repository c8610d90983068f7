"""Pictures of data sets among which some may be damaged: such are left out, and told of."""

from collections.abc import Callable

from fluoroscope.data.batches import Sample
from fluoroscope.data.imageset import ImageSet
from fluoroscope.errors import PictureError, UnknownDataError
from fluoroscope.notices import tell
from fluoroscope.words import count


def sample_at(images: ImageSet, place: int) -> Sample | None:
    """The picture at that place, if it can be read."""
    try:
        return images[place]
    except PictureError:
        return None


def tell_left_out(broken: int) -> None:
    """Say how many pictures were left out, if any were."""
    if broken:
        tell(f"{count(broken, 'picture')} cannot be read and {'is' if broken == 1 else 'are'} "
             "left out")  # fmt: skip


def readable(
    images: ImageSet, most: int, check: Callable[[], object] = lambda: None
) -> ImageSet:  # fmt: skip
    """Those of the first so many, as ``take`` has them, that can be read.

    ``check`` is called before each is looked at, to end there.

    Raises:
        UnknownDataError: none of them can.
    """
    some = images.take(most)
    there = []
    for place in range(len(some)):
        check()
        if sample_at(some, place) is not None:
            there.append(place)
    if len(there) == len(some):
        return some
    if not there:
        raise UnknownDataError(
            f"none of {count(len(some), 'picture')} of {images.name} can be read; expected one at "
            "least: choose other data"
        )
    tell_left_out(len(some) - len(there))
    return some.select(there)


def readable_place(images: ImageSet, begin: int = 0) -> int:
    """The first place from one on, and then from the start, whose picture can be read; the one
    itself where none can.
    """
    places = [*range(begin, len(images)), *range(begin)]
    return next((place for place in places if sample_at(images, place) is not None), begin)
