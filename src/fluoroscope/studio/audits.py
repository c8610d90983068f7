"""What audits found of the networks on offer: which attribution methods can be believed there."""

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fluoroscope.attribution.audit.result import Audit
    from fluoroscope.models.classifier import Classifier

MOST = 32
"""Networks of which an audit is kept."""


class Audits:
    """The best audit of each network so far."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[Classifier, Audit]] = OrderedDict()
        self._lock = Lock()

    def put(self, name: str, model: "Classifier", found: "Audit") -> None:
        """Keep an audit, unless more is known of the network already."""
        with self._lock:
            known = self._known(name, model)
            if known is None or _weight(found) >= _weight(known):
                self._found[name] = model, found
                self._found.move_to_end(name)
            while len(self._found) > MOST:
                self._found.popitem(last=False)

    def of(self, name: str, model: "Classifier") -> "Audit | None":
        """What is known of a network; ``model`` is the one that goes by that name now."""
        with self._lock:
            return self._known(name, model)

    def _known(self, name: str, model: "Classifier") -> "Audit | None":
        of, found = self._found.get(name, (None, None))
        return found if of is model else None


def is_full(found: "Audit") -> bool:
    """Whether the network was made to forget, and maps were scored."""
    return bool(found.record["stages"])


def _weight(found: "Audit") -> tuple[bool, bool, int]:
    return found.complete, is_full(found), len(found.rows)
