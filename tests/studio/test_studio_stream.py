"""The doors of jobs: streams that may be lost and found again, and what is refused in words."""

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import torch
import uvicorn
from fastapi import Request

from fluoroscope.data.imageset import load_images
from fluoroscope.errors import StorageError
from fluoroscope.studio.app import create_app
from fluoroscope.studio.doors import event_stream
from fluoroscope.studio.doors.described import End
from fluoroscope.studio.guard.clients import COOKIE, client_of
from fluoroscope.studio.jobs.job import Job
from fluoroscope.studio.jobs.log import EventLog
from fluoroscope.studio.jobs.queue import Bounds
from fluoroscope.studio.kinds.registry import KINDS
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.studio import Studio
from tests.studio.conftest import Served

MORPH = {"kind": "morph", "network": "digits-cnn", "picture": "digits:7", "to": "2",
         "direction": "sign", "step_size": "0.0001"}  # fmt: skip

DOORS = ["events", "stream"]


def until(true: Callable[[], bool]) -> None:
    """Wait for what other threads are about to do."""
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.002)


def queued(served: Served, work: Callable[[Job], None], **more: Any) -> Job:
    """A job of a client of its own."""
    job = Job("test", f"client {time.monotonic()}", None, **more)
    served.studio.jobs.add(job, work)
    return job


def endless(job: Job) -> None:
    step = 0
    while True:
        job.check()
        job.tell("step", {"step": (step := step + 1)}, frames={"now": "p" * 2000})
        time.sleep(0.002)


class Reader:
    """A connection by hand, to be cut as a cable is."""

    def __init__(self, served: Served, job: Job, door: str = "events") -> None:
        place = urlsplit(served.url)
        assert place.hostname is not None
        assert place.port is not None
        self.socket = socket.create_connection((place.hostname, place.port))
        self.socket.sendall(
            f"GET /api/jobs/{job.id}/{door} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
        )
        self.heard = b""
        while b"event" not in self.heard.partition(b"\r\n\r\n")[2]:
            self.heard += self.socket.recv(65536)

    def cut(self) -> None:
        # With this the other side gets a reset, and no farewell.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@pytest.mark.parametrize("door", DOORS)
def test_a_vanished_reader_ends_the_job_and_leaves_nothing(served: Served, door: str) -> None:
    model = served.studio.networks.get("digits-cnn")
    module = model.module
    before = {key: value.clone() for key, value in module.state_dict().items()}

    def stands() -> list[Any]:
        return [
            (name, one.training, len(one._forward_hooks), len(one._forward_pre_hooks),
             len(one._backward_hooks), [weight.requires_grad for weight in one.parameters()])
            for name, one in module.named_modules()
        ]  # fmt: skip

    stood, threads = stands(), threading.active_count()
    asked = served.client.post("/api/jobs", json={**MORPH, "steps": 2000})
    job = served.studio.jobs.get(asked.json()["id"])
    assert job is not None
    reader = Reader(served, job, door)
    until(lambda: job.log.last > 5)
    assert job.log.readers == 1
    reader.cut()
    until(lambda: job.log.readers == 0)
    until(lambda: job.ended)
    assert job.state == "cancelled"
    assert job.log.last < 2000
    assert stands() == stood
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert threading.active_count() <= threads + 1  # the server's own for requests may be new
    # Who comes back later hears what happened.
    end = list(served.events(job.id))[-1]
    assert "the connection was lost for longer than a second" in end["problem"]


def test_a_job_without_events_is_cancelled_for_a_vanished_reader_too(served: Served) -> None:
    opened = threading.Event()

    def a_long_pass(job: Job) -> None:
        job.tell("begin", {})
        assert opened.wait(20)
        job.check()

    job = queued(served, a_long_pass)
    Reader(served, job).cut()
    until(job.cancelled)
    assert job.state == "running"
    opened.set()
    until(lambda: job.ended)
    assert job.state == "cancelled"


def test_a_reader_who_comes_back_finds_the_job_going_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The browser comes back long before anybody gives up on it.
    assert Bounds().patience / 2 > event_stream.RETRY / 1000
    jobs = served.studio.jobs
    monkeypatch.setattr(jobs, "bounds", Bounds(patience=3))
    job = queued(served, endless)
    reader = Reader(served, job)
    until(lambda: job.log.last > 10)
    reader.cut()
    until(lambda: job.log.readers == 0)
    again = served.events(job.id, after=4)
    assert [next(again)["id"] for _ in range(20)] == list(range(5, 25))
    assert not job.cancelled()
    again.close()  # type: ignore[attr-defined]
    jobs.cancel(job)
    until(lambda: job.ended)


@pytest.mark.parametrize("way", ["header", "query", "both"])
def test_a_reader_goes_on_where_it_was(served: Served, way: str) -> None:
    whole = served.job(**MORPH, steps=6)
    job = served.client.post("/api/jobs", json={**MORPH, "steps": 6}).json()["id"]
    whole = list(served.events(job))
    for after in range(len(whole)):
        # A browser that comes back sends the header to the address that it first asked.
        headers = {"Last-Event-ID": str(after)} if way != "query" else {}
        query = {"header": "", "query": f"?after={after}", "both": "?after=1"}[way]
        answer = served.client.get(f"/api/jobs/{job}/events{query}", headers=headers)
        ids = [int(line[4:]) for line in answer.text.splitlines() if line.startswith("id: ")]
        assert ids == [event["id"] for event in whole[after:]]
    headers = {"Last-Event-ID": str(len(whole))}
    answer = served.client.get(f"/api/jobs/{job}/events", headers=headers)
    assert answer.status_code == 204
    assert answer.content == b""


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("given", ["-1", "x", "1.5", "1e3", "99", "٣", "9" * 39, "1 or 1=1"])
def test_an_event_that_never_was_is_refused_in_words(served: Served, given: str, door: str) -> None:
    job = queued(served, lambda job: job.tell("begin", {}))
    until(lambda: job.ended)
    url = f"/api/jobs/{job.id}/{door}"
    answers = [served.client.get(url, params={"after": given})]
    if given.isascii() and door == "events":
        answers.append(served.client.get(url, headers={"Last-Event-ID": given}))
    for answer in answers:
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        detail = answer.json()["detail"]
        assert f"{given!r}; expected the number of one that the job told, from 0 to 2" in detail
    assert served.client.get(url, params={"after": "9" * 5000}).status_code == 422
    if door == "events":
        assert served.client.get(url, headers={"Last-Event-ID": "9" * 5000}).status_code == 422


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/events"),
        ("HEAD", "/events"),
        ("GET", "/files/a.png"),
        ("GET", "/stream"),
        ("HEAD", "/stream"),
    ],
)
def test_a_job_that_is_not_there(served: Served, method: str, rest: str) -> None:
    gone = queued(served, lambda job: None)
    until(lambda: gone.ended)
    del served.studio.jobs._jobs[gone.id]
    for job in ("never-was", gone.id):
        answer = served.client.request(method, f"/api/jobs/{job}{rest}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        if method != "HEAD":
            assert f"there is no job '{job}'" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("door", "media_type", "begins"),
    [
        ("events", "text/event-stream", f"retry: {event_stream.RETRY}\n\n".encode()),
        ("stream", "application/octet-stream", bytes(8)),
    ],
)
def test_the_stream_is_for_nobody_to_keep_or_hold_back(
    served: Served, door: str, media_type: str, begins: bytes
) -> None:
    job = queued(served, endless)
    url = f"/api/jobs/{job.id}/{door}"
    head = served.client.head(url)
    with served.client.stream("GET", url) as answer:
        first = next(answer.iter_raw())
    assert first.startswith(begins)
    for headers in (head.headers, answer.headers):
        assert headers["content-type"].startswith(media_type)
        assert "content-length" not in headers
        assert headers["cache-control"] == "no-store, no-transform"
        assert headers["x-accel-buffering"] == "no"
    assert head.status_code == 200
    assert head.content == b""
    served.studio.jobs.cancel(job)


def test_a_stream_with_nothing_to_say_shows_that_it_is_there(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE", 0.02)
    opened = threading.Event()
    job = queued(served, lambda job: opened.wait(20) and None)
    lines = 0
    with served.client.stream("GET", f"/api/jobs/{job.id}/events") as answer:
        for line in answer.iter_lines():
            lines += line == ": ping"
            if lines == 3:
                opened.set()
    assert lines >= 3


@pytest.mark.parametrize("door", DOORS)
def test_who_takes_nothing_any_more_is_gone(
    served: Served, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    monkeypatch.setattr(event_stream, "STALLED", 0.1)

    def much(job: Job) -> None:
        while True:
            job.check()
            job.tell("step", {}, frames={"now": "p" * 200_000})
            time.sleep(0.001)

    job = queued(served, much)
    reader = Reader(served, job, door)  # that reads no more from here on
    until(lambda: job.ended)
    assert job.state == "cancelled"
    reader.socket.close()


def test_fifty_readers_lose_nothing_that_matters(served: Served) -> None:
    begun = threading.Event()

    def work(job: Job) -> None:
        assert begun.wait(20)
        for step in range(120):
            matters = step % 10 == 0
            job.tell("winner" if matters else "step", {"step": step},
                     frames={"now": "p" * 1000}, matters=matters)  # fmt: skip

    job = queued(served, work, log=EventLog(most_frame_bytes=30_000))

    async def read(client: httpx.AsyncClient) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        async with client.stream("GET", f"{served.url}/api/jobs/{job.id}/events") as answer:
            name = ""
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    found.append((name, json.loads(line[6:])))
        return found

    async def all_read() -> list[list[tuple[str, Any]]]:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(limits=limits, timeout=20) as client:
            reading = [asyncio.ensure_future(read(client)) for _ in range(50)]
            while job.log.readers < 50:
                await asyncio.sleep(0.002)
            begun.set()
            return await asyncio.gather(*reading)

    for told in asyncio.run(all_read()):
        assert [data["step"] for _, data in told[:-1]] == list(range(120))
        assert all("frames" in data for name, data in told if name == "winner")
        assert told[-1] == ("end", {"state": "done", "notes": [], "files": []})
    assert job.log.readers == 0


def test_a_client_is_known_again_and_has_its_limit(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.studio.jobs, "bounds", Bounds(of_a_client=1, of_an_address=3))
    asked = {**MORPH, "steps": 2000, "unattended": True}
    with httpx.Client(base_url=served.url) as first, httpx.Client(base_url=served.url) as second:
        answers = [client.post("/api/jobs", json=asked) for client in (first, second)]
        # Neither had a cookie yet, so both were the address that they came from.
        assert [answer.status_code for answer in answers] == [201, 429]
        assert answers[1].headers["retry-after"] == "2"
        assert answers[1].headers["content-type"] == "application/problem+json"
        assert answers[1].json()["detail"] == (
            "you have 1 job under way; expected at most 1: wait for one, or stop one"
        )
        given = answers[0].headers["set-cookie"]
        assert "HttpOnly" in given
        assert "samesite=strict" in given.lower()
        assert "path" not in given.lower()
        more = first.post("/api/jobs", json=asked)
        assert more.status_code == 201
        assert "set-cookie" not in more.headers
        assert first.post("/api/jobs", json=asked).status_code == 429
        # Cookies that are made up are clients too, but all of them are one address.
        forged = [{"Cookie": f"{COOKIE}={letter * 22}"} for letter in "xyz"]
        codes = [second.post("/api/jobs", json=asked, headers=one).status_code for one in forged]
        assert codes == [201, 429, 429]
        odd = second.post("/api/jobs", json=asked, headers={"Cookie": f"{COOKIE}=../../etc"})
        assert odd.status_code == 429
        for job in (answers[0], more):
            cancelled = first.delete(f"/api/jobs/{job.json()['id']}")
            assert cancelled.status_code == 200
    for job in list(served.studio.jobs._jobs.values()):
        served.studio.jobs.cancel(job)
    until(lambda: all(job.ended for job in served.studio.jobs._jobs.values()))


def test_the_description_knows_the_events(served: Served) -> None:
    paths = served.client.get("/api/openapi.json").json()["paths"]
    one = "/api/jobs/{identifier}"
    stream = paths[f"{one}/events"]["get"]["responses"]["200"]
    for kind in KINDS:
        assert f"* `{kind.name}`: Tell " in stream["description"]
    # The events that every kind tells are as described.
    told = served.job(**MORPH, steps=2)
    known = stream["content"]["text/event-stream"]["itemSchema"]["anyOf"][:-1]
    schemas = {
        one["properties"]["event"]["const"]: one["properties"]["data"]["contentSchema"]
        for one in known
    }
    assert set(schemas) == {"queued", "progress", "end"}
    assert set(schemas["end"]["required"]) == {"state", "notes", "files"}
    assert End.model_validate(told[-1]).state == "done"


@pytest.mark.parametrize(
    "cookie", ["", "../../etc", "x" * 21, "x" * 23, "x" * 21 + "é", "x" * 5000]
)
def test_a_cookie_that_was_never_given_is_none(cookie: str) -> None:
    def asking(cookie: str) -> Request:
        headers = [(b"cookie", f"{COOKIE}={cookie}".encode("latin-1"))]
        return Request({"type": "http", "headers": headers, "client": ("10.0.0.7", 1)})

    assert client_of(asking(cookie)) == "address 10.0.0.7"
    assert client_of(asking("x" * 22)) == f"cookie {'x' * 22}"


def test_what_a_job_left_is_fetched(served: Served) -> None:
    def work(job: Job) -> None:
        job.leave("a.csv", "text/csv", lambda: b"1,2")

    job = queued(served, work)
    until(lambda: job.ended)
    url = f"/api/jobs/{job.id}"
    assert served.client.get(url).json() == {
        "id": job.id, "kind": "test", "state": "done", "files": ["a.csv"]
    }  # fmt: skip
    answer = served.client.get(f"{url}/files/a.csv")
    assert answer.content == b"1,2"
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="a.csv"'
    missing = served.client.get(f"{url}/files/b.csv")
    assert missing.status_code == 404
    assert missing.json()["detail"] == "the job left no file 'b.csv'; it left a.csv"

    def full() -> bytes:
        raise StorageError("cannot write /tmp/secret: the disk is full; give the command again")

    job.leave("c.gif", "image/gif", full)
    told = served.client.get(f"{url}/files/c.gif")
    assert told.status_code == 507
    assert "secret" not in told.text
    assert told.json()["detail"].startswith("c.gif cannot be made: ")


def test_a_closing_studio_ends_its_streams_and_its_server() -> None:
    studio = Studio(Networks({}), Pictures({"digits": lambda channels: load_images("digits")}))
    server = uvicorn.Server(uvicorn.Config(create_app(studio), port=0, log_level="error"))
    serving = threading.Thread(target=server.run, daemon=True)
    serving.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        served = Served(str(client.base_url), studio, client)
        opened = threading.Event()
        job = queued(served, lambda job: opened.wait(20) and None)
        told: list[dict[str, Any]] = []
        reading = threading.Thread(target=lambda: told.extend(served.events(job.id)))
        reading.start()
        until(lambda: job.log.readers == 1)
        # The server waits for open streams before it closes what it serves: who ends it closes
        # the studio first. The job is in the midst of a pass, and its reader does not wait for it.
        studio.jobs.close(timeout=0)
        reading.join(20)
        assert told[-1]["state"] == "cancelled"
        assert "was stopped" in told[-1]["problem"]
        refused = client.post("/api/jobs", json=MORPH)
        assert refused.status_code == 429
        opened.set()
    server.should_exit = True
    serving.join(20)
    assert not serving.is_alive()
