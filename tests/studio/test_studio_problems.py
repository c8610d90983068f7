"""Every refusal is problem details with one sentence in plain words, whatever was asked."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from fluoroscope.errors import HubUnreachableError, InvalidParameterError, MissingExtraError
from fluoroscope.studio import faults
from fluoroscope.studio.guard.guard import Guard
from fluoroscope.studio.refusals.problems import BusyError, tell_problems
from tests.studio.conftest import Served

MORPH = {"kind": "morph", "network": "digits-cnn", "picture": "digits:7", "to": "2"}
JSON = {"Content-Type": "application/json"}


def refused(answer: httpx.Response, status: int) -> str:
    """The sentence of a refusal with this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found.keys() == {"type", "title", "status", "detail"}
    assert found["status"] == status
    # The words of no library that checks for us.
    for jargon in ("Input should", "Field required", "literal_error", "body.", "Traceback"):
        assert jargon not in found["detail"]
    return str(found["detail"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"steps": "many"}, 'steps is "many"; expected a whole number'),
        ({"steps": 1.5}, "steps is 1.5; expected a whole number"),
        ({"direction": "up"}, "direction is \"up\"; expected 'sign', 'normalized' or 'raw'"),
        ({"unattended": "maybe"}, 'unattended is "maybe"; expected true or false'),
        ({"stop_at": "nan"}, 'stop_at is "nan"; expected a number that is finite'),
        ({"network": 3}, "network is 3; expected text"),
        ({"network": "n" * 301}, "network has 301 characters; expected at most 300"),
        ({"colour": 1}, "colour is not known here; leave it out"),
        (
            {"seed": -1, "steps": 0},
            "seed is -1; expected at least 0; steps is 0; expected at least 1",
        ),
        ({"eps": ["8"] * 99}, "eps is [" + '"8", ' * 11 + '"8",…; expected text'),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named(
    served: Served, given: dict[str, Any], sentence: str
) -> None:
    assert refused(served.client.post("/api/jobs", json=MORPH | given), 422) == sentence


def test_requests_that_are_none(served: Served) -> None:
    post = served.client.post
    without = {key: value for key, value in MORPH.items() if key != "kind"}
    assert "kind is missing" in refused(post("/api/jobs", json=without), 422)
    assert "'morph'" in refused(post("/api/jobs", json=MORPH | {"kind": "x"}), 422)
    assert "picture is missing" in refused(
        post("/api/jobs", json={"kind": "morph", "network": "digits-cnn"}), 422
    )
    assert "expected a JSON object" in refused(post("/api/jobs", json=[1]), 422)
    assert "has no body" in refused(post("/api/jobs"), 422)
    # Halves of signs, which JSON may hold and UTF-8 may not.
    half = chr(0xD800)
    for given in ({"kind": half}, {"to": half}, {half: 1}, {"network": half, "picture": half}):
        body = json.dumps(MORPH | given).encode()
        refused(post("/api/jobs", content=body, headers=JSON), 422)
        refused(post("/api/predictions", content=body, headers=JSON), 422)
    assert refused(served.client.get("/api/network?name=%ED%A0%80"), 404)
    odd = {"Last-Event-ID": "\udcff".encode(errors="surrogateescape")}
    assert refused(served.client.get("/api/jobs/%ED%A0%80/events", headers=odd), 404)
    assert "no JSON" in refused(post("/api/jobs", content=b"{", headers=JSON), 422)
    for body in (b"\xff", b"[" * 100_000):
        assert "cannot be read" in refused(post("/api/jobs", content=body, headers=JSON), 400)
    plain = {"Content-Type": "text/plain"}
    assert "'text/plain'" in refused(post("/api/jobs", content=b"{}", headers=plain), 415)
    large = refused(post("/api/jobs", content=bytes(3 * 2**20)), 413)
    assert large == "the request has more than 2 MiB; expected at most so many: send less"


@pytest.mark.parametrize(
    ("status", "given", "said"),
    [
        (404, {"network": "digits-cmn"}, "the network 'digits-cmn' is not on offer"),
        (404, {"picture": "photos:1"}, "the data set 'photos' is not on offer"),
        (404, {"picture": "digits:1797"}, "expected digits:0 to digits:1796"),
        (404, {"picture": "digits:first"}, "there is no picture 'digits:first'"),
        (404, {"picture": "seven"}, "there is no picture 'seven'"),
        (404, {"picture": "kept:gone"}, "'kept:gone' is not kept any more"),
        (404, {"picture": "step:gone:3"}, "there is no job 'gone'"),
        (404, {"kind": "units", "to": None, "other": "kept:gone"}, "not kept any more"),
        (404, {"kind": "attack", "to": None, "attack": "fgsm", "others": "x"}, "set 'x' is not"),
        (422, {"to": "eleven"}, "eleven"),
        (422, {"eps": "8/x"}, "eps is '8/x'"),
        (422, {"step_size": "-1"}, "step_size is '-1'"),
        (422, {"kind": "attack", "attack": "fgsm|pdg"}, "there is no attack 'pdg'"),
        (
            422,
            {"kind": "attribution", "to": None, "methods": ["gradeint"]},
            "no attribution method",
        ),
        (422, {"kind": "portrait", "to": None, "classes": ["2"], "preset": "x"}, "no preset 'x'"),
        (422, {"kind": "report", "to": None, "picture": None, "threat": "linf:8"}, "8/255"),
    ],
)
def test_names_of_nothing_are_refused_before_there_is_a_job(
    served: Served, status: int, given: dict[str, Any], said: str
) -> None:
    # Classes and places are known once the network and the data are there.
    about = {"network": "digits-cnn", "data": "digits"}
    assert served.client.get("/api/samples", params=about).status_code == 200
    asked = {key: value for key, value in (MORPH | given).items() if value is not None}
    assert said in refused(served.client.post("/api/jobs", json=asked), status)


def test_places_and_methods_that_are_none(served: Served) -> None:
    assert "nothing at /api/nothing" in refused(served.client.get("/api/nothing"), 404)
    assert "nothing at /api/nothing" in refused(served.client.post("/api/nothing"), 404)
    assert "no page /nothing" in refused(served.client.get("/nothing"), 404)
    assert "no page" in refused(served.client.get("/%2e%2e/%2e%2e/etc/passwd"), 404)
    for method, path, allowed in (
        ("POST", "/api/studio", "GET"),
        ("GET", "/api/jobs", "POST"),
        ("PUT", "/api/jobs/1", "DELETE, GET"),
    ):
        answer = served.client.request(method, path)
        assert f"takes no {method}" in refused(answer, 405)
        assert answer.headers["allow"] == allowed
    assert "expected GET" in refused(served.client.post("/"), 405)
    assert "no job" in refused(served.client.get("/api/jobs/none"), 404)
    unknown = served.client.get("/api/network", params={"name": "<b>none</b>"})
    assert "'<b>none</b>' is not on offer" in refused(unknown, 404)


def test_each_error_of_ours_has_its_status_and_a_fault_is_told_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "_told", set())
    errors: dict[str, BaseException] = {
        "422": InvalidParameterError("steps is 0"),
        "424": HubUnreachableError("no hub"),
        "424b": MissingExtraError("no timm"),
        "422b": SystemExit(3),
        "422c": KeyboardInterrupt(),
        "429": BusyError("busy"),
        "507": MemoryError(),
        "500": ZeroDivisionError("[red]secret[/] \x1b[31m"),
    }
    app = FastAPI()
    tell_problems(app)

    @app.get("/api/{name}")
    async def door(name: str) -> None:
        raise errors[name]

    async def ask() -> dict[str, httpx.Response]:
        transport = httpx.ASGITransport(Guard(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.get("/api/500")
            return {name: await client.get(f"/api/{name}") for name in errors}

    for name, answer in asyncio.run(ask()).items():
        words = refused(answer, int(name[:3]))
        said = {"422b": "raised SystemExit, which ends programs", "500": "mistake of its own",
                "422c": "raised KeyboardInterrupt", "507": "not enough memory"}  # fmt: skip
        assert said[name] in words if name in said else words == str(errors[name])
        assert ("retry-after" in answer.headers) is (name == "429")
    told = capsys.readouterr().err
    assert told.count("ZeroDivisionError: [red]secret[/]  [31m") == 1
    assert "\x1b" not in told
