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
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from fluoroscope.engine.threats import Threat
from fluoroscope.evaluation.plan import Plan
from fluoroscope.evaluation.run_directory import RunDirectory
from fluoroscope.evaluation.trust import Check, from_rows, most_pictures, trust_checks
from fluoroscope.models.classifier import Classifier

FILE = "trust.json"
FORMAT = 1
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
    directory: RunDirectory | None = None,
    seed: int = 0,
    batch_size: int,
    on_check: Callable[[Check], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Check, ...]:
    """The checks on the network, made or read back, and those on the rows.

    Args:
        model: the network as the run attacked it.
        plan, threat, seed, batch_size: the run's.
        parts: of each part its clean look and the rows of its stages.
        load: gives the pictures and the network's labels of samples by their numbers.
        identity: what the run is; checks on disk that belong to another are made anew.
        directory: where they are kept.
        on_check, cancelled: as for :func:`~fluoroscope.evaluation.trust.trust_checks`.
    """
    identity = json.loads(json.dumps(identity))
    found = _read(directory, identity)
    if found is None:
        chosen = _spread(parts, most_pictures(model))
        if not chosen:
            return from_rows(parts, plan)
        found = trust_checks(
            model, *load(chosen), threat, seed=seed, batch_size=batch_size, on_check=on_check,
            cancelled=cancelled,
        )  # fmt: skip
        whole = cancelled is None or not cancelled()
        if directory is not None and whole:
            kept = [check.describe() for check in found]
            directory.write_json(FILE, {"format": FORMAT, "identity": identity, "checks": kept})
    return (*found, *from_rows(parts, plan))


def _spread(parts: Sequence[Sequence[pa.Table]], most: int) -> list[int]:
    """Numbers of samples that are read right, evenly over the data, whatever order they are in."""
    right = np.concatenate(
        [part[0].filter(pc.invert(part[0]["success"]))["index"].to_numpy() for part in parts]
    )
    right.sort()
    places = np.linspace(0, len(right) - 1, min(most, len(right))).round().astype(int)
    return [int(number) for number in right[places]]


def _read(directory: RunDirectory | None, identity: dict[str, Any]) -> tuple[Check, ...] | None:
    if directory is None:
        return None
    try:
        kept = TypeAdapter(_Kept).validate_json((directory.path / FILE).read_bytes())
    except (OSError, ValidationError):
        return None  # Not there, or not readable: made anew.
    return kept.checks if (kept.format, kept.identity) == (FORMAT, identity) else None
