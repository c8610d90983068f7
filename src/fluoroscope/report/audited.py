"""A small audit for a report: which attribution methods can be believed on its network.

The same looks as :func:`fluoroscope.audit` makes, of methods that take few passes, on few pictures
and without networks that forget; and within a share of the time that is left.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fluoroscope.attribution.attribute import attribute
from fluoroscope.attribution.audit.audit import audit
from fluoroscope.attribution.audit.result import Audit
from fluoroscope.attribution.names import METHODS
from fluoroscope.errors import FluoroscopeError
from fluoroscope.notices import collected
from fluoroscope.report.study import Study

# The share of the time left that it may take, and seconds at the most; pictures, small and large.
_SHARE, _SECONDS = 0.25, 60.0
_PICTURES, _PICTURES_LARGE = 12, 4
# Passes for a picture, by a method's own words, from which on there is no time for it.
_DEAREST = 300
# Methods that are shown beside the gradient.
_BEST = 2
PLAIN = "gradient"


@dataclass(frozen=True)
class Told:
    """What an audit said of one method, as far as a page shows it."""

    method: str
    verdict: str
    reasons: list[str]
    srg: float | None


@dataclass(frozen=True)
class Believed:
    """The verdicts, and the methods that passed."""

    told: list[Told]
    best: list[str]
    """Valid ones, without the plain gradient: those that name best what the network depends on, or,
    where no metric ranks them, the cheapest."""
    srg: str
    """Whether the relevance gain tells methods from controls here, in a sentence."""
    controls: dict[str, float]
    """The relevance gain of maps that know nothing of the network."""
    complete: bool
    ranked: bool
    """Whether a metric ranks them here."""


def believed(study: Study, images: Tensor, classes: Tensor) -> Believed | None:
    """What can be believed on the study's network; ``None`` where there was no time for any of it.

    ``images`` ``(N, C, H, W)`` and ``classes`` ``(N,)`` are what the report explains.
    """
    most = _PICTURES_LARGE if study.large else _PICTURES
    names = methods()

    def look() -> dict[str, Any]:
        ends = time.monotonic() + min(_SHARE * study.left(), _SECONDS)
        try:
            with collected():
                found = audit(
                    study.model.plain,
                    images[:most],
                    classes[:most],
                    methods=names,
                    seed=study.seed,
                    randomisation=False,
                    on_progress=lambda now: study.tell(
                        f"can maps be believed: {now.words}", 0.6 + 0.4 * now.share, "gradients"
                    ),
                    cancelled=lambda: study.cancelled() or time.monotonic() > ends,
                )
        except FluoroscopeError:  # a network without a gradient; the section says so
            return {"told": []}
        if not found.complete:
            study.cut.add("audit")
        return _short(found)

    values = study.written("audit", [names, most, "ranked"], look)
    told = [Told(**each) for each in values["told"]]
    return Believed(**{**values, "told": told}) if told else None


def maps_of(study: Study, names: Sequence[str], images: Tensor, classes: Tensor) -> list[Tensor]:
    """The maps ``(n, ...)`` of each method, of the pictures that are shown."""

    def make() -> dict[str, Tensor]:
        with collected():
            return {
                name: attribute(
                    study.model.plain, images, classes.tolist(), method=name, seed=study.seed
                ).maps.contiguous()
                for name in names
            }

    found = study.kept("maps", list(names), make)
    return [found[name] for name in names]


def methods() -> list[str]:
    """Those that take few passes, the cheapest first."""
    costs = {name: _passes(about.cost) for name, about in METHODS.items() if not about.quick}
    return sorted((name for name, cost in costs.items() if cost <= _DEAREST), key=costs.__getitem__)


def _passes(cost: str) -> int:
    """About how many, by what a method says that it costs."""
    return max(map(int, re.findall(r"\d+", cost)), default=1)


def _short(found: Audit) -> dict[str, Any]:
    return {
        "told": [
            {
                "method": row.verdict.method,
                "verdict": row.verdict.words,
                "reasons": list(row.verdict.reasons),
                "srg": row.scores["srg"].mean if "srg" in row.scores else None,
            }
            for row in found.rows
        ],
        "best": [name for name in found.best or found.valid if name != PLAIN][:_BEST],
        "srg": found.telling.get("srg", ""),
        "controls": {
            name: scores["srg"].mean for name, scores in found.controls.items() if "srg" in scores
        },
        "complete": found.complete,
        "ranked": bool(found.best),
    }
