"""The stream whose pictures are bytes: it says what the server-sent events say."""

import base64
import json
import threading
from struct import unpack_from
from typing import Any

import pytest

from fluoroscope.studio.doors import event_stream
from fluoroscope.studio.jobs.job import Job
from tests.studio.conftest import Served

JOBS: dict[str, dict[str, Any]] = {
    "morph": {"to": "2", "steps": 6},
    "attack": {"attack": "pgd", "eps": "0.1", "steps": 4},
    "attribution": {"methods": ["gradient", "smoothgrad"], "random": True},
    "units": {},
    "portrait": {"classes": ["3"], "preset": "pixels", "steps": 3},
}


def apart(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """The messages of a stream with the pixels of their frames, and how many were empty."""
    told, empty, at = [], 0, 0
    while at < len(content):
        head, pixels = unpack_from("<II", content, at)
        at += 8
        if head == pixels == 0:
            empty += 1
            continue
        message = json.loads(content[at : at + head])
        lying = content[at + head : at + head + pixels]
        at += head + pixels
        message["data"] = filled(message["data"], lying)
        told.append(message)
    assert at == len(content)
    return told, empty


def filled(value: Any, lying: bytes) -> Any:
    """The same with the bytes of pictures where only their places are."""
    if isinstance(value, list):
        return [filled(one, lying) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: filled(one, lying) for name, one in value.items()}
    if isinstance(found.get("pixels"), list):
        begin, count = found["pixels"]
        assert 0 <= begin <= begin + count <= len(lying)
        found["pixels"] = lying[begin : begin + count]
    return found


def decoded(value: Any) -> Any:
    """What server-sent events said, with pictures as bytes."""
    if isinstance(value, list):
        return [decoded(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: base64.b64decode(one) if name == "pixels" else decoded(one)
            for name, one in value.items()}  # fmt: skip


def asked(served: Served, job: str, after: int = 0) -> list[dict[str, Any]]:
    """What a job that ended says after one of its events."""
    answer = served.client.get(f"/api/jobs/{job}/stream", params={"after": after})
    assert answer.status_code == (200 if answer.content else 204)
    return apart(answer.content)[0]


@pytest.mark.parametrize("kind", JOBS)
def test_it_says_the_same_as_events_after_any_of_them(served: Served, kind: str) -> None:
    request = {"kind": kind, "network": "digits-cnn", "picture": "digits:7", **JOBS[kind]}
    answer = served.client.post("/api/jobs", json=request)
    assert answer.status_code == 201, answer.text
    job = answer.json()["id"]
    expected = [
        {"id": one.pop("id"), "event": one.pop("event"), "data": decoded(one)}
        for one in served.events(job)
    ]
    assert expected[-1]["data"]["state"] == "done"
    assert sum("frames" in one["data"] for one in expected) > 0
    for after in range(len(expected) + 1):
        assert asked(served, job, after) == expected[after:]


def test_pictures_lie_behind_their_numbers_as_bytes(served: Served) -> None:
    frames = {
        "now": {"width": 2, "height": 1, "channels": 1, "pixels": b"\x00\xff"},
        "all": [{"width": 1, "height": 1, "channels": 3, "pixels": b'"\\\n'}, {"pixels": b""}],
    }
    job = Job("test", "bytes", None)
    served.studio.jobs.add(job, lambda job: job.tell("step", {"é": 1}, frames=frames))
    step, end = asked(served, job.id)
    assert step == {"id": 1, "event": "step", "data": {"é": 1, "frames": frames}}
    assert end["event"] == "end"
    content = served.client.get(f"/api/jobs/{job.id}/stream").content
    assert b'\x00\xff"\\\n' in content


def test_while_nothing_is_told_empty_messages_come(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE", 0.02)
    opened = threading.Event()
    job = Job("test", "silent", None)

    def say_nothing(_: Job) -> None:
        assert opened.wait(20)

    served.studio.jobs.add(job, say_nothing)
    content = b""
    with served.client.stream("GET", f"/api/jobs/{job.id}/stream") as answer:
        for piece in answer.iter_raw():
            content += piece
            if len(content) >= 4 * 8:
                opened.set()
    told, empty = apart(content)
    assert empty >= 4
    assert [one["event"] for one in told] == ["end"]
