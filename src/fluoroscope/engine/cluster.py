"""Parts of a data set on several processes or machines, through Ray Data.

A part is a row of a Ray data set, and a pool of actors maps over them, each with the network loaded
once and a GPU of its own if the network is on one. Ray Data hands an actor its next part when it is
done with the last, holds back when results are not fetched, and starts a dead actor, and the part
it had, anew.

Two things travel. The work, with the very network the caller holds, is pickled once among processes
of one user; so workers download nothing and need not know where a network came from, only have
installed what its code imports. Pictures in memory go with it; files are read, part by part, where
they lie, so all machines must see them. What comes back is what the work found of a part.
"""

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, Protocol

import pyarrow as pa
import torch

from fluoroscope.data.batches import processors
from fluoroscope.engine.memory import keep_freed_memory
from fluoroscope.errors import (
    ClusterError,
    FluoroscopeError,
    InvalidParameterError,
    MissingExtraError,
)
from fluoroscope.notices import collected

# How often a part is begun: after that many deaths it is the part that kills its workers.
_TRIES = 6
_SECONDS_TO_ANSWER = 5.0
_SECONDS_BETWEEN_LOOKS = 0.2
# What Ray keeps of results, and of the job beside its own size.
_STORE = 2**28
_LIBRARIES = ("fluoroscope", "torch", "numpy")


@dataclass(frozen=True)
class Part:
    """Consecutive samples of a data set that belong together."""

    number: int
    positions: range


class Work(Protocol):
    """What is done with each part; it travels to the workers."""

    def begun(self, where: str, device: str | None) -> Callable[[Part], Any]:
        """On a machine of that name, and the device if it is another: what finds out of a part.

        Raises:
            FluoroscopeError: it cannot be done there.
        """


@dataclass(frozen=True)
class Cluster:
    """So many workers, on a cluster that is started here or runs at an address."""

    workers: int | None = None
    """By default one for each processor, or for each GPU."""
    address: str | None = None

    @classmethod
    def of(cls, workers: int | None, address: str | None) -> "Cluster":
        """One that answers.

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
        return cls(workers, address)

    @classmethod
    def named(cls, engine: str, workers: int | None, address: str | None) -> "Cluster | None":
        """That of the engine ``ray``; none of the engine ``local``.

        Raises:
            InvalidParameterError: another engine, or what only a cluster has without one.
            MissingExtraError, ClusterError: see :meth:`of`.
        """
        if engine == "ray":
            return cls.of(workers, address)
        if engine != "local":
            raise InvalidParameterError(f"engine is {engine!r}; expected 'local' or 'ray'")
        if workers is not None or address is not None:
            raise InvalidParameterError(
                "workers= and address= are for a cluster, and the engine is local: one process, "
                "with all of PyTorch's threads; expected engine='ray' with them"
            )
        return None

    def hand_out(
        self,
        package: bytes,
        parts: Sequence[Part],
        device: str,
        cancelled: Callable[[], bool] | None,
    ) -> Iterator[tuple[int, Any]]:
        """The number of each part with what the :func:`packed` work found, once, as they come.

        Raises:
            FluoroscopeError: what the work raised.
            ClusterError: the cluster fails.
        """
        missing = {part.number for part in parts}
        gpus, store = int(device == "cuda"), _STORE + 2 * len(package)
        with _session(self.address, self.workers, gpus, len(missing), store) as pool:
            for number, result in _results(package, list(parts), pool, cancelled):
                if isinstance(result, FluoroscopeError):
                    raise result
                # A machine lost with its results has them computed again, perhaps some we have.
                if number in missing:
                    missing.remove(number)
                    yield number, result
        if missing and not (cancelled is not None and cancelled()):
            raise ClusterError(
                f"the cluster ended without {len(missing)} of {len(parts)} parts; the same command "
                "makes what is missing"
            )


def packed(work: Work, what: str) -> bytes:
    """The work as it travels; ``what`` it has with it, for a message.

    Raises:
        ClusterError: it cannot be pickled.
    """
    from ray import cloudpickle

    try:
        return bytes(cloudpickle.dumps((work, _versions())))
    # Pickling runs the network's own code.
    except Exception as problem:
        raise ClusterError(
            f"{what} cannot be sent to other processes "
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
    """The actor: unpacks the work once and does it for the parts it is handed."""

    def __init__(self, package: Any, tries: Any, pool: _Pool) -> None:
        import ray

        keep_freed_memory()  # this process is ours alone, as the command line is
        torch.set_num_threads(pool.threads)
        self._tries = tries
        self._trouble: FluoroscopeError | None = None
        try:
            self._do = _unpacked(ray.get(package), "cuda" if pool.gpus else None)
        except FluoroscopeError as trouble:
            # Raised here, it would come back as the death of an actor.
            self._trouble = trouble

    def __call__(self, asked: pa.Table) -> pa.Table:
        (row,) = asked.to_pylist()
        result = self._evaluate(Part(row["part"], range(row["start"], row["stop"])))
        return pa.table(
            {"part": asked["part"], "result": pa.array([pickle.dumps(result)], pa.binary())}
        )

    def _evaluate(self, part: Part) -> Any:
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
                return self._do(part)
        except FluoroscopeError as error:
            return error


def _unpacked(package: bytes, device: str | None) -> Callable[[Part], Any]:
    where = socket.gethostname()
    try:
        work, versions = pickle.loads(package)
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
    begun: Callable[[Part], Any] = work.begun(where, device)
    return begun


def _results(
    package: bytes, parts: list[Part], pool: _Pool, cancelled: Callable[[], bool] | None
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
