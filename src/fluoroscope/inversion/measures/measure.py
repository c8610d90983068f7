"""One number on a set of pictures, and what the same is elsewhere: no number stands alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from fluoroscope.attribution.metrics.intervals import bootstrap, interval_of
from fluoroscope.engine.intervals import wilson
from fluoroscope.words import number, percent

Kind = Literal["share", "number"]
"""A share is written in per cent."""
REFERENCES = ("real", "noise", "random")
"""What the same number is of: real pictures that nobody made, pictures of noise, and pictures made
the same way from the network with random weights."""
REFERENCE_WORDS = {"real": "real", "noise": "noise", "random": "random weights"}


@dataclass(frozen=True)
class Value:
    """A number, of how many pictures it is, and a 95 % interval where it is a mean over them."""

    value: float
    count: int
    interval: tuple[float, float] | None = None

    def words(self, kind: Kind) -> str:
        """``97.3 %``, ``1.24``."""
        if math.isinf(self.value):
            return "∞"
        return percent(self.value) if kind == "share" else number(self.value)

    def describe(self) -> dict[str, Any]:
        """As plain values; of a number that is not finite, ``None``."""
        ends = self.interval
        return {
            "value": self.value if math.isfinite(self.value) else None,
            "count": self.count,
            "interval": None if ends is None else list(ends),
        }


@dataclass(frozen=True)
class Measure:
    """What was measured of the pictures, and what the same is of real ones and of noise."""

    name: str
    """Such as ``second accuracy``: its key."""
    value: Value | None
    """``None`` where it was not measured."""
    references: dict[str, Value] = field(default_factory=dict)
    """By :data:`REFERENCES`, and others that a measure has of its own."""
    kind: Kind = "number"
    missing: str = ""
    """What is needed to measure it, where it was not."""
    about: str = ""
    """How it was measured, in a few words: the ``k`` of neighbours, the quality of a JPEG."""

    def words(self) -> str:
        """The number as people read it, or why there is none."""
        if self.value is None:
            return f"not measured: needs {self.missing}"
        return self.value.words(self.kind)

    def cells(self, references: Sequence[str]) -> list[str]:
        """A row of a narrow table: name with its unit, number, references, of how many, interval.

        Shares are in per cent without saying so again.
        """
        scale = 100 if self.kind == "share" else 1
        values = [self.value, *map(self.references.get, references)]
        numbers = ["–" if one is None else number(scale * one.value) for one in values]
        unit = ", %" if self.kind == "share" else ""
        return [self.name + unit, *numbers, self.many(), self.interval()]

    def many(self) -> str:
        """Of how many pictures, pairs or classes it is."""
        return "" if self.value is None else f"{self.value.count:,}"

    def interval(self) -> str:
        """Its interval in words; of a share in per cent, without saying so."""
        ends = None if self.value is None else self.value.interval
        if ends is None:
            return ""
        scale = 100 if self.kind == "share" else 1
        # Of one with zeros behind its point two digits that count say as much, in a narrow column.
        low, high = (number(scale * end, 2 if abs(scale * end) < 0.1 else 3) for end in ends)
        return f"{low}–{high}"

    def reference(self, name: str) -> str:
        """The same number of something else, as people read it; a dash where it is not known."""
        found = self.references.get(name)
        return "–" if found is None else found.words(self.kind)

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "name": self.name,
            "measured": self.value is not None,
            **(self.value.describe() if self.value else {"value": None, "count": 0}),
            "references": {name: one.describe() for name, one in self.references.items()},
            "kind": self.kind,
            "missing": self.missing,
            "about": self.about,
        }


def share(hits: Tensor) -> Value:
    """The share of pictures ``(N,)`` of which something is true, with Wilson's interval.

    Of ten out of ten a bootstrap would say that it is sure; Wilson's is not.
    """
    many = int(hits.sum())
    return Value(many / len(hits), len(hits), wilson(many, len(hits)))


def mean(numbers: Tensor, seed: int = 0) -> Value:
    """The mean of a number of each picture ``(N,)``, with a bootstrap interval."""
    rows = numbers.double().cpu()
    ends = bootstrap(rows, seed=seed) if len(rows) > 1 else None
    return Value(float(rows.mean()), len(rows), ends)


def median(numbers: Tensor, seed: int = 0) -> Value:
    """The median of a number of each picture ``(N,)``, with a bootstrap interval."""
    rows = numbers.double().cpu()
    ends = None
    if len(rows) > 1:
        ends = interval_of(lambda drawn: rows[drawn].quantile(0.5, dim=1), len(rows), seed=seed)
    return Value(float(rows.quantile(0.5)), len(rows), ends)
