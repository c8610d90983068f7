"""The pictures that jobs may speak of: places in a data set on offer, and what clients brought.

Names are ``DATA:INDEX`` for the pictures of a data set, and ``kept:HASH`` for those that were
uploaded, drawn, or taken from a job. Nothing of a name reaches the file system.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING

from torch import Tensor

from fluoroscope.data.imageset import ImageSet
from fluoroscope.errors import UnknownDataError

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier

MOST_KEPT_BYTES = 256 * 2**20


class Pictures:
    """Data sets by name, and kept pictures by the hash of their content."""

    def __init__(self, data: Mapping[str, Callable[[int], ImageSet]]) -> None:
        """``data`` opens each data set for networks of so many channels."""
        self._open = dict(data)
        self._opened: dict[tuple[str, int], ImageSet] = {}
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    @property
    def data(self) -> tuple[str, ...]:
        """The names of the data sets on offer."""
        return tuple(self._open)

    def images(self, name: str, channels: int = 3) -> ImageSet:
        """A data set on offer, opened once for each number of channels.

        Raises:
            UnknownDataError: it is not on offer.
        """
        if name not in self._open:
            raise UnknownDataError(
                f"the data set {name!r} is not on offer; expected one of {', '.join(self._open)}"
            )
        with self._lock:
            if (name, channels) not in self._opened:
                self._opened[name, channels] = self._open[name](channels)
            return self._opened[name, channels]

    def keep(self, image: Tensor) -> str:
        """Keep a picture ``(C, H, W)`` in ``[0, 1]`` and say by which name it is found again."""
        image = image.detach().cpu().contiguous()
        digest = hashlib.sha256(repr(tuple(image.shape)).encode() + image.numpy().tobytes())
        name = f"kept:{digest.hexdigest()[:24]}"
        with self._lock:
            if name not in self._kept:
                self._bytes += image.nbytes
            self._kept[name] = image
            self._kept.move_to_end(name)
            while self._bytes > MOST_KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return name

    def get(self, name: str, model: "Classifier") -> Tensor:
        """The picture of that name as the network receives it, ``(1, C, H, W)``.

        Raises:
            UnknownDataError: there is no such picture, or it is not kept any more.
        """
        return model.fit(self.raw(name, model.channels)[None].to(model.device, model.dtype))

    def raw(self, name: str, channels: int) -> Tensor:
        """The picture of that name in its own size, ``(C, H, W)``."""
        if name.startswith("kept:"):
            with self._lock:
                image = self._kept.get(name)
            if image is None:
                raise UnknownDataError(
                    f"the picture {name!r} is not kept any more; expected one that was brought "
                    "since the studio started: bring it again"
                )
            return _with_channels(image, channels)
        data, _, index = name.rpartition(":")
        images = self.images(data, channels)
        if not index.isdecimal() or int(index) >= len(images):
            raise UnknownDataError(
                f"there is no picture {name!r}; expected {data}:0 to {data}:{len(images) - 1}"
            )
        return images[int(index)].image


def _with_channels(image: Tensor, channels: int) -> Tensor:
    """Colour becomes grey by its luminance, and grey becomes colour."""
    have = image.shape[0]
    if have == channels:
        return image
    if have == 1:
        return image.expand(channels, -1, -1)
    if have == 3 and channels == 1:
        weights = image.new_tensor([0.299, 0.587, 0.114])
        return (image * weights[:, None, None]).sum(0, keepdim=True)
    raise UnknownDataError(
        f"the picture has {have} channels and the network takes {channels}; expected as many"
    )
