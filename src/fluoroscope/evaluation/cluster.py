"""The engine ``ray``: an evaluation's parts on several processes or machines, through Ray Data.

A part is a row of a Ray data set, and a pool of actors maps over them, each with the network loaded
once and a GPU of its own if the network is on one. Ray Data hands an actor its next part when it is
done with the last, holds back when results are not fetched, and starts a dead actor, and the part
it had, anew.

Two things travel. The job, with the very network the caller holds, is pickled once among processes
of one user; so workers download nothing and need not know where a network came from, only have
installed what its code imports. Pictures in memory go with it; files are read, part by part, where
they lie, so all machines must see them. What comes back are the rows. Whoever computed them has
written them into the run directory if it sees that directory, which is why a killed run loses no
more than stages in flight; what is not there when rows arrive, since a machine does not share the
disk, this process writes. A part's file has one name and its rows depend on nothing but the job, so
that none is lost and none is there twice, whoever dies.
"""

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import pyarrow as pa
import torch

from fluoroscope.data.batches import processors
from fluoroscope.engine.memory import keep_freed_memory
from fluoroscope.errors import (
    ClusterError,
    FluoroscopeError,
    InvalidParameterError,
    MissingExtraError,
    ResultFormatError,
)
from fluoroscope.evaluation.parts import (
    Cancelled,
    Engine,
    Job,
    Part,
    Watching,
    evaluate_part,
    read_part,
)
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.notices import collected

# How often a part is begun: after that many deaths it is the part that kills its workers.
_TRIES = 6
_SECONDS_TO_ANSWER = 5.0
_SECONDS_BETWEEN_LOOKS = 0.2
# What Ray keeps of results, and of the job beside its own size.
_STORE = 2**28
_LIBRARIES = ("fluoroscope", "torch", "numpy")


def cluster(workers: int | None, address: str | None) -> Engine:
    """An engine of so many workers, on a cluster that is started here or runs at an address.

    Raises:
        MissingExtraError: Ray is not installed.
        InvalidParameterError: no worker.
        ClusterError: nobody answers at the address.
    """
    if workers is not None and workers < 1:
        raise InvalidParameterError(f"workers is {workers}; expected 1 or more")
    if find_spec("ray") is None:
        raise MissingExtraError(
            "the engine ray needs the Ray library; install it with "
            "pip install 'fluoroscope[cluster]', or leave the engine local"
        )
    if address not in (None, "auto", "local"):
        _require_answer(str(address))
    return partial(_run, workers=workers, address=address)


def _run(
    job: Job,
    parts: list[Part],
    watch: Watching,
    cancelled: Cancelled | None,
    *,
    workers: int | None,
    address: str | None,
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
    package, gpus = _packed(job), 1 if job.model.device.type == "cuda" else 0
    with _session(address, workers, gpus, len(missing), _STORE + 2 * len(package)) as pool:
        for number, result in _results(package, list(missing.values()), pool, cancelled):
            if isinstance(result, FluoroscopeError):
                raise result
            # A machine lost with its results has them computed again, perhaps some we have.
            if number in missing:
                part = missing.pop(number)
                _keep(job.directory, part, result)
                yield _told(result, watch(part))
    if missing and not (cancelled is not None and cancelled()):
        raise ClusterError(
            f"the cluster ended without {len(missing)} of {len(parts)} parts; the same command "
            "makes what is missing"
        )


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
    from ray import cloudpickle

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
    try:
        return bytes(cloudpickle.dumps((away, identity, _versions())))
    # Pickling runs the network's own code.
    except Exception as problem:
        raise ClusterError(
            f"{job.model.name} or {job.images.name} cannot be sent to other processes "
            f"({_first_line(problem)}); expected what can be pickled, or the engine local"
        ) from problem


@dataclass(frozen=True)
class _Pool:
    """The workers, and what each may use."""

    workers: int
    gpus: int
    threads: int


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


class _Tries:
    """Counts how often each part was begun; an actor of its own, which outlives the workers."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, part: int) -> int:
        self._begun[part] = self._begun.get(part, 0) + 1
        return self._begun[part]


class _Worker:
    """The actor: unpacks the job once and evaluates the parts it is handed."""

    def __init__(self, package: Any, tries: Any, pool: _Pool) -> None:
        import ray

        keep_freed_memory()  # this process is ours alone, as the command line is
        torch.set_num_threads(pool.threads)
        self._tries = tries
        self._trouble: FluoroscopeError | None = None
        try:
            self._job = _unpacked(ray.get(package), "cuda" if pool.gpus else None)
        except FluoroscopeError as trouble:
            # Raised here, it would come back as the death of an actor.
            self._trouble = trouble

    def __call__(self, asked: pa.Table) -> pa.Table:
        (row,) = asked.to_pylist()
        result = self._evaluate(Part(row["part"], range(row["start"], row["stop"])))
        return pa.table(
            {"part": asked["part"], "result": pa.array([pickle.dumps(result)], pa.binary())}
        )

    def _evaluate(self, part: Part) -> list[pa.Table] | FluoroscopeError:
        import ray

        if self._trouble is not None:
            return self._trouble
        if ray.get(self._tries.begin.remote(part.number)) > _TRIES:
            return ClusterError(
                f"part {part.number} (pictures {part.positions.start} to "
                f"{part.positions.stop - 1}) was begun {_TRIES} times and its worker died each "
                "time: memory may be short; a smaller part or batch_size needs less"
            )
        try:
            with collected():  # of damaged files; who asked has read them and said so
                return evaluate_part(self._job, part)
        except FluoroscopeError as error:
            return error


def _unpacked(package: bytes, device: str | None) -> Job:
    where = socket.gethostname()
    try:
        job, identity, versions = pickle.loads(package)
    # Unpickling imports the network's own code.
    except Exception as problem:
        raise ClusterError(
            f"the worker on {where} cannot rebuild the network ({_first_line(problem)}); install "
            "what its code imports on every machine"
        ) from problem
    for name, here in _versions().items():
        if here != versions[name]:
            raise ClusterError(
                f"the worker on {where} has {name} {here} and the command {versions[name]}; rows "
                "of different versions are not one run: install the same on every machine"
            )
    assert isinstance(job, Job)
    directory = job.directory
    if directory is not None and not _sees(directory, identity):
        if job.save_images:
            raise ClusterError(
                f"the worker on {where} does not see {directory.path}, and images are to be saved "
                "there; give a directory on a disk that all machines share"
            )
        directory = None
    return replace(job, model=job.model.to(device) if device else job.model, directory=directory)


def _sees(directory: RunDirectory, identity: Any) -> bool:
    try:
        return bool(directory.read()["identity"] == identity)
    except ResultFormatError:
        return False


def _results(
    package: bytes, parts: list[Part], pool: _Pool, cancelled: Cancelled | None
) -> Iterator[tuple[int, Any]]:
    """Each part's number with its rows, or with what was wrong, as they come."""
    import ray
    import ray.data

    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Ray's at its own copying
        context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    sent = ray.put(package)  # held here until the end: a worker that starts anew asks for it
    tries = ray.remote(num_cpus=0)(_Tries).remote()
    rows = [{"part": p.number, "start": p.positions.start, "stop": p.positions.stop} for p in parts]
    with ray.data.DataContext.current(context):
        found = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(sent, tries, pool),
            batch_size=1,
            batch_format="pyarrow",
            # One part at a time: a second one would wait behind a slow first while others idle.
            compute=ray.data.ActorPoolStrategy(size=pool.workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=pool.gpus,
        )
    arrived: SimpleQueue[Any] = SimpleQueue()
    stop = Event()

    def fetch() -> None:
        try:
            for table in found.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                arrived.put(table)
                if stop.is_set():
                    return
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    # In a thread, so that an interruption need not wait for the next part.
    Thread(target=fetch, daemon=True).start()
    try:
        while cancelled is None or not cancelled():
            try:
                item = arrived.get(timeout=_SECONDS_BETWEEN_LOOKS)
            except Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise _reason(item)
            for row in item.to_pylist():
                yield row["part"], pickle.loads(row["result"])
    finally:
        stop.set()
        logger.setLevel(level)


def _reason(error: BaseException) -> BaseException:
    """What a worker raised as it is; what befell the cluster as one line."""
    from ray.exceptions import RayError, RayTaskError

    if isinstance(error, RayTaskError) or not isinstance(error, RayError):
        return error
    made = ClusterError(
        f"the cluster failed ({_first_line(error)}); the same command goes on where it stopped"
    )
    made.__cause__ = error
    return made


@contextmanager
def _session(
    address: str | None, workers: int | None, gpus: int, parts: int, store: int
) -> Iterator[_Pool]:
    """A connection to a cluster: the caller's own if there is one, else made and ended here."""
    import ray

    if ray.is_initialized():
        if address is not None:
            raise InvalidParameterError(
                f"this process is connected to a Ray cluster already, and address is {address!r}; "
                "leave the address out to use that one, or call ray.shutdown() before"
            )
        yield _pool_there(workers, gpus, parts)
        return
    try:
        if address in (None, "local"):
            pool = _pool_here(workers, gpus, parts)
            with _quiet():
                ray.init(
                    address="local",
                    num_cpus=pool.workers,
                    include_dashboard=False,
                    object_store_memory=store,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        else:
            with _quiet():
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            pool = _pool_there(workers, gpus, parts)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        ray.shutdown()
        raise ClusterError(
            f"no Ray cluster at {address or 'this machine'} ({_first_line(error)}); expected the "
            "host:port of a head that ray start --head made, auto on one of its machines, or no "
            "address"
        ) from error
    try:
        yield pool
    finally:
        ray.shutdown()


def _pool_here(workers: int | None, gpus: int, parts: int) -> _Pool:
    most = torch.cuda.device_count() if gpus else processors()
    count = min(workers or most, parts)
    return _Pool(count, gpus, max(1, torch.get_num_threads() // count))


def _pool_there(workers: int | None, gpus: int, parts: int) -> _Pool:
    import ray

    kind = "GPU" if gpus else "CPU"
    most = int(ray.cluster_resources().get(kind, 0))
    if not most:
        raise ClusterError(
            f"the cluster has no {kind}, and the network is on one here; expected machines like "
            "this one"
        )
    return _Pool(min(workers or most, parts), gpus, 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Start Ray without its usage reports and log lines, of which some are written by native code.

    Both settings are inherited by the processes started inside the block; a level of the user's own
    stays.
    """
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    added = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in added})
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        for name in added:
            del os.environ[name]


def _require_answer(address: str) -> None:
    """Ask once and briefly: Ray itself tries for a minute and then ends the process."""
    host, _, port = address.rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise OSError("it is no host:port")
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({getattr(error, 'strerror', None) or error}); "
            "expected the host:port of a head that ray start --head made, auto on one of its "
            "machines, or no address"
        ) from error


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
