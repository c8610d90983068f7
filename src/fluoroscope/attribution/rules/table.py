"""Which operation has which rule in which method: one line each.

An operation that is not here and not linear (:mod:`.operations`) has none: there a method goes back
as the plain gradient does, and says so. To add one, write its rules, its line here, and its test.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fluoroscope.attribution.rules.mode import Rule


@dataclass(frozen=True)
class Line:
    """The rules of an operation; ``None`` where a method has none for it."""

    guided: Rule | None = None
    deconvolution: Rule | None = None
    deeplift: Rule | None = None
    lrp: Rule | None = None


TABLE: Mapping[str, Line] = {}
"""By the operation's one name; see :func:`.mode.operation`."""


def rules_of(method: str) -> dict[str, Rule]:
    """The rules of a method, by operation."""
    found = {name: getattr(line, method) for name, line in TABLE.items()}
    return {name: rule for name, rule in found.items() if rule is not None}
