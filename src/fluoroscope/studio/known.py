"""What was found out of the networks on offer and is worth keeping, bounded in number."""

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from fluoroscope.studio.own import origin

if TYPE_CHECKING:
    from fluoroscope.attribution.audit.result import Audit
    from fluoroscope.models.classifier import Classifier

T = TypeVar("T")


class Known(Generic[T]):
    """Something of each network, and of what else it is asked by; the oldest gives way.

    It is of the very network: another that goes by the same name is not taken for it.
    """

    def __init__(self, most: int = 32) -> None:
        self._most = most
        self._found: OrderedDict[tuple[str, ...], tuple[Classifier, T]] = OrderedDict()
        self._lock = Lock()

    def get(self, model: "Classifier", *by: str) -> T | None:
        """What is known of it; ``by`` begins with the network's name."""
        with self._lock:
            of, found = self._found.get(by, (None, None))
            return found if of is origin(model) else None

    def put(self, model: "Classifier", found: T, *by: str) -> None:
        """Keep it."""
        with self._lock:
            self._found[by] = origin(model), found
            self._found.move_to_end(by)
            while len(self._found) > self._most:
                self._found.popitem(last=False)


class Audits(Known["Audit"]):
    """The best audit of each network so far: which attribution methods can be believed there."""

    def put(self, model: "Classifier", found: "Audit", *by: str) -> None:
        """Keep it, unless more is known already."""
        known = self.get(model, *by)
        if known is None or _weight(found) >= _weight(known):
            super().put(model, found, *by)


def is_full(found: "Audit") -> bool:
    """Whether the network was made to forget, and maps were scored."""
    return bool(found.record["stages"])


def _weight(found: "Audit") -> tuple[bool, bool, int]:
    return found.complete, is_full(found), len(found.rows)
