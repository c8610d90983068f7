"""The networks on offer: those that were named, and the built-in ones; loaded on first use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from fluoroscope.errors import FluoroscopeError, UnknownModelError
from fluoroscope.models.names import BUILTIN

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier

_BUILTIN = sorted(BUILTIN, key=lambda name: name != "digits-cnn")
"""The usual one first."""

State = Literal["named", "loading", "ready", "failed"]


@dataclass
class Offered:
    """A network that may be asked for by its name."""

    name: str
    load: "Callable[[], Classifier]"
    options: tuple[str, ...] = ()
    """What was said of it beside its name, as the words of a command."""
    state: State = "named"
    problem: str = ""
    model: "Classifier | None" = None
    lock: Lock = field(default_factory=Lock)

    def describe(self) -> dict[str, Any]:
        """As the page receives it."""
        return {"name": self.name, "state": self.state, "problem": self.problem or None}


class Networks:
    """All networks on offer, by name."""

    def __init__(
        self,
        given: "Mapping[str, Callable[[], Classifier]]",
        *,
        options: Mapping[str, Sequence[str]] | None = None,
        load_any: bool = False,
    ) -> None:
        """
        Args:
            given: how each named network is loaded; the built-in ones come after them.
            options: what was said of one beside its name, as the words of a command.
            load_any: clients may name others.
        """
        said, others = options or {}, [name for name in _BUILTIN if name not in given]
        loaders = {**given, **{name: _by_name(name) for name in others}}
        self._offered = {
            name: Offered(name, load, tuple(said.get(name, ()))) for name, load in loaders.items()
        }
        self.load_any = load_any

    @property
    def names(self) -> tuple[str, ...]:
        """Those on offer; the first is what the page begins with."""
        return tuple(self._offered)

    def options(self, name: str) -> tuple[str, ...]:
        """What was said of a network beside its name, such as ``--checkpoint FILE``."""
        return self._offered[name].options if name in self._offered else ()

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
