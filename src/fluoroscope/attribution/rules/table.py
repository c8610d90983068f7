"""Which operation has which rule in which method: one line each.

An operation that is not here and not linear (:mod:`.operations`) has none: there a method goes back
as the plain gradient does, and says so. To add one, write its rules, its line here, and its test.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fluoroscope.attribution.rules.guided import (
    deconvolution,
    deconvolution_clamp,
    guided,
    guided_clamp,
)
from fluoroscope.attribution.rules.mode import Rule


@dataclass(frozen=True)
class Line:
    """The rules of an operation; ``None`` where a method has none for it."""

    guided: Rule | None = None
    deconvolution: Rule | None = None
    deeplift: Rule | None = None
    lrp: Rule | None = None


_ACTIVATION = Line(guided=guided, deconvolution=deconvolution)

TABLE: Mapping[str, Line] = {
    "relu": _ACTIVATION,
    "clamp": Line(guided=guided_clamp, deconvolution=deconvolution_clamp),
    "clamp_min": Line(guided=guided_clamp, deconvolution=deconvolution_clamp),
    "relu6": _ACTIVATION,
    "hardtanh": _ACTIVATION,
    "leaky_relu": _ACTIVATION,
    "rrelu": _ACTIVATION,
    "prelu": _ACTIVATION,
    "elu": _ACTIVATION,
    "selu": _ACTIVATION,
    "celu": _ACTIVATION,
    "gelu": _ACTIVATION,
    "silu": _ACTIVATION,
    "mish": _ACTIVATION,
    "hardswish": _ACTIVATION,
    "softplus": _ACTIVATION,
}
"""By the operation's one name; see :func:`.mode.operation`."""


def rules_of(method: str) -> dict[str, Rule]:
    """The rules of a method, by operation."""
    found = {name: getattr(line, method) for name, line in TABLE.items()}
    return {name: rule for name, rule in found.items() if rule is not None}
