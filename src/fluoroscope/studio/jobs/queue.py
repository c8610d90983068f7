"""The queue and the workers: clients in turn, so many jobs for each, long ones on one worker only.

A job whose readers are gone is cancelled within a second; finished ones stay to be read until
there are too many of them, or they take too much memory.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress

from fluoroscope.errors import FluoroscopeError
from fluoroscope.notices import collected, distinct
from fluoroscope.process import one_thread
from fluoroscope.studio.jobs.job import Cancelled, Job

WORKERS = 2
MOST_OF_A_CLIENT = 12
"""Jobs of one client that wait or run."""
MOST_WAITING = 96
"""Jobs of all clients that wait."""
MOST_KEPT = 200
MOST_BYTES = 256 * 2**20
PATIENCE = 0.8
"""Seconds for which a job that was read goes on without a reader: one may be coming back."""
FIRST_PATIENCE = 10.0
"""Seconds that it waits for its first one."""


class TooManyJobsError(FluoroscopeError):
    """A client, or all of them together, want more at once than there is room for."""


class Jobs:
    """All jobs, by id."""

    def __init__(self, workers: int = WORKERS) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: OrderedDict[str, deque[tuple[Job, Callable[[Job], None], bool]]] = (
            OrderedDict()
        )
        self._long = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"studio-worker-{number}", daemon=True)
            for number in range(workers)
        ]
        self._threads.append(threading.Thread(target=self._watch, name="studio-watch", daemon=True))
        for thread in self._threads:
            thread.start()

    def add(self, job: Job, work: Callable[[Job], None], *, long: bool = False) -> None:
        """Queue a job.

        Raises:
            TooManyJobsError: the client has too many under way, or all together have.
        """
        with self._changed:
            own = [
                one
                for one in self._jobs.values()
                if one.client == job.client and one.state in ("queued", "running")
            ]
            if len(own) >= MOST_OF_A_CLIENT:
                raise TooManyJobsError(
                    f"{len(own)} jobs of yours are under way; expected at most "
                    f"{MOST_OF_A_CLIENT}: wait for one, or stop one"
                )
            waiting = sum(len(line) for line in self._waiting.values())
            if waiting >= MOST_WAITING:
                raise TooManyJobsError(
                    f"{waiting} jobs are waiting; expected fewer than {MOST_WAITING}: try again "
                    "in a moment"
                )
            self._jobs[job.id] = job
            self._waiting.setdefault(job.client, deque()).append((job, work, long))
            self._changed.notify()

    def get(self, identifier: str) -> Job | None:
        """The job of that id, if it is still kept."""
        return self._jobs.get(identifier)

    def cancel(self, job: Job) -> None:
        """End a job, whether it runs or waits."""
        job.cancel()
        with self._changed:
            waits = job.state == "queued" and self._take_out(job)
        if waits:
            _end(job, "cancelled")

    def close(self) -> None:
        """End every job and every thread."""
        with self._changed:
            self._closed = True
            jobs = list(self._jobs.values())
            self._changed.notify_all()
        for job in jobs:
            self.cancel(job)
        for thread in self._threads:
            thread.join(timeout=10)

    def _take_out(self, job: Job) -> bool:
        for line in self._waiting.values():
            for entry in line:
                if entry[0] is job:
                    line.remove(entry)
                    return True
        return False

    def _next(self) -> tuple[Job, Callable[[Job], None], bool] | None:
        """The next job of the client whose turn it is; to be called with the lock."""
        for client in list(self._waiting):
            line = self._waiting[client]
            for entry in line:
                # One worker is always left for what is short.
                if entry[2] and self._long >= WORKERS - 1:
                    continue
                line.remove(entry)
                if line:
                    self._waiting.move_to_end(client)
                else:
                    del self._waiting[client]
                return entry
            if not line:
                del self._waiting[client]
        return None

    def _work(self) -> None:
        while True:
            with self._changed:
                while (entry := self._next()) is None and not self._closed:
                    self._changed.wait()
                if entry is None:
                    return
                job, work, long = entry
                job.state = "running"
                self._long += long
            try:
                _run(job, work)
            finally:
                with self._changed:
                    self._long -= long
                    self._changed.notify_all()
                self._evict()

    def _watch(self) -> None:
        """Cancel what nobody reads any more."""
        while not self._closed:
            time.sleep(0.1)
            now = time.monotonic()
            for job in list(self._jobs.values()):
                if job.state not in ("queued", "running") or job.unattended:
                    continue
                if job.log.readers:
                    job.read_at, job.was_read = now, True
                elif now - job.read_at > (PATIENCE if job.was_read else FIRST_PATIENCE):
                    self.cancel(job)

    def _evict(self) -> None:
        with self._changed:
            over = [job for job in self._jobs.values() if job.state not in ("queued", "running")]
            total = sum(job.log.bytes for job in over)
            while over and (len(over) > MOST_KEPT or total > MOST_BYTES) and len(over) > 1:
                oldest = over.pop(0)
                total -= oldest.log.bytes
                with suppress(KeyError):
                    del self._jobs[oldest.id]


def _run(job: Job, work: Callable[[Job], None]) -> None:
    with one_thread(), collected() as notes:
        try:
            job.check()
            work(job)
        except Cancelled:
            _end(job, "cancelled", notes)
        except FluoroscopeError as problem:
            _end(job, "failed", notes, str(problem))
        except Exception as problem:
            # A fault of ours: it is told, and neither the worker nor another job falls with it.
            _end(
                job, "failed", notes, f"a fault of the studio: {type(problem).__name__}: {problem}"
            )
        else:
            _end(job, "cancelled" if job.cancelled() else "done", notes)


def _end(
    job: Job, state: str, notes: "list[str] | tuple[str, ...]" = (), problem: str = ""
) -> None:
    job.state = state  # type: ignore[assignment]
    said = {"state": state, "notes": list(distinct(notes)), "files": sorted(job.files)}
    job.tell("end", {**said, **({"problem": problem} if problem else {})}, matters=True)
