"""Things kept while there is room: the least recently used goes when they take too many bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class Bounded(Generic[V]):
    """Values by key within a bound on the bytes of all together; used from any thread."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    @property
    def bytes(self) -> int:
        """What all of them take."""
        return self._bytes

    def put(self, key: Hashable, value: V, bytes: int) -> None:
        """Keep a value in place of what the key had; one that never fits is not kept."""
        with self._lock:
            self._drop(key)
            if bytes > self._most:
                return
            self._kept[key] = value, bytes
            self._bytes += bytes
            while self._bytes > self._most:
                self._drop(next(iter(self._kept)))

    def get(self, key: Hashable) -> V | None:
        """The value, if it is still kept."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def forget(self, where: Callable[[Hashable], bool]) -> None:
        """Let go of every value whose key is such."""
        with self._lock:
            for key in [one for one in self._kept if where(one)]:
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        if key in self._kept:
            self._bytes -= self._kept.pop(key)[1]
