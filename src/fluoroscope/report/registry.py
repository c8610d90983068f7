"""The sections there are. A capability that has something to say registers its own::

    @section("neurons", "Which neurons decide", order=65)
    def neurons(study: Study) -> Content: ...

and is listed in ``sections/__init__.py``, or imported by whoever wants it in the report.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluoroscope.errors import InvalidParameterError
from fluoroscope.report.blocks import Content

if TYPE_CHECKING:
    from fluoroscope.report.study import Study

Build = Callable[["Study"], Content]


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    name: str
    title: str
    order: int
    """Where it stands; those that are built in have tens."""
    cost: int
    """When it is made: what tells most for its time comes first."""
    build: Build
    free: bool = False
    """Whether it only reads what is there, and so is made whatever the time."""


SECTIONS: dict[str, Section] = {}
"""All that were registered, by name."""


def section(
    name: str, title: str, *, order: int, cost: int | None = None, free: bool = False
) -> Callable[[Build], Build]:
    """Register a function as a section of the report.

    Args:
        name: as ``--sections`` has it.
        title: its heading.
        order: where it stands on the page.
        cost: when it is made, where that is another place than on the page.
        free: it only reads what is there, and so is made even when time is up.

    Raises:
        InvalidParameterError: the name is taken.
    """

    def register(build: Build) -> Build:
        if name in SECTIONS:
            raise InvalidParameterError(
                f"there is a section {name!r} already; expected a name of its own"
            )
        SECTIONS[name] = Section(name, title, order, order if cost is None else cost, build, free)
        return build

    return register
