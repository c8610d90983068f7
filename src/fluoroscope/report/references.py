"""Curves of networks that everybody has, to hold another beside: the built-in readers of digits.

``make references`` measures them anew and writes ``references.json``.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

NETWORKS = ("digits-cnn", "digits-robust")
NORMS = ("linf", "l2")
COUNT = 1000
_POINTS = 60
_FILE = "references.json"


@dataclass(frozen=True)
class Reference:
    """The accuracy of a network at every bound."""

    model: str
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


@cache
def references(norm: str) -> tuple[Reference, ...]:
    """The curves that were measured in this norm."""
    found = json.loads((files("fluoroscope.report") / _FILE).read_text("utf-8"))["curves"]
    return tuple(
        Reference(**{**one, "eps": tuple(one["eps"]), "accuracy": tuple(one["accuracy"])})
        for one in found
        if one["norm"] == norm
    )


def measure() -> dict[str, Any]:
    """The curves of the built-in networks on the built-in digits, as plain values."""
    import fluoroscope as fs

    curves = []
    for name in NETWORKS:
        model = fs.load_model(name)
        images = fs.load_images("digits", channels=1).take(COUNT)
        for norm in NORMS:
            found = fs.evaluate(model, images, threat=norm, plan="curve").curve
            assert found is not None
            points = found.points(_POINTS)
            curves.append(
                {
                    "model": name,
                    "data": "digits",
                    "count": len(found),
                    "norm": norm,
                    "eps": [round(point.eps, 5) for point in points],
                    "accuracy": [round(point.accuracy, 4) for point in points],
                    "median": round(found.median, 5),
                }
            )
    return {"made_by": "make references", "fluoroscope": fs.__version__, "curves": curves}


if __name__ == "__main__":
    text = json.dumps(measure(), separators=(",", ":")).replace('{"model"', '\n{"model"')
    (Path(__file__).parent / _FILE).write_text(text + "\n", "utf-8")
