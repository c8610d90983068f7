"""The networks on offer: those that were named, and the built-in ones; loaded on first use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from fluoroscope.errors import FluoroscopeError, UnknownModelError
from fluoroscope.models.names import BUILTIN

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier

State = Literal["named", "loading", "ready", "failed"]


@dataclass
class Offered:
    """A network that may be asked for by its name."""

    name: str
    load: "Callable[[], Classifier]"
    state: State = "named"
    problem: str = ""
    model: "Classifier | None" = None
    lock: Lock = field(default_factory=Lock)

    def describe(self) -> dict[str, Any]:
        """As the page receives it."""
        return {"name": self.name, "state": self.state, "problem": self.problem or None}


class Networks:
    """All networks on offer, by name."""

    def __init__(self, given: "Mapping[str, Callable[[], Classifier]]") -> None:
        """``given`` say how each named network is loaded; the built-in ones come after them."""
        loaders = {**given, **{name: _by_name(name) for name in BUILTIN if name not in given}}
        self._offered = {name: Offered(name, load) for name, load in loaders.items()}

    def describe(self) -> list[dict[str, Any]]:
        """As the page receives them."""
        return [one.describe() for one in self._offered.values()]

    def get(self, name: str) -> "Classifier":
        """The network of that name, loaded once.

        Raises:
            UnknownModelError: it is not on offer.
            FluoroscopeError: it cannot be loaded.
        """
        one = self._offered.get(name)
        if one is None:
            raise UnknownModelError(
                f"the network {name!r} is not on offer; expected one of "
                f"{', '.join(self._offered)}: name others when you start the studio"
            )
        with one.lock:
            if one.model is None:
                one.state, one.problem = "loading", ""
                try:
                    one.model = one.load()
                except FluoroscopeError as problem:
                    one.state, one.problem = "failed", str(problem)
                    raise
                one.state = "ready"
            return one.model


def _by_name(name: str) -> "Callable[[], Classifier]":
    def load() -> "Classifier":
        from fluoroscope.models.loading import load_model

        return load_model(name)

    return load
