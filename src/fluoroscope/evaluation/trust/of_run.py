"""The trust checks of a run: on pictures spread over its data, made once and kept beside its rows.

``trust.json`` holds what was found on the network, and the run it belongs to. What the rows say by
themselves is read from them each time.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from fluoroscope.arrow import array_of
from fluoroscope.engine.threats import Threat
from fluoroscope.evaluation.check import Check, by_share, ending
from fluoroscope.evaluation.plan import Plan
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.evaluation.trust.checks import most_pictures, trust_checks
from fluoroscope.evaluation.verdict import outcomes
from fluoroscope.models.classifier import Classifier

FILE = "trust.json"
FORMAT = 5
"""Raised when checks of an older version should be made anew."""


@dataclass(frozen=True)
class _Kept:
    format: int
    identity: dict[str, Any]
    checks: tuple[Check, ...]


def trust_of_run(
    model: Classifier,
    plan: Plan,
    threat: Threat,
    parts: Sequence[Sequence[pa.Table]],
    load: Callable[[Sequence[int]], tuple[Tensor, Tensor]],
    *,
    identity: dict[str, Any],
    second: Sequence[Classifier] = (),
    directory: RunDirectory | None = None,
    grid: int | None = None,
    seed: int = 0,
    batch_size: int,
    on_check: Callable[[Check], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Check, ...]:
    """The checks on the network, made or read back, and those on the rows.

    Args:
        model: the network as the run attacked it.
        plan, threat, grid, seed, batch_size: the run's. Of one in 8 bits it is not asked whether
            Auto-PGD fools what it left, as that looks between the levels, too.
        parts: of each part its clean look and the rows of its stages.
        load: gives the pictures and the network's labels of samples by their numbers.
        identity: what the run is; checks on disk that belong to another are made anew.
        second: other networks, on which pictures are made; checks on disk belong to them, too.
        directory: where they are kept.
        on_check, cancelled: as for :func:`~fluoroscope.evaluation.trust.checks.trust_checks`.
    """
    if second:
        identity = {**identity, "second": [other.fingerprint() for other in second]}
    identity = json.loads(json.dumps(identity))
    found = _read(directory, identity)
    if found is None:
        chosen = _spread(parts, most_pictures(model))
        if not chosen:
            return from_rows(parts, plan)
        found = trust_checks(
            model, *load(chosen), threat, second=second, plan=plan,
            held=None if grid is not None else _held(parts, threat, chosen),
            seed=seed, batch_size=batch_size, on_check=on_check, cancelled=cancelled,
        )  # fmt: skip
        whole = cancelled is None or not cancelled()
        if directory is not None and whole:
            kept = [check.describe() for check in found]
            directory.write_json(FILE, {"format": FORMAT, "identity": identity, "checks": kept})
    return (*found, *from_rows(parts, plan))


def from_rows(parts: Sequence[Sequence[pa.Table]], plan: Plan) -> tuple[Check, ...]:
    """What the rows of a run say by themselves; no passes are made.

    Args:
        parts: of each part its clean look and the rows of its stages, as the run made them.
        plan: the run's.
    """
    access = {stage.name: stage.attack.access for stage in plan.stages}
    right = sum(int(pc.sum(pc.invert(part[0]["success"])).as_py() or 0) for part in parts)
    rows: dict[str, list[pa.Table]] = {}
    for part in parts:
        for table in part[1:]:
            rows.setdefault(str(table["attack"][0]), []).append(table)
    order = [stage.name for stage in plan.stages if stage.name in rows]
    found = []
    white = [name for name in order if access[name] == "gradient"]
    blind = [
        name
        for at, name in enumerate(order)
        if access[name] in ("score", "decision") and set(order[:at]) & set(white)
    ]
    if blind and right:
        fooled = sum(_successes(table) for name in blind for table in rows[name])
        given = sum(len(table) for table in rows[blind[0]])
        status = by_share(fooled, right)
        see = "sees" if len(blind) == 1 else "see"
        words = (
            f"{' and '.join(blind)}, which {see} no gradient, fooled {fooled} of the {given} "
            "pictures that the white-box attacks of the run had left"
        ) + ending(
            status,
            "the gradient misleads attacks. Try them with more steps, another loss or BPDA, and "
            "give the black-box ones more queries",
        )
        evidence = {"pictures": right, "left": given, "fooled": fooled}
        found.append(Check("black box in the run", status, words, evidence))
    silent = attacked = 0
    for name in order:
        for table in rows[name]:
            attacked += len(table)
            missed = pc.and_(pc.less(table["margin"], 0.0), pc.invert(table["success"]))
            silent += int(pc.sum(missed).as_py() or 0)
    if attacked:
        status = by_share(silent, attacked)
        words = (
            f"{silent} of {attacked} searches met a misclassified image that is allowed, and yet "
            "do not count as successes"
        ) + ending(
            status,
            "the network that searches is not the one that judges. Choose a higher precision, or "
            "more samples of the expectation",
        )
        evidence = {"searches": attacked, "silent": silent}
        found.append(Check("silent success", status, words, evidence))
    return tuple(found)


def _spread(parts: Sequence[Sequence[pa.Table]], most: int) -> list[int]:
    """Numbers of samples that are classified correctly, evenly over the data, whatever order they
    are in.
    """
    right = np.concatenate(
        [array_of(part[0].filter(pc.invert(part[0]["success"]))["index"]) for part in parts]
    )
    right.sort()
    places = np.linspace(0, len(right) - 1, min(most, len(right))).round().astype(int)
    return [int(number) for number in right[places]]


def _held(parts: Sequence[Sequence[pa.Table]], threat: Threat, chosen: Sequence[int]) -> Tensor:
    """Which of these samples the run left, ``(n,)`` booleans."""
    index, _, _, robust = outcomes(parts, threat)
    return torch.from_numpy(np.isin(chosen, index[robust]))


def _read(directory: RunDirectory | None, identity: dict[str, Any]) -> tuple[Check, ...] | None:
    if directory is None:
        return None
    try:
        kept = TypeAdapter(_Kept).validate_json((directory.path / FILE).read_bytes())
    except (OSError, ValidationError):
        return None  # Not there, or not readable: made anew.
    return kept.checks if (kept.format, kept.identity) == (FORMAT, identity) else None


def _successes(table: pa.Table) -> int:
    return int(pc.sum(table["success"]).as_py() or 0)
