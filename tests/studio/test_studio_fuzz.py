"""Whatever clients send, the server answers the next one and another client's job ends well."""

import random
import socket
from collections.abc import Iterator
from typing import Any

import httpx

from tests.studio.conftest import Served

_ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, 2**64, "", "\0", "\x1b[2J", "../../etc/passwd", "<script>"),
    *("digits:7", "digits:99999", "kept:x", "step:x:1", "digits-cnn", "é" * 500, "nan", "8/255"),
    *([], {}, [[[]]], {"a": {"b": []}}),
)
_FIELDS = (
    *("kind", "network", "picture", "to", "eps", "steps", "methods", "class", "attack", "classes"),
    *("seed", "layer", "other", "preset", "norm", "pixels", "random", "unattended"),
)
_KINDS = ("morph", "attack", "attribution", "units", "portrait", "samples", "nothing")
_DOORS = (
    *("jobs", "predictions", "pictures", "pictures/kept", "networks", "studio", "network"),
    *("samples", "samples/wrong", "jobs/x", "jobs/x/events", "jobs/x/files/y", "pictures/png"),
    *("jobs/..%2f..", "docs", "openapi.json", "%00", "jobs/x/report"),
)


def _asked(draw: random.Random) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests that are nearly right, and others."""
    for _ in range(160):
        body = {field: draw.choice(_ODD) for field in draw.sample(_FIELDS, 4)}
        body |= {"kind": draw.choice(_KINDS)} if draw.random() < 0.7 else {}
        body |= {"network": "digits-linear"} if draw.random() < 0.7 else {}
        method = draw.choice(("GET", "POST", "DELETE", "PUT", "HEAD"))
        how: dict[str, Any] = {"json": body}
        if draw.random() < 0.3:
            how = {"content": draw.randbytes(draw.randrange(2000))}
        headers = {"Last-Event-ID": draw.choice(("-1", "x", "9" * 30)), "Cookie": "a=\x7f;;=;b"}
        odd = {key: str(draw.choice(_ODD)) for key in ("name", "network", "data", "offset")}
        yield method, f"/api/{draw.choice(_DOORS)}", {**how, "headers": headers, "params": odd}


def test_nothing_that_is_sent_brings_anything_down(served: Served) -> None:
    asked = {"kind": "morph", "network": "digits-cnn", "picture": "digits:7", "to": "2",
             "eps": "0.3", "steps": 200, "unattended": True}  # fmt: skip
    job = served.client.post("/api/jobs", json=asked).json()["id"]
    seen: set[int] = set()
    for method, path, how in _asked(random.Random(0)):
        answer = served.client.request(method, path, **how)
        seen.add(answer.status_code)
        assert answer.status_code < 500, (method, path, how, answer.text)
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]
        if answer.status_code == 201 and "kind" in answer.json():
            served.client.delete(f"/api/jobs/{answer.json()['id']}")
    assert {200, 404, 405, 422} <= seen
    told = list(served.events(job))
    assert told[-1]["state"] == "done"
    assert sum(event["event"] in ("step", "winner") for event in told) == 201


def test_what_is_no_http_closes_its_own_connection_alone(served: Served) -> None:
    url = httpx.URL(served.url)
    draw = random.Random(1)
    begun = f"POST /api/jobs HTTP/1.1\r\nHost: {url.host}\r\n".encode()
    pieces = [
        draw.randbytes(500),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        begun + b"Content-Length: -5\r\n\r\n",
        begun + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        begun + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n{",
        begun + b"Content-Length: 100\r\n\r\n{",
    ]
    for sent in pieces:
        with socket.create_connection((url.host, url.port or 80), timeout=5) as raw:
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
    assert served.client.get("/api/studio").status_code == 200
