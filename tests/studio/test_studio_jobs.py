"""The queue: fair, bounded, and left as it was by whatever a job does."""

import gc
import json
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.notices import tell
from fluoroscope.studio.jobs import queue
from fluoroscope.studio.jobs.job import Job
from fluoroscope.studio.jobs.line import Line
from fluoroscope.studio.jobs.queue import Bounds, Jobs, TooManyJobsError


def new(client: str = "a", **more: Any) -> Job:
    return Job("test", client, None, address=more.pop("address", "here"), unattended=True, **more)


def until(true: Callable[[], bool]) -> None:
    """Wait for what other threads are about to do."""
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.001)


def told(job: Job) -> list[tuple[str, dict[str, Any]]]:
    return [(one.name, json.loads(one.data)) for one in job.log.after(0)[0]]


def ended(job: Job) -> dict[str, Any]:
    """What its one end says."""
    until(lambda: job.log.ended)
    ends = [data for name, data in told(job) if name == "end"]
    assert len(ends) == 1
    assert job.state == ends[0]["state"]
    return ends[0]


class Gate:
    """Work that goes on until it is let go."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self, job: Job) -> None:
        self.begun.set()
        assert self.open.wait(20)
        job.check()


@pytest.fixture
def make() -> Iterator[Callable[..., Jobs]]:
    made: list[Jobs] = []

    def one(workers: int = 1, **bounds: Any) -> Jobs:
        made.append(Jobs(workers, Bounds(**bounds)))
        return made[-1]

    before = threading.active_count()
    yield one
    for jobs in made:
        jobs.close()
    until(lambda: threading.active_count() <= before)


def test_clients_take_turns(make: Callable[..., Jobs]) -> None:
    jobs, gate, order = make(), Gate(), list[str]()
    jobs.add(new("first"), gate)
    assert gate.begun.wait(20)
    added = [new(client) for client in "aaaabbc"]
    for number, job in enumerate(added):
        jobs.add(job, lambda job, number=number: order.append(f"{job.client}{number}"))
    places = [next(data for _, data in told(job))["place"] for job in added]
    # One who came later stands before the second of one who has many.
    assert [told(job)[-1][1]["place"] for job in added] == [1, 4, 6, 7, 2, 5, 3]
    assert places == [1, 2, 3, 4, 2, 4, 3]
    gate.open.set()
    for job in added:
        ended(job)
    assert order == ["a0", "b4", "c6", "a1", "b5", "a2", "a3"]
    assert [data["place"] for name, data in told(added[3]) if name == "queued"][-1] == 1


def test_a_long_job_leaves_the_others_their_workers(make: Callable[..., Jobs]) -> None:
    jobs = make(4)
    gates = [Gate() for _ in range(8)]
    long = [new("a"), new("b")]
    jobs.add(long[0], gates[0], long=True)
    jobs.add(long[1], gates[1], long=True)
    short = [new("a"), new("a"), new("a"), new("b")]
    for job, gate in zip(short, gates[2:], strict=False):
        jobs.add(job, gate)
    until(lambda: sum(job.state == "running" for job in long + short) == 4)
    assert [job.state for job in long] == ["running", "queued"]
    # Two of one client run, and the third waits though the other came after it.
    assert [job.state for job in short] == ["running", "running", "queued", "running"]
    for gate in gates:
        gate.open.set()
    assert [ended(job)["state"] for job in long + short] == ["done"] * 6


def test_limits_of_a_client_an_address_and_all(make: Callable[..., Jobs]) -> None:
    jobs = make(of_a_client=2, of_an_address=4, waiting=5)
    gate = Gate()
    jobs.add(new("a"), gate)
    assert gate.begun.wait(20)
    jobs.add(new("a"), gate)
    with pytest.raises(TooManyJobsError, match="you have 2 jobs under way; expected at most 2"):
        jobs.add(new("a"), gate)
    for client in ("b", "c"):  # the same address under other names
        jobs.add(new(client), gate)
    with pytest.raises(TooManyJobsError, match="your address has 4 jobs under way"):
        jobs.add(new("d"), gate)
    for client in ("e", "f"):
        jobs.add(new(client, address="there"), gate)
    with pytest.raises(TooManyJobsError, match="the line holds 5 jobs; expected fewer than 5"):
        jobs.add(new("g", address="elsewhere"), gate)
    gate.open.set()
    until(lambda: not any(job.state in ("queued", "running") for job in jobs._jobs.values()))
    jobs.add(new("a"), gate)


def _exits(_: Job) -> None:
    sys.exit(3)


def _interrupts(_: Job) -> None:
    raise KeyboardInterrupt


def _runs_out(_: Job) -> None:
    raise MemoryError


def _refuses(_: Job) -> None:
    raise InvalidParameterError("steps is 0; expected 1 or more")


def _speechless(_: Job) -> None:
    class SpeechlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise SpeechlessError


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (_exits, "SystemExit: 3: a mistake of the studio, or of the network's own code"),
        (_interrupts, "KeyboardInterrupt: a mistake"),
        (_runs_out, "there is not enough memory"),
        (_refuses, "steps is 0; expected 1 or more"),
        (_speechless, "SpeechlessError: a mistake"),
        (
            lambda job: job.tell("step", {"no json": object()}),
            "TypeError: Object of type object",
        ),
        (lambda job: job.conclude(summary=object()), None),
    ],
)
def test_no_fault_takes_the_worker_along(
    make: Callable[..., Jobs], work: Callable[[Job], None], said: str | None
) -> None:
    jobs, job, after = make(), new(), new()
    jobs.add(job, work)
    jobs.add(after, lambda job: None)
    if said is not None:
        end = ended(job)
        assert end["state"] == "failed"
        assert said in end["problem"]
    else:
        ended(job)
    assert ended(after) == {"state": "done", "notes": [], "files": []}


def test_cancelled_while_it_waits(make: Callable[..., Jobs]) -> None:
    jobs, gate = make(), Gate()
    running, waiting, after = new(), new(), new()
    jobs.add(running, gate)
    jobs.add(waiting, _exits)
    jobs.add(after, lambda job: None)
    assert gate.begun.wait(20)
    jobs.cancel(waiting)
    assert ended(waiting)["state"] == "cancelled"
    assert told(after)[-1] == ("queued", {"place": 1})
    jobs.cancel(waiting)
    gate.open.set()
    assert ended(running)["state"] == "done"
    assert ended(after)["state"] == "done"
    jobs.cancel(running)
    assert running.state == "done"


def test_cancelled_while_it_works(make: Callable[..., Jobs]) -> None:
    jobs, gate, job = make(), Gate(), new()

    def stubborn(job: Job) -> None:
        try:
            gate(job)
        except Exception:  # what networks' own code does with errors
            pytest.fail("was stopped by no error")

    jobs.add(job, stubborn)
    assert gate.begun.wait(20)
    jobs.cancel(job, "because")
    assert job.cancelled()
    assert job.state == "running"
    gate.open.set()
    assert ended(job) == {"state": "cancelled", "notes": [], "files": [], "problem": "because"}


def test_what_nobody_reads_is_cancelled_in_the_midst_of_a_pass(make: Callable[..., Jobs]) -> None:
    jobs, gate = make(4, first_patience=0.05), Gate()
    job, alone = new(), new()
    job.unattended = False
    jobs.add(alone, lambda job: gate.open.wait(20) and None)
    jobs.add(job, gate)
    assert gate.begun.wait(20)
    until(job.cancelled)
    assert not alone.cancelled()
    gate.open.set()
    assert "connection was lost" in ended(job)["problem"]
    assert ended(alone)["state"] == "done"


def test_the_end_says_what_was_noted_and_concluded(make: Callable[..., Jobs]) -> None:
    jobs, gates = make(4), [Gate(), Gate()]
    both = [new("a"), new("b")]

    def noted(words: str, gate: Gate) -> Callable[[Job], None]:
        def work(job: Job) -> None:
            tell(f"{words} at step 1")
            gate(job)
            tell(f"{words} at step 2")
            job.conclude(summary=words, distance=float("nan"), state="odd")
            job.leave("a.txt", "text/plain", b"a")

        return work

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for job, gate in zip(both, gates, strict=True):
            jobs.add(job, noted(f"doubt of {job.client}", gate))
        for gate in gates:
            assert gate.begun.wait(20)
            gate.open.set()
        for job in both:
            # Its own notes only, though both worked at once; and each once.
            assert ended(job) == {
                "state": "done", "notes": [f"doubt of {job.client} at step 1"],
                "files": ["a.txt"], "summary": f"doubt of {job.client}", "distance": None,
                "not_finite": {"distance": "nan"},
            }  # fmt: skip
    assert warned == []


def test_progress_is_told_now_and_then_and_always_when_it_changes(
    make: Callable[..., Jobs],
) -> None:
    jobs, job = make(), new()

    def work(job: Job) -> None:
        for share in range(1000):
            job.progress(share / 1000, "reading")
        job.progress(0.5, "writing")
        job.progress(1, "writing")

    jobs.add(job, work)
    ended(job)
    shares = [(data["share"], data["doing"]) for name, data in told(job) if name == "progress"]
    assert shares[0] == (0, "reading")
    assert shares[-2:] == [(0.5, "writing"), (1, "writing")]
    assert len(shares) < 500


def test_finished_jobs_are_kept_by_number_and_by_bytes(make: Callable[..., Jobs]) -> None:
    jobs = make(kept=4)
    mine = [new("a") for _ in range(3)]
    for job in mine:
        jobs.add(job, lambda job: None)
        ended(job)
    many = [new("b") for _ in range(6)]
    for job in many:
        jobs.add(job, lambda job: None)
        ended(job)
    until(lambda: len(jobs._jobs) == 4)
    # What one client does too much of pushes out its own.
    assert [jobs.get(job.id) is not None for job in mine] == [False, True, True]
    assert [jobs.get(job.id) is not None for job in many] == [False] * 4 + [True] * 2

    jobs = make(kept_bytes=10_000)
    held = [new() for _ in range(5)]

    def holding(job: Job) -> None:
        job.leave("made", "text/plain", b"x" * 2000)
        job.leave("to make", "text/plain", lambda: b"y", holds=1000)
        job.hold(1000)

    for job in held:
        jobs.add(job, holding)
        ended(job)
    until(lambda: len(jobs._jobs) == 2)
    assert [jobs.get(job.id) for job in held] == [None, None, None, *held[3:]]
    # Who keeps most gives up first, however many jobs that are.
    for job in (light := [new("b") for _ in range(3)]):
        jobs.add(job, lambda job: job.hold(150))
        ended(job)
    until(lambda: held[3].id not in jobs._jobs)
    assert [jobs.get(job.id) for job in (held[4], *light)] == [held[4], *light]
    # A file that is made counts as it is.
    assert held[4].files["to make"].content() == b"y"
    assert 3000 < held[4].size < 3500
    enormous = new()
    jobs.add(enormous, lambda job: job.hold(10**9))
    ended(enormous)
    until(lambda: len(jobs._jobs) == 1)
    assert jobs.get(enormous.id) is enormous


def test_what_was_asked_for_often_enough_since_is_forgotten() -> None:
    forgotten: list[Job] = []
    jobs = Jobs(1, Bounds(of_a_kind=2), forgotten.append)
    other, shown = new("b"), new()
    shown.kind = "other"
    mine = [new() for _ in range(5)]
    for job in (other, shown, *mine):
        jobs.add(job, lambda job: None)
        ended(job)
    until(lambda: len(forgotten) == 3)
    assert forgotten == mine[:3]
    assert all(jobs.get(job.id) is None for job in mine[:3])
    assert all(jobs.get(job.id) is job for job in (other, shown, *mine[3:]))
    jobs.close()


def test_free_memory_goes_back_once_there_is_nothing_to_do(
    make: Callable[..., Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    monkeypatch.setattr(queue, "_REST", 0.02)
    monkeypatch.setattr(queue, "give_back_freed_memory", lambda: given.append(1))
    jobs, gate = make(), Gate()
    until(lambda: len(given) == 1)
    jobs.add(job := new(), gate)
    time.sleep(0.1)
    assert len(given) == 1
    gate.open.set()
    ended(job)
    until(lambda: len(given) == 2)
    time.sleep(0.1)
    assert len(given) == 2


def test_many_jobs_leave_nothing_behind(make: Callable[..., Jobs]) -> None:
    jobs = make(2, kept=3)
    threads = threading.active_count()
    left: list[weakref.ref[Any]] = []
    for number in range(40):
        job = new()
        picture = torch.zeros(1000)
        left += [weakref.ref(job), weakref.ref(picture)]

        def work(job: Job, picture: torch.Tensor = picture, number: int = number) -> None:
            job.tell("step", {}, frames={"now": "p" * 1000})
            job.leave("file", "text/plain", lambda: bytes(picture.tolist()))
            if number % 4 == 1:
                raise FluoroscopeError("no")
            if number % 4 == 2:
                job.cancel()
                job.check()

        jobs.add(job, work)
        ended(job)
        del job, picture, work
    until(lambda: len(jobs._jobs) == 3)
    gc.collect()
    until(lambda: sum(one() is not None for one in left) == 6)
    assert threading.active_count() == threads


def test_closing_ends_every_job_and_thread(make: Callable[..., Jobs]) -> None:
    before = threading.active_count()
    jobs, gate, job, waiting = make(), Gate(), new(), new()

    def fails(job: Job) -> None:
        gate(new())
        raise FluoroscopeError("too late to matter")

    jobs.add(job, fails)
    jobs.add(waiting, gate)
    assert gate.begun.wait(20)
    jobs.close(timeout=0)
    # Readers need not wait for the work to come to its next step.
    for one in (job, waiting):
        assert ended(one)["state"] == "cancelled"
        assert "was stopped" in ended(one)["problem"]
    with pytest.raises(TooManyJobsError, match="was stopped"):
        jobs.add(new(), gate)
    gate.open.set()
    jobs.close()
    assert ended(job)["state"] == "cancelled"
    assert threading.active_count() <= before


def test_a_file_is_made_once_and_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, job, found = [], new(), list[bytes]()
    job.leave("one", "text/plain", lambda: calls.append(1) or time.sleep(0.02) or b"content")
    left = job.files["one"]
    assert left.made is None
    threads = [threading.Thread(target=lambda: found.append(left.content())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [b"content"] * 4
    assert len(calls) == 1
    assert left.made == b"content"
    monkeypatch.setattr("fluoroscope.studio.jobs.files.MOST_FILE_BYTES", 2**20)
    job.leave("two", "text/plain", lambda: bytes(2**21))
    with pytest.raises(FluoroscopeError, match="has 2 MiB; expected at most 1"):
        job.files["two"].content()
    assert job.size < 1000


class Standing:
    """An entry of the line."""

    def __init__(self, client: str, barred: bool) -> None:
        self.client, self.barred = client, barred


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 4))))
@settings(max_examples=60)
def test_the_line_is_what_a_slow_one_would_be(acts: list[tuple[str, bool, int]]) -> None:
    """Against a list that is searched for whoever was served longest ago."""
    line: Line[Standing] = Line()
    slow: list[Standing] = []
    since: dict[str, int] = {}
    for now, (client, barred, act) in enumerate(acts):
        if act < 3:
            entry = Standing(client, barred)
            if not any(one.client == client for one in slow):
                since[client] = now
            slow.append(entry)
            line.add(entry)
        elif act == 3 and slow:
            gone = slow.pop(now % len(slow))
            assert line.remove(gone)
            assert not line.remove(gone)
        else:
            free = [one for one in slow if not one.barred]
            wanted = min(free, key=lambda one: since[one.client], default=None)
            assert line.take(lambda one: not one.barred) is wanted
            if wanted is not None:
                slow.remove(wanted)
                since[wanted.client] = now
        assert len(line) == len(slow)
        assert set(line) == set(slow)


class Queue(RuleBasedStateMachine):
    """Jobs that come, end, fail and are cancelled in any order, by three clients."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = Jobs(4, Bounds(of_a_client=4, kept=10**6, of_a_kind=10**6))
        self.gates: dict[Job, Gate] = {}
        self.long: set[Job] = set()
        self.asked: set[Job] = set()

    def standing(self, *states: str) -> list[Job]:
        return [job for job in self.gates if job.state in states]

    @rule(client=st.sampled_from("abc"), long=st.booleans())
    def add(self, client: str, long: bool) -> None:
        job, gate = new(client), Gate()
        if sum(one.client == client for one in self.standing("queued", "running")) >= 4:
            with pytest.raises(TooManyJobsError):
                self.jobs.add(job, gate, long=long)
            return
        self.gates[job] = gate
        if long:
            self.long.add(job)
        self.jobs.add(job, gate, long=long)

    @precondition(lambda self: self.standing("running"))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.standing("running")))
        self.gates[job].open.set()
        until(lambda: job.ended)

    @precondition(lambda self: self.gates)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.gates)))
        before = job.state
        self.jobs.cancel(job)
        if before in ("queued", "running"):
            self.asked.add(job)
            assert job.state == ("cancelled" if before == "queued" else "running")
        else:
            assert job.state == before

    def may_start(self, job: Job) -> bool:
        running = self.standing("running")
        if job in self.long:
            return not self.long & set(running)
        short = [one for one in running if one not in self.long]
        return len(short) < 3 and sum(one.client == job.client for one in short) < 2

    @invariant()
    def no_worker_rests_while_there_is_work_for_it(self) -> None:
        until(lambda: not any(self.may_start(job) for job in self.standing("queued")))
        running = self.standing("running")
        assert len(self.long & set(running)) <= 1
        for client in "abc":
            own = [one for one in running if one.client == client and one not in self.long]
            assert len(own) <= 2
        for job in self.gates:
            assert job.log.ended == (job.state not in ("queued", "running"))
            if job.log.ended:
                assert ended(job)["state"] == ("cancelled" if job in self.asked else "done")

    def teardown(self) -> None:
        for gate in self.gates.values():
            gate.open.set()
        self.jobs.close()


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=12, stateful_step_count=16)
