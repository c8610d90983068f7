"""The other processes of a training on this machine: started, heard, and ended with it.

The caller's process is the first of them. Each of the others is a fresh interpreter that runs no
script of the caller's: the training travels to it once, pickled among processes of one user. Before
every step it waits for a word of the first; when the first is gone, killed or not, so is its end of
the pipe, and the worker ends. What befalls a worker comes back as one sentence.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from fluoroscope.errors import ClusterError, FluoroscopeError, InvalidParameterError
from fluoroscope.notices import collected
from fluoroscope.training.trainer.together import LostError, Together, as_it_was, joined

_MAIN = "from fluoroscope.training.trainer.workers import main; main()"
_SECONDS_TO_END = 5.0
_LENGTH = 8
# Up to this many bytes of pictures travel to a worker.
MEMORY = 2**30
_STEP = b"."


@dataclass
class _Worker:
    """A process, and where its mistakes lie."""

    process: subprocess.Popen[bytes]
    told: IO[bytes]
    """What it wrote to its standard error."""

    def send(self, words: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(words)
        self.process.stdin.flush()

    def answer(self) -> Any:
        """What it says next; nothing if it ended."""
        assert self.process.stdout is not None
        return _read(self.process.stdout)


@contextmanager
def with_workers(job: Any, processes: int) -> Iterator[Together]:
    """This process as the first of so many, which end with the block.

    Raises:
        InvalidParameterError: more pictures than each of them should hold.
        ClusterError: the training cannot be sent, or one of them died.
        FluoroscopeError: what one of them raised.
    """
    if job.images.nbytes > MEMORY:
        raise InvalidParameterError(
            f"pictures take {job.images.nbytes / 2**30:.1f} GiB, and each of the {processes} "
            f"processes would hold them in memory; expected {MEMORY / 2**30:.0f} GiB at most, or a "
            "launcher such as torchrun, whose processes read them by themselves"
        )
    threads = max(1, torch.get_num_threads() // processes)
    package = _packed(job)
    workers: list[_Worker] = []
    try:
        for _ in range(1, processes):
            workers.append(_started())
        try:
            for rank, worker in enumerate(workers, 1):
                worker.send(_framed((rank, processes, threads, package)))
            kinds = _lightning()  # which takes its time, while they import
            for worker in workers:
                if worker.answer() != "ready":
                    raise LostError("it did not begin")
            port = kinds.find_free_network_port()
            for worker in workers:
                worker.send(_framed(port))

            def go() -> None:
                for worker in workers:
                    worker.send(_STEP)

            with _joined(0, processes, port, threads, go) as group:
                yield group
        except (LostError, BrokenPipeError) as problem:
            raise _what_befell(workers) from problem
    finally:
        for worker in workers:
            _end(worker)


def _started() -> _Worker:
    paths = [path or str(Path.cwd()) for path in sys.path]
    told = tempfile.TemporaryFile()  # noqa: SIM115 it is read when the process has ended
    process = subprocess.Popen(
        [sys.executable, "-c", _MAIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=told,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # a Ctrl-C is for the first alone, which ends the others
    )
    return _Worker(process, told)


def _end(worker: _Worker) -> None:
    process = worker.process
    with suppress(OSError):
        process.stdin.close()  # type: ignore[union-attr]
    process.kill()
    process.wait()
    process.stdout.close()  # type: ignore[union-attr]
    worker.told.close()


def _packed(job: Any) -> bytes:
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(job))
    # Pickling runs the network's own code.
    except Exception as problem:
        raise ClusterError(
            f"the training cannot be sent to other processes ({_first_line(str(problem))}); "
            "expected a network and a loss that can be pickled, or one process"
        ) from problem


def _what_befell(workers: list[_Worker]) -> FluoroscopeError:
    """Why the training cannot go on: what a worker raised, or which one is gone."""
    found: list[tuple[int, str]] = []
    for rank, worker in enumerate(workers, 1):
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(_SECONDS_TO_END)
        said = worker.answer() if worker.process.poll() is not None else None
        if isinstance(said, FluoroscopeError) and not isinstance(said, LostError):
            return said
        code = worker.process.poll()
        if code is None or isinstance(said, LostError):
            continue
        who = f"process {rank + 1} of {len(workers) + 1}"
        if code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        else:
            worker.told.seek(0)
            lines = worker.told.read()[-4096:].decode(errors="replace").strip().splitlines()
            how = f"failed ({lines[-1] if lines else f'exit code {code}'})"
        found.append((code, f"{who} {how}"))
    what = min(found)[1] if found else "a process of the training is gone"
    return ClusterError(
        f"{what}, and the training stopped; the same once more goes on from the last checkpoint, "
        "if one was asked for"
    )


def main() -> None:
    """What a worker does: take up the training, and every step of it."""
    # Whatever else is printed, the pipe is for what is said to the first process.
    back = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders = sys.stdin.buffer
    try:
        rank, processes, threads, package = _ordered(orders)
        job = pickle.loads(package)
        torch.set_num_threads(threads)
        _lightning()
        back.write(_framed("ready"))
        back.flush()
        port = _ordered(orders)

        def wait() -> None:
            if orders.read(1) != _STEP:
                raise LostError("the first process is gone")

        with (
            collected(),  # the first has told of it
            _joined(rank, processes, port, threads, wait) as group,
        ):
            for _ in job.in_share(group):
                pass
            orders.read()  # until the first ends it
    except FluoroscopeError as error:
        with suppress(OSError):
            back.write(_framed(error))
            back.flush()
        os._exit(1)


def _joined(
    rank: int, processes: int, port: int, threads: int, wait: Callable[[], None]
) -> AbstractContextManager[Together]:
    """One of so many on this machine, told what a launcher would tell it."""
    told = {"LOCAL_RANK": rank, "NODE_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return joined(
        _lightning().LightningEnvironment,
        processes,
        processes,
        torch.device("cpu"),
        settings={name: str(value) for name, value in told.items()},
        threads=threads,
        wait=wait,
    )


def _lightning() -> Any:
    with as_it_was():
        from lightning_fabric.plugins.environments import lightning
    return lightning


def _framed(value: Any) -> bytes:
    body = pickle.dumps(value)
    return len(body).to_bytes(_LENGTH, "big") + body


def _read(pipe: Any) -> Any:
    length = int.from_bytes(pipe.read(_LENGTH), "big")
    body = pipe.read(length)
    return pickle.loads(body) if length and len(body) == length else None


def _ordered(pipe: Any) -> Any:
    order = _read(pipe)
    if order is None:
        raise LostError("the first process is gone")
    return order


def _first_line(words: str) -> str:
    return (words.strip().splitlines() or ["?"])[0]
