"""Whose turn it is: a line of waiting entries in which clients, not entries, take turns."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class HasClient(Protocol):
    """What can stand in the line."""

    @property
    def client(self) -> str:
        """Whose it is."""


E = TypeVar("E", bound=HasClient)


class Line(Generic[E]):
    """Whoever was served longest ago is next; each client's own entries keep their order."""

    def __init__(self) -> None:
        self._own: OrderedDict[str, deque[E]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(own) for own in self._own.values())

    def __iter__(self) -> Iterator[E]:
        """In the order in which they would be served if each could be."""
        rows = list(self._own.values())
        for turn in range(max(map(len, rows), default=0)):
            yield from (row[turn] for row in rows if turn < len(row))

    def add(self, entry: E) -> None:
        """Stand at the end of the client's own entries."""
        self._own.setdefault(entry.client, deque()).append(entry)

    def remove(self, entry: E) -> bool:
        """Leave the line; whether it stood there."""
        own = self._own.get(entry.client, deque())
        if entry not in own:
            return False
        own.remove(entry)
        if not own:
            del self._own[entry.client]
        return True

    def take(self, may: Callable[[E], bool]) -> E | None:
        """The first that may be served now, of the client whose turn it is."""
        for client, own in self._own.items():
            for entry in own:
                if may(entry):
                    self.remove(entry)
                    if client in self._own:
                        self._own.move_to_end(client)
                    return entry
        return None
