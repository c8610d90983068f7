"""Curves of networks that others have, to hold another beside: only of networks of the same kind.

A kind is grey or colour, and pictures of about the same size. ``make references`` measures them
anew (``reproductions/references.py``) and writes ``references.json``.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_FILE = "references.json"
# How many times larger a side may be, or how many times more classes there may be, for distances
# to mean about the same.
_ALIKE = 2.0


@dataclass(frozen=True)
class Reference:
    """The accuracy of a network at every bound."""

    model: str
    about: str
    """What it was trained on, and how."""
    hardened: bool
    """Whether it was trained against attacks."""
    channels: int
    side: int
    """The longer side of its pictures."""
    classes: int
    data: str
    count: int
    norm: str
    eps: tuple[float, ...]
    """Ascending, from 0."""
    accuracy: tuple[float, ...]
    """At each of ``eps`` and up to the next."""
    median: float
    """The change that half of what it classifies correctly are fooled by."""

    def at(self, eps: float) -> float:
        """The accuracy at a bound."""
        below = [
            share for bound, share in zip(self.eps, self.accuracy, strict=True) if bound <= eps
        ]
        return below[-1] if below else self.accuracy[0]

    def alike(self, channels: int, side: int) -> bool:
        """Whether a network of so many channels and this side is of its kind."""
        return channels == self.channels and 1 / _ALIKE <= side / self.side <= _ALIKE

    def as_many(self, classes: int) -> bool:
        """Whether a network of so many classes has borders as close by as this one."""
        return 1 / _ALIKE <= classes / self.classes <= _ALIKE


@cache
def measured() -> tuple[Reference, ...]:
    """All curves there are."""
    found = json.loads((files("fluoroscope.report") / _FILE).read_text("utf-8"))["curves"]
    return tuple(
        Reference(**{**one, "eps": tuple(one["eps"]), "accuracy": tuple(one["accuracy"])})
        for one in found
    )


def references(norm: str, channels: int, side: int) -> tuple[Reference, ...]:
    """The curves in this norm of networks of the same kind."""
    return tuple(one for one in measured() if one.norm == norm and one.alike(channels, side))
