"""The queue and the workers: clients in turn, so many jobs for each, long ones one at a time.

A job whose readers are gone is cancelled within a second; finished ones stay to be read until
their client has asked for some more of the kind, or all of them are too many or take too much
memory.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fluoroscope.errors import FluoroscopeError
from fluoroscope.notices import collected, distinct
from fluoroscope.process import give_back_freed_memory, one_thread
from fluoroscope.studio.faults import NO_MEMORY, tell_fault
from fluoroscope.studio.jobs.job import Cancelled, Job, State
from fluoroscope.studio.jobs.line import Line
from fluoroscope.words import count

WORKERS = 4
"""Threads that work: one of them for what is long, two for one client, one for the others."""
_TICK = 0.1
"""Seconds between two looks whether somebody still reads."""
_REST = 1.0
"""Seconds without work after which memory that is free goes back to the system."""
_FAULT = (
    "a mistake of the studio, or of the network's own code; where it happened is told on the "
    "terminal where the studio was started"
)
_STOPPED = "the studio was stopped; start it again"
_ABANDONED = "the connection was lost for longer than a second; start it again"


@dataclass(frozen=True)
class Bounds:
    """How much of everything there may be."""

    of_a_client: int = 12
    """Jobs of one client that wait or run."""
    of_an_address: int = 48
    """Those of all clients at one address."""
    waiting: int = 96
    """Jobs of all clients that wait."""
    of_a_kind: int = 8
    """Finished jobs of one kind that are kept for a client: the page shows two, and Back leads to
    earlier ones."""
    kept: int = 200
    """Finished jobs of all clients."""
    kept_bytes: int = 96 * 2**20
    """What they take of memory, with their files."""
    patience: float = 0.8
    """Seconds for which a job that was read goes on without a reader: one may be coming back."""
    first_patience: float = 10.0
    """Seconds that it waits for its first one."""


class TooManyJobsError(FluoroscopeError):
    """A client, or all of them together, want more at once than there is room for."""

    retry_after = 2
    """Seconds after which it is worth another try."""


@dataclass(frozen=True, eq=False)
class _Entry:
    job: Job
    work: Callable[[Job], None]
    long: bool

    @property
    def client(self) -> str:
        return self.job.client


class Jobs:
    """All jobs, by id. Every change of a job's state is made under one lock."""

    def __init__(
        self,
        workers: int = WORKERS,
        bounds: Bounds | None = None,
        forget: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """``forget`` is told of every job that is not kept any more."""
        self.bounds = bounds or Bounds()
        self._forget = forget
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._line: Line[_Entry] = Line()
        self._running: set[_Entry] = set()
        self._places: dict[Job, int] = {}
        self._closed = False
        self._changed = threading.Condition()
        self._workers = workers
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
            self._refuse(job)
            self._jobs[job.id] = job
            self._line.add(_Entry(job, work, long))
            self._tell_places()
            self._changed.notify_all()

    def get(self, identifier: str) -> Job | None:
        """The job of that id, if it is still kept."""
        with self._changed:
            return self._jobs.get(identifier)

    def cancel(self, job: Job, why: str = "") -> None:
        """End a job, whether it runs or waits; one that ended stays as it is."""
        with self._changed:
            if job.ended:
                return
            job.cancel(why)
            entry = next((one for one in self._line if one.job is job), None)
            if entry is not None:
                self._line.remove(entry)
                self._end(job, "cancelled", (), job.why)
                self._tell_places()
        if entry is not None:
            self.evict()

    def close(self, timeout: float = 10.0) -> None:
        """End every job and every thread.

        Streams end at once: that a job ends is told before its work comes to the next step.
        """
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                if not job.ended:
                    job.cancel(_STOPPED)
                    self._end(job, "cancelled", (), _STOPPED)
            self._line = Line()
            self._changed.notify_all()
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def evict(self) -> None:
        """Forget finished jobs while there are too many, or while they take too much memory.

        The oldest of the client that keeps most goes first, so nobody pushes out what is
        not theirs. The newest of all always stays.
        """
        with self._changed:
            self._evict_kinds()
            kept = {job: job.size for job in self._jobs.values() if job.ended}
            newest = next(reversed(kept), None)
            while len(kept) > 1:
                too_many = len(kept) > self.bounds.kept
                if not too_many and sum(kept.values()) <= self.bounds.kept_bytes:
                    return
                of_client: Counter[str] = Counter()
                for job, size in kept.items():
                    of_client[job.client] += 1 if too_many else size
                most = max(of_client, key=lambda client: of_client[client])
                own = (job for job in kept if job.client == most and job is not newest)
                oldest = next(own, next(iter(kept)))
                del kept[oldest]
                self._drop(oldest)

    # What follows is called with the lock, but for the threads' own loops.

    def _evict_kinds(self) -> None:
        """Forget what a client has asked for often enough since."""
        newer: Counter[tuple[str, str]] = Counter()
        for job in reversed([one for one in self._jobs.values() if one.ended]):
            newer[job.client, job.kind] += 1
            if newer[job.client, job.kind] > self.bounds.of_a_kind:
                self._drop(job)

    def _drop(self, job: Job) -> None:
        del self._jobs[job.id]
        self._forget(job)

    def _refuse(self, job: Job) -> None:
        if self._closed:
            raise TooManyJobsError(_STOPPED)
        live = [one for one in self._jobs.values() if not one.ended]
        own = sum(one.client == job.client for one in live)
        if own >= self.bounds.of_a_client:
            raise TooManyJobsError(
                f"you have {count(own, 'job')} under way; expected at most "
                f"{self.bounds.of_a_client}: wait for one, or stop one"
            )
        near = sum(one.address == job.address for one in live)
        if near >= self.bounds.of_an_address:
            raise TooManyJobsError(
                f"your address has {count(near, 'job')} under way; expected at most "
                f"{self.bounds.of_an_address}: wait for one, or stop one"
            )
        if len(self._line) >= self.bounds.waiting:
            raise TooManyJobsError(
                f"the line holds {count(len(self._line), 'job')}; expected fewer than "
                f"{self.bounds.waiting}: try again in a moment"
            )

    def _may_start(self, entry: _Entry) -> bool:
        """One long job runs at a time, and no client takes the workers that others need."""
        if entry.long:
            return not any(one.long for one in self._running)
        own = sum(one.client == entry.client and not one.long for one in self._running)
        short = sum(not one.long for one in self._running)
        spare = 1 if self._workers > 1 else 0
        return own < max(1, self._workers - 2) and short < self._workers - spare

    def _tell_places(self) -> None:
        """Tell those that have to wait which in the line they are, where that has changed."""
        free = self._workers - len(self._running)
        places: dict[Job, int] = {}
        for entry in self._line:
            if free and self._may_start(entry):
                free -= 1  # a worker is about to take it
            else:
                places[entry.job] = len(places) + 1
        for job, place in places.items():
            if self._places.get(job) != place:
                job.tell("queued", {"place": place})
        self._places = places

    def _end(self, job: Job, state: State, notes: Sequence[str], problem: str) -> None:
        if job.ended:
            return
        job.state = state
        said: dict[str, Any] = {
            "state": state,
            "notes": list(distinct(notes)),
            "files": sorted(job.files),
        }
        if problem:
            said["problem"] = problem
        try:
            job.tell("end", {**job.conclusion, **said}, matters=True)
        except Exception:  # such as too little memory: that it ended is told all the same
            job.tell("end", {"state": state, "notes": [], "files": []}, matters=True)

    def _work(self) -> None:
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """Take the next job and do it; a function of its own, so that nothing of it is held on."""
        with self._changed:
            while (entry := self._line.take(self._may_start)) is None:
                if self._closed:
                    return False
                self._changed.wait()
            entry.job.state = "running"
            self._running.add(entry)
            self._tell_places()
        ended = _done(entry)
        with self._changed:
            self._running.discard(entry)
            self._end(entry.job, *ended)
            self._tell_places()
            self._changed.notify_all()
        self.evict()
        return True

    def _watch(self) -> None:
        """Cancel what nobody reads; where there is nothing to do, give free memory back."""
        rested = False
        while True:
            with self._changed:
                live = [job for job in self._jobs.values() if not job.ended]
                woken = True
                if not live and not self._closed:
                    woken = self._changed.wait(None if rested else _REST)
                if self._closed:
                    return
            if not live:
                rested = not woken
                if rested:
                    give_back_freed_memory()
                continue
            rested = False
            attended = [job for job in live if not job.unattended]
            for job in attended:
                unread, was_read = job.log.unread()
                bounds = self.bounds
                if unread > (bounds.patience if was_read else bounds.first_patience):
                    self.cancel(job, _ABANDONED)
            del attended, live
            time.sleep(_TICK)


def _done(entry: _Entry) -> tuple[State, list[str], str]:
    """How the work ended, whatever it raised, with its notes and what was the problem."""
    job = entry.job
    notes: list[str] = []
    try:
        with one_thread(), collected() as notes:
            job.check()
            entry.work(job)
            return "cancelled" if job.cancelled() else "done", notes, job.why
    except Cancelled:
        return "cancelled", notes, job.why
    except FluoroscopeError as error:
        return "failed", notes, str(error)
    except MemoryError:
        return "failed", notes, NO_MEMORY
    except BaseException as error:
        # A fault of ours, or of a network's own code that ends programs: it is told, and neither
        # the worker nor another job falls with it.
        with suppress(Exception):
            tell_fault(f"in a job of the kind {job.kind}", error)
        return "failed", notes, f"{_said(error)}: {_FAULT}"


def _said(error: BaseException) -> str:
    words = type(error).__name__
    with suppress(BaseException):  # an exception's own words may be what fails
        words = f"{words}: {error}"[:500].removesuffix(": ")
    return words
