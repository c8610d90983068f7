"""The networks on offer: those that were named, and the built-in ones; loaded on first use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Literal

from fluoroscope.errors import FluoroscopeError, ModelFormatError, UnknownModelError
from fluoroscope.models.names import BUILTIN, check_model
from fluoroscope.models.wording import first_line
from fluoroscope.notices import collected, distinct
from fluoroscope.studio.opening import OPENING
from fluoroscope.studio.refusals.problems import BusyError, NotAllowedError

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier

_BUILTIN = sorted(BUILTIN, key=lambda name: name != "digits-cnn")
"""The usual one first."""
MOST_ADDED = 8
"""Networks that clients may have added at a time."""

State = Literal["named", "loading", "ready", "failed"]


@dataclass
class Offered:
    """A network that may be asked for by its name."""

    name: str
    load: "Callable[[], Classifier]"
    options: tuple[str, ...] = ()
    """What was said of it beside its name, as the words of a command."""
    added: bool = False
    """A client named it, not the command."""
    state: State = "named"
    problem: str | None = None
    """Why it could not be loaded the last time."""
    notes: tuple[str, ...] = ()
    """What was to be said of it when it was loaded."""
    model: "Classifier | None" = None
    lock: Lock = field(default_factory=Lock)

    def loaded(self) -> "Classifier":
        """The network itself, loaded if it is not yet; what failed is tried again.

        Raises:
            FluoroscopeError: it cannot be loaded.
        """
        with self.lock:
            if self.model is not None:
                return self.model
            self.state, self.problem = "loading", None
            try:
                with OPENING, collected() as notes:
                    self.model = self.load()
            except FluoroscopeError as problem:
                self.problem = str(problem)
                raise
            # Of a stranger's code, which may also end programs, or of what the machine lacks.
            except BaseException as problem:
                self.problem = (
                    f"{self.name} cannot be loaded ({type(problem).__name__}: "
                    f"{first_line(problem)}); expected a network that loads without an error"
                )
                raise ModelFormatError(self.problem) from problem
            finally:
                self.state = "ready" if self.model is not None else "failed"
            self.notes = distinct(notes)
            return self.model


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
        self._lock = Lock()
        self.load_any = load_any

    @property
    def names(self) -> tuple[str, ...]:
        """Those on offer; the first is what the page begins with."""
        return tuple(self._offered)

    def all(self) -> tuple[Offered, ...]:
        """Those on offer and how each stands, in their order."""
        return tuple(self._offered.values())

    def one(self, name: str) -> Offered:
        """How a network stands.

        Raises:
            UnknownModelError: it is not on offer.
        """
        found = self._offered.get(name)
        if found is None:
            how = "add it" if self.load_any else "name others when you start the studio"
            raise UnknownModelError(
                f"the network {name!r} is not on offer; expected one of "
                f"{', '.join(self._offered)}: {how}"
            )
        return found

    def options(self, name: str) -> tuple[str, ...]:
        """What was said of a network beside its name, such as ``--checkpoint FILE``."""
        return self._offered[name].options if name in self._offered else ()

    def get(self, name: str) -> "Classifier":
        """The network of that name, loaded once.

        Raises:
            UnknownModelError: it is not on offer.
            FluoroscopeError: it cannot be loaded.
        """
        return self.one(name).loaded()

    def own(self, name: str, *, weights: bool = False) -> "Classifier":
        """The same for a job alone, see :func:`.own`."""
        from fluoroscope.studio.own import own

        return own(self.get(name), weights=weights)

    def add(self, name: str) -> Offered:
        """Offer another network, by any name that :func:`.load_model` takes, and load it.

        Raises:
            NotAllowedError: the studio was not started with ``--allow-load``.
            BusyError: clients have added as many as may be.
            FluoroscopeError: it cannot be loaded; it is not on offer then.
        """
        self._allowed()
        check_model(name)
        with self._lock:
            there = name in self._offered
            if not there and sum(one.added for one in self.all()) >= MOST_ADDED:
                raise BusyError(
                    f"{MOST_ADDED} networks were added already; expected at most so many: take "
                    "one away first"
                )
            one = self._offered.setdefault(name, Offered(name, _by_name(name), added=True))
        try:
            one.loaded()
        except FluoroscopeError:
            if not there:
                self._offered.pop(name, None)
            raise
        return one

    def remove(self, name: str) -> None:
        """Take away a network that a client added; jobs that use it end as they would have.

        Raises:
            NotAllowedError: the studio was not started with ``--allow-load``, or the command named
                the network.
            UnknownModelError: it is not on offer.
        """
        self._allowed()
        if not self.one(name).added:
            raise NotAllowedError(
                f"the network {name!r} is on offer from the start; expected one that was added"
            )
        with self._lock:
            self._offered.pop(name, None)

    def _allowed(self) -> None:
        if not self.load_any:
            raise NotAllowedError(
                "this studio loads no other networks; expected one that is on offer: start it "
                "with --also NAME, or with --allow-load"
            )


def beside(one: "Classifier", other: "Classifier") -> str | None:
    """What to know of two networks that are looked at side by side, where their classes differ."""
    mine, others = one.labels, other.labels
    if mine == others:
        return None
    shared = len(set(mine) & set(others))
    if set(mine) == set(others):
        return (
            f"{one.name} and {other.name} have the same {len(mine)} classes in another order; "
            "they are compared by name"
        )
    count = f"{shared} of them are" if shared != 1 else "one of them is"
    return (
        f"{one.name} has {len(mine)} classes and {other.name} {len(others)}; "
        f"{count if shared else 'none is'} called the same, and only such can be compared"
    )


def _by_name(name: str) -> "Callable[[], Classifier]":
    def load() -> "Classifier":
        from fluoroscope.models.loading import load_model

        return load_model(name)

    return load
