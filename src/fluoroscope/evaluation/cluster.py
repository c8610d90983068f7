"""The engine ``ray``: an evaluation's parts on several processes or machines.

How parts are handed out is said in :mod:`fluoroscope.engine.cluster`. Whoever computed the rows of
a part has written them into the run directory if it sees that directory, which is why a killed run
loses no more than stages in flight; what is not there when rows arrive, since a machine does not
share the disk, this process writes. A part's file has one name and its rows depend on nothing but
the job, so that none is lost and none is there twice, whoever dies.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from fluoroscope.engine.cluster import Cluster, Part, packed
from fluoroscope.errors import ClusterError, ResultFormatError
from fluoroscope.evaluation.parts import (
    Cancelled,
    Engine,
    Job,
    Watching,
    evaluate_part,
    read_part,
)
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.notices import collected


def cluster(over: Cluster) -> Engine:
    """An engine that hands the parts out over a cluster."""
    return partial(_run, over=over)


def _run(
    job: Job,
    parts: list[Part],
    watch: Watching,
    cancelled: Cancelled | None,
    *,
    over: Cluster,
) -> Iterator[list[pa.Table]]:
    missing = {}
    for part in parts:
        tables = read_part(job, part)
        if tables is None:
            missing[part.number] = part
        else:
            yield _told(tables, watch(part))
    if not missing or (cancelled is not None and cancelled()):
        return
    found = over.hand_out(_packed(job), list(missing.values()), job.model.device.type, cancelled)
    for number, result in found:
        part = missing[number]
        _keep(job.directory, part, result)
        yield _told(result, watch(part))


def _told(tables: list[pa.Table], watch: Any) -> list[pa.Table]:
    for table in tables:
        if watch is not None and len(table):
            watch(table["attack"][0].as_py(), table)
    return tables


def _keep(directory: RunDirectory | None, part: Part, tables: list[pa.Table]) -> None:
    """Write what the worker could not, since it does not see the directory."""
    if directory is None:
        return
    for table in tables:
        stage = table["attack"][0].as_py()
        with collected():
            there = directory.load(part.number, stage, table["index"].to_pylist())
        if there is None:
            directory.save(part.number, stage, table)


def _packed(job: Job) -> bytes:
    directory = job.directory
    model = job.model if job.model.device.type == "cpu" else job.model.to("cpu")
    away = replace(
        job,
        model=model,
        truth=replace(job.truth, model=model),
        looked={number: replace(one, batch=None) for number, one in job.looked.items()},
        directory=None if directory is None else RunDirectory(directory.path.resolve()),
    )
    identity = None if directory is None else directory.read()["identity"]
    return packed(_Away(away, identity), f"{job.model.name} or {job.images.name}")


@dataclass(frozen=True)
class _Away:
    """A job on its way."""

    job: Job
    identity: Any
    """Of the run that its directory is to be of."""

    def begun(self, where: str, device: str | None) -> Callable[[Part], list[pa.Table]]:
        """What evaluates its parts on a machine."""
        job = self.job
        directory = job.directory
        if directory is not None and not _sees(directory, self.identity):
            if job.save_images:
                raise ClusterError(
                    f"the worker on {where} does not see {directory.path}, and images are to be "
                    "saved there; give a directory on a disk that all machines share"
                )
            directory = None
        model = job.model.to(device) if device else job.model
        return partial(evaluate_part, replace(job, model=model, directory=directory))


def _sees(directory: RunDirectory, identity: Any) -> bool:
    try:
        return bool(directory.read()["identity"] == identity)
    except ResultFormatError:
        return False
