"""The pictures that jobs may speak of: places in a data set on offer, and what clients brought.

Names are ``DATA:INDEX`` for the pictures of a data set, and ``kept:HASH`` for those that were
uploaded, drawn, or taken from a job. Nothing of a name reaches the file system.
"""

import hashlib
from collections.abc import Callable, Mapping

from torch import Tensor

from fluoroscope.data.imageset import ImageSet
from fluoroscope.errors import (
    FluoroscopeError,
    InvalidImagesError,
    InvalidParameterError,
    PictureError,
    UnknownDataError,
)
from fluoroscope.files import user_path
from fluoroscope.studio.bounded import Bounded
from fluoroscope.studio.opening import OPENING

MOST_KEPT_BYTES = 256 * 2**20
_TAKEN = ("kept", "step")
"""What the names of pictures begin with that are in no data set."""
_LOOKED_AT = 4
"""Pictures of a data set that are looked at, where the first ones are damaged."""
_GREY = 19595, 38470, 7471
"""The weights of red, green and blue in 65536ths, as Pillow has them."""


class Pictures:
    """Data sets by name, and kept pictures by the hash of their content."""

    def __init__(self, data: Mapping[str, Callable[[int], ImageSet]]) -> None:
        """``data`` opens each data set for networks of so many channels.

        Raises:
            InvalidParameterError: one has a name that means other pictures.
        """
        for name in _TAKEN:
            if name in data:
                raise InvalidParameterError(
                    f"a data set is called {name!r}, by which the studio names other pictures; "
                    f"expected another name, such as ./{name}"
                )
        self._open = dict(data)
        self._opened: dict[tuple[str, int], ImageSet] = {}
        self._problems: dict[str, str] = {}
        self._suits: dict[tuple[str, int], bool] = {}
        self._kept: Bounded[Tensor] = Bounded(MOST_KEPT_BYTES)

    @property
    def data(self) -> tuple[str, ...]:
        """The names of the data sets on offer."""
        return tuple(self._open)

    def images(self, name: str, channels: int = 3) -> ImageSet:
        """A data set on offer, opened once for each number of channels.

        Raises:
            UnknownDataError: it is not on offer.
        """
        self.check(name)
        key = name, channels
        if key not in self._opened:
            with OPENING:
                if key not in self._opened:
                    try:
                        self._opened[key] = self._open[name](channels)
                    except FluoroscopeError as problem:
                        self._problems[name] = str(problem)
                        raise
                    self._problems.pop(name, None)
        return self._opened[key]

    def check(self, name: str) -> None:
        """Refuse the name of no data set.

        Raises:
            UnknownDataError: it is not on offer.
        """
        if name not in self._open:
            raise UnknownDataError(
                f"the data set {name!r} is not on offer; expected one of {', '.join(self._open)}"
            )

    def check_picture(self, name: str) -> None:
        """Refuse the name of no picture, as far as is known before data are opened.

        Raises:
            UnknownDataError: there is no such picture, or it is not kept any more.
        """
        data, _, index = name.rpartition(":")
        if data == "kept":
            if self._kept.get(index) is None:
                raise UnknownDataError(
                    f"the picture {name!r} is not kept any more; expected one that was brought "
                    "since the studio started: bring it again"
                )
            return
        if not data:
            raise UnknownDataError(
                f"there is no picture {name!r}; expected one of a data set, as DATA:INDEX, or one "
                "that was brought"
            )
        self.check(data)
        count, _ = self.standing(data)
        number = int(index) if index.isascii() and index.isdecimal() else None
        if number is None or (count is not None and number >= count):
            last = "INDEX" if count is None else count - 1
            raise UnknownDataError(
                f"there is no picture {name!r}; expected {data}:0 to {data}:{last}"
            )

    def standing(self, name: str) -> tuple[int | None, str | None]:
        """How many pictures a data set has, if it was opened, and why it could not be."""
        opened = (len(images) for (one, _), images in list(self._opened.items()) if one == name)
        return next(opened, None), self._problems.get(name)

    def suits(self, name: str, channels: int) -> bool:
        """Whether a data set on offer has pictures for networks of so many channels, by the first
        of its pictures that can be read.
        """
        key = name, channels
        if key not in self._suits:
            self._suits[key] = any(self._read(name, place, channels) for place in range(_LOOKED_AT))
        return self._suits[key]

    def _read(self, name: str, place: int, channels: int) -> bool:
        try:
            images = self.images(name, channels)
            return place < len(images) and bool(
                with_channels(images[place].image, channels).numel()
            )
        except FluoroscopeError:
            return False

    def keep(self, image: Tensor) -> str:
        """Keep a picture ``(C, H, W)`` in ``[0, 1]`` and say by which name it is found again."""
        image = image.detach().cpu().contiguous().clone()
        about = f"{tuple(image.shape)} {image.dtype}"
        digest = hashlib.sha256(about.encode() + image.numpy().tobytes()).hexdigest()[:24]
        self._kept.put(digest, image, image.nbytes)
        return f"kept:{digest}"

    def raw(self, name: str, channels: int) -> Tensor:
        """The picture of that name in its own size ``(C, H, W)``; those of a data set are read with
        so many channels.

        Raises:
            UnknownDataError: there is no such picture, or it is not kept any more.
        """
        data, _, index = name.rpartition(":")
        if data in self._open:
            self.images(data, channels)
        self.check_picture(name)
        if data == "kept" and (image := self._kept.get(index)) is not None:
            return image
        try:
            return self.images(data, channels)[int(index)].image
        except PictureError as problem:
            raise PictureError(_within(str(problem), data)) from problem


def _within(words: str, data: str) -> str:
    """The same with files named from the folder of the data on, not from the machine's root."""
    folder = user_path(data)
    for root in {f"{folder.resolve()}/", f"{folder.absolute()}/", f"{folder}/"}:
        words = words.replace(root, "")
    return words


def with_channels(image: Tensor, channels: int) -> Tensor:
    """The picture ``(C, H, W)`` in grey or colour: what 8 bits hold becomes grey in 8 bits, as it
    does when its file is read.

    Raises:
        InvalidImagesError: neither has as many channels.
    """
    have = image.shape[0]
    if have == channels:
        return image
    if have == 1 and channels == 3:
        return image.expand(channels, -1, -1)
    if have == 3 and channels == 1:
        weights = image.new_tensor(_GREY)[:, None, None]
        levels = (image * 255).round()
        if not ((levels / 255) == image).all():
            return ((image * weights).sum(0, keepdim=True) / 65536).clamp(0, 1)
        return ((levels * weights).sum(0, keepdim=True).add(32768) / 65536).floor() / 255
    raise InvalidImagesError(
        f"the picture has {have} channels and the network takes {channels}; expected as many: "
        "choose another picture"
    )
