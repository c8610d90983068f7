"""A small audit for a report: which attribution methods can be believed on its network.

The same looks as :func:`fluoroscope.audit` makes, of methods that take few passes and on few
pictures, as far as a share of the time that is left goes.
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
_SHARE, _SECONDS = 0.15, 20.0
_PICTURES, _PICTURES_LARGE = 12, 4
# Passes for a picture, by a method's own words, from which on there is no time for it.
_DEAREST = 300
# Methods that are shown beside the gradient; and the order in which they are looked at, and shown
# where nothing is known of which is better: those that show edges, or need a pixel that is not
# black, come last.
_BEST = 2
PLAIN = "gradient"
_FIRST = (PLAIN, "deeplift", "layer-cam", "lrp")
_LAST = ("gradient-x-input", "guided-backprop", "deconvolution")


@dataclass(frozen=True)
class Told:
    """What an audit said of one method, as far as a page shows it."""

    method: str
    verdict: str
    reasons: list[str]
    remarks: list[str]
    """What is worth knowing of its maps here, and bears on no verdict."""
    score: float | None
    """By the metric of the table."""
    pictures: int
    """How many were scored; of methods that take many passes fewer."""
    no_better_than: str | None
    """A map that knows nothing of the network, and scores as well."""
    forgot: bool
    """Whether its maps were held against those of a network that forgets."""


@dataclass(frozen=True)
class Believed:
    """The verdicts, and the methods that passed."""

    told: list[Told]
    best: list[str]
    """Valid ones, without the plain gradient: those that name best what the network depends on and
    better than the controls, or, where no metric ranks them, the first in a fixed order."""
    metric: str
    """By which the table scores: what ranks them, else the relevance gain."""
    ranked: bool
    """Whether it ranks them here."""
    controls: dict[str, float]
    """The scores of maps that know nothing of the network."""
    complete: bool


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

    values = study.written("audit", [names, most, "remarks of so many"], look)
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
    """Those that take few passes: a few in an order of their own, then the cheapest first."""
    costs = {name: _passes(about.cost) for name, about in METHODS.items() if not about.quick}

    def place(name: str) -> tuple[int, int]:
        if name in _FIRST:
            return 0, _FIRST.index(name)
        return (2, _LAST.index(name)) if name in _LAST else (1, costs[name])

    return sorted((name for name, cost in costs.items() if cost <= _DEAREST), key=place)


def _passes(cost: str) -> int:
    """About how many, by what a method says that it costs."""
    return max(map(int, re.findall(r"\d+", cost)), default=1)


def _short(found: Audit) -> dict[str, Any]:
    by = found.ranked_by or "srg"
    controls = {name: each[by] for name, each in found.controls.items() if by in each}
    return {
        "told": [
            {
                "method": row.verdict.method,
                "verdict": row.verdict.words,
                "reasons": list(row.verdict.reasons),
                "remarks": list(row.verdict.remarks),
                "score": row.scores[by].mean if by in row.scores else None,
                "pictures": row.scores[by].pictures if by in row.scores else 0,
                "no_better_than": found.no_better_than(row.verdict.method),
                "forgot": bool(row.random),
            }
            for row in found.rows
        ],
        "best": [name for name in _shown(found, by) if name != PLAIN][:_BEST],
        "metric": by,
        "ranked": found.ranked_by is not None,
        "controls": {name: score.mean for name, score in controls.items()},
        "complete": found.complete,
    }


def _shown(found: Audit, by: str) -> list[str]:
    """Valid methods, those first that are to be shown: where they are ranked, of the same pictures
    and better than the controls.
    """
    scores = {name: found.of(name).scores for name in found.best}
    scored = [name for name in found.best if by in scores[name]]
    if not scored:
        return list(found.valid)
    most = max(scores[name][by].pictures for name in scored)
    return [
        name
        for name in scored
        if scores[name][by].pictures == most and found.no_better_than(name) is None
    ]
