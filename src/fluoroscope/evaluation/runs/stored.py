"""Runs read back from disk, without the network: verdicts and rows.

Run directories travel between people, so nothing in one is trusted: names lead nowhere else, sizes
have bounds, and rows must fit together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from fluoroscope.arrow import array_of
from fluoroscope.engine.bounds import Stated, stated
from fluoroscope.errors import FluoroscopeError, ResultFormatError
from fluoroscope.evaluation.check import Check
from fluoroscope.evaluation.curve import curve_of
from fluoroscope.evaluation.history import is_name
from fluoroscope.evaluation.rows import CLEAN
from fluoroscope.evaluation.runs.columns_file import read_columns
from fluoroscope.evaluation.runs.part_files import read_rows
from fluoroscope.evaluation.runs.run_directory import PART, RunDirectory
from fluoroscope.evaluation.verdict import Verdict, in_slices, verdict_of
from fluoroscope.files import user_path

# A whole number that a float holds exactly, and far above what any data set has.
_MOST_SAMPLES = 2**53


def _safe(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"a stage is called {name!r}")
    return name


class _Stage(BaseModel):
    name: Annotated[str, AfterValidator(_safe)]


class _Plan(BaseModel):
    name: str
    stages: list[_Stage] = Field(min_length=1, max_length=1000)
    finds_distances: bool


class _Data(BaseModel):
    name: str
    split: str | None
    count: int = Field(ge=1, le=_MOST_SAMPLES)


class _Threat(BaseModel):
    norm: str
    eps: float | str | None = None


class _Identity(BaseModel):
    model: str
    model_sha256: str
    data: _Data
    class_numbers: list[int] | None
    threat: _Threat
    plan: _Plan


class _About(BaseModel):
    identity: _Identity
    labels: list[str] = Field(min_length=1)


@dataclass(frozen=True)
class StoredRun:
    """What a run directory holds."""

    path: Path
    model: str
    model_sha256: str
    labels: tuple[str, ...]
    """Of the network's classes."""
    data: str
    split: str | None
    total: int
    """Samples that were to be looked at."""
    class_numbers: tuple[int, ...] | None
    """The network's number for each class of the data, where they differ."""
    threat: Stated
    plan: str
    stages: tuple[str, ...]
    finds_distances: bool
    """Whether every sample's closest misclassified image was looked for."""
    parts: tuple[tuple[pa.Table, ...], ...]
    """Of each part the rows of its clean look, and of those stages that were made."""
    ended: bool
    """Whether it came to its end."""
    trust: tuple[Check, ...]
    """What was found on whether its accuracy can be trusted, where somebody asked."""
    record: dict[str, Any]
    notes: tuple[str, ...] = ()
    """What is to be said of its rows."""

    def verdict(self) -> Verdict:
        """What the rows say."""
        parts = [list(tables) for tables in self.parts]
        verdict = verdict_of(
            parts,
            self.stages,
            self.threat,
            total=self.total,
            classes=len(self.labels),
            stopped=not self.ended,
            record=self.record,
            notes=self.notes,
            names=self.labels,
        )
        columns = read_columns(self.path)
        verdict = in_slices(verdict, parts, self.threat, self.labels, columns)
        curve = None
        if self.finds_distances and parts:
            curve = curve_of(parts, self.threat.name, self.labels)
        return replace(verdict, curve=curve, trust=self.trust)


def read_run(path: str | Path) -> Verdict:
    """The verdict of a run directory, made anew from its rows; the network is not needed.

    Raises:
        ResultFormatError: there is no run, a newer version made it, or it is damaged.
    """
    return open_run(path).verdict()


def open_run(path: str | Path) -> StoredRun:
    """Everything in a run directory.

    Raises:
        ResultFormatError: there is no run, a newer version made it, or it is damaged.
    """
    directory = RunDirectory(user_path(path))
    found = directory.read()
    try:
        about = _About.model_validate(found, strict=True)
        eps = about.identity.threat.eps
        threat = stated(about.identity.threat.norm, math.inf if eps == "inf" else eps)
        numbers = about.identity.class_numbers
        if numbers is not None and not all(0 <= one < len(about.labels) for one in numbers):
            raise ValueError("class_numbers are none of the network's")
    except (ValidationError, ValueError, FluoroscopeError) as error:
        reason = error.errors()[0] if isinstance(error, ValidationError) else None
        told = f"{'.'.join(map(str, reason['loc']))}: {reason['msg']}" if reason else str(error)
        raise ResultFormatError(
            f"{directory.path / 'run.json'} is no run's: {told}; expected what fluoroscope "
            "evaluate --out makes"
        ) from error
    last = directory.last_verdict()
    stages = tuple(stage.name for stage in about.identity.plan.stages)
    return StoredRun(
        path=directory.path,
        model=about.identity.model,
        model_sha256=about.identity.model_sha256,
        labels=tuple(about.labels),
        data=about.identity.data.name,
        split=about.identity.data.split,
        total=about.identity.data.count,
        class_numbers=None if numbers is None else tuple(numbers),
        threat=threat,
        plan=about.identity.plan.name,
        stages=stages,
        finds_distances=about.identity.plan.finds_distances,
        parts=tuple(_parts(directory, stages, len(about.labels))),
        ended=bool(last.get("complete")),
        trust=_checks(last.get("trust", ())),
        notes=tuple(
            f"{stage} was put down in the middle of its search: what it found so far comes into "
            "the numbers once the command that made the run is given again"
            for stage in directory.going()
        ),
        record={name: value for name, value in found.items() if name not in ("format", "labels")},
    )


def _checks(found: Any) -> tuple[Check, ...]:
    try:
        return TypeAdapter(tuple[Check, ...]).validate_python(found)
    except ValidationError:
        return ()  # As if nobody had asked: the command that made the run makes them anew.


def _parts(
    directory: RunDirectory, stages: Sequence[str], classes: int
) -> "list[tuple[pa.Table, ...]]":
    order, folder = (CLEAN, *stages), directory.path / "parts"
    there: dict[int, dict[str, Path]] = {}
    for file in folder.glob("*.parquet"):
        name = PART.fullmatch(file.name)
        if name and name[2] in order:
            there.setdefault(int(name[1]), {})[name[2]] = file
    parts, seen = [], np.empty(0, dtype=np.int64)
    for _, files in sorted(there.items()):
        if CLEAN not in files:
            continue  # It is made anew when the run goes on, and the others with it.
        clean = _table(directory, files.pop(CLEAN), CLEAN, classes, None)
        given = array_of(clean["index"])
        if len(np.intersect1d(seen, given)):
            raise ResultFormatError(f"{folder} has samples twice; make the run anew")
        seen = np.concatenate([seen, given])
        right = array_of(clean.filter(pc.invert(clean["success"]))["index"])
        made = [
            _table(directory, files[name], name, classes, right) for name in stages if name in files
        ]
        parts.append((clean, *made))
    return parts


def _table(directory: RunDirectory, path: Path, stage: str, classes: int, right: Any) -> pa.Table:
    """The rows of a file, if they fit the run and the clean look at their part."""
    try:
        table = read_rows(path, stage, directory.hash)
        for name in ("label", "clean_prediction", "prediction"):
            numbers = array_of(table[name])
            if numbers.min() < 0 or numbers.max() >= classes:
                raise ResultFormatError("it has classes that the network lacks")
        if right is not None and not np.isin(array_of(table["index"]), right).all():
            raise ResultFormatError("it has samples that were not to be attacked")
    except ResultFormatError as error:
        raise ResultFormatError(
            f"{path} cannot be used ({error}); the command that made the run makes it anew"
        ) from error
    return table
