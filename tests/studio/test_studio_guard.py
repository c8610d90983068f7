"""Nobody but whoever may gets past the guard, and nobody sends more than may be sent."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fluoroscope.errors import InvalidParameterError
from fluoroscope.studio.guard import guard as guarding
from fluoroscope.studio.guard.guard import Guard
from fluoroscope.studio.guard.token import Token, make_token
from tests.studio.conftest import Served

SECRET = "a-token-that-nobody-guesses"
HERE = "http://127.0.0.1:8360"


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how much it was sent; a report has a policy of its own."""
    if scope["path"].endswith("/report"):
        own = {"Content-Security-Policy": "sandbox"}
        await PlainTextResponse("", headers=own)(scope, receive, send)
        return
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def ask(app: ASGIApp, method: str, url: str, **how: Any) -> httpx.Response:
    """What it answers, asked in this process."""

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            return await client.request(method, url, **how)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("host", "hosts", "served"),
    [
        ("127.0.0.1:8360", (), True),
        ("localhost", (), True),
        ("LocalHost.:1", (), True),
        ("[::1]:8360", (), True),
        ("evil.example", (), False),
        ("127.0.0.1.evil.example", (), False),
        ("localhost.evil.example:8360", (), False),
        ("evil.example@localhost", (), False),
        ("localhost/evil.example", (), False),
        ("localhost:evil", (), False),
        ("", (), False),
        ("192.168.1.5:8360", (), False),
        ("192.168.1.5:8360", ("192.168.1.5",), True),
        ("192.168.1.5", ("0.0.0.0",), True),
        ("[fe80::1]", ("::",), True),
        ("evil.example", ("0.0.0.0",), False),
        ("Lab.Example", ("lab.example",), True),
    ],
)
def test_only_names_that_are_served_are_answered(
    host: str, hosts: tuple[str, ...], served: bool
) -> None:
    for path in ("/", "/api/studio"):
        answer = ask(Guard(inner, hosts=hosts), "GET", path, headers={"Host": host})
        assert (answer.status_code == 200) is served
        if not served:
            assert answer.status_code == 421
            assert "expected the address that its command printed" in answer.json()["detail"]


def test_two_hosts_are_none() -> None:
    headers = [("Host", "localhost"), ("Host", "localhost")]
    assert ask(Guard(inner), "GET", "/", headers=headers).status_code == 421


@pytest.mark.parametrize(
    ("headers", "proxies", "served"),
    [
        ({}, (), True),
        ({"Origin": HERE}, (), True),
        ({"Sec-Fetch-Site": "same-origin"}, (), True),
        ({"Sec-Fetch-Site": "none"}, (), True),
        ({"Origin": "http://127.0.0.1:8361"}, (), False),
        ({"Origin": "http://localhost:8360"}, (), False),
        ({"Origin": "null"}, (), False),
        ({"Origin": ""}, (), False),
        ({"Origin": "https://evil.example"}, (), False),
        ({"Origin": "http://127.0.0.1:8360.evil.example"}, (), False),
        ({"Origin": "file://127.0.0.1:8360"}, (), False),
        ({"Sec-Fetch-Site": "cross-site"}, (), False),
        ({"Sec-Fetch-Site": "same-site"}, (), False),
        ({"Origin": HERE, "Sec-Fetch-Site": "cross-site"}, (), False),
        ({"Origin": "https://hub.example"}, ("hub.example",), True),
        ({"Origin": "https://other.example"}, ("hub.example",), False),
    ],
)
def test_pages_of_other_sites_get_nothing_of_the_api(
    headers: dict[str, str], proxies: tuple[str, ...], served: bool
) -> None:
    app = Guard(inner, proxies=proxies)
    for method, path in (
        ("POST", "/api/jobs"),
        ("DELETE", "/api/jobs/1"),
        ("GET", "/api/jobs/1/events"),
        ("POST", "/"),
    ):
        answer = ask(app, method, path, headers=headers)
        assert (answer.status_code, served) in ((200, True), (403, False))
        if not served:
            assert "a page of another site" in answer.json()["detail"]
    # The page itself may be led to from anywhere.
    assert ask(app, "GET", "/", headers=headers).status_code == 200


def test_a_token_is_asked_for_and_kept_in_a_cookie_that_no_script_reads() -> None:
    app = Guard(inner, token=Token(SECRET, 8360))
    for path in ("/", "/index.html", "/assets/studio.js"):
        lost = ask(app, "GET", path)
        assert lost.status_code == 401
        assert "open the link that its command printed" in lost.text
    lost = ask(app, "GET", "/api/studio")
    assert lost.status_code == 401
    assert lost.headers["content-type"] == "application/problem+json"
    let_in = ask(app, "GET", f"/?to=2&token={SECRET}&by=sign")
    assert let_in.status_code == 303
    assert let_in.headers["location"] == "./?to=2&by=sign"
    cookie = let_in.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie)
    assert not [part for part in cookie if part.startswith(("Path", "Domain"))]
    assert SECRET not in let_in.headers["set-cookie"]
    kept = {"Cookie": cookie[0]}
    assert ask(app, "POST", "/api/jobs", headers=kept).status_code == 200
    bearer = {"Authorization": f"bearer {SECRET}"}
    assert ask(app, "POST", "/api/jobs", headers=bearer).status_code == 200
    # A cookie does not make up for a page of another site.
    foreign = {**kept, "Origin": "https://evil.example"}
    assert ask(app, "POST", "/api/jobs", headers=foreign).status_code == 403


def test_a_link_from_elsewhere_leads_on_by_a_page_of_ours() -> None:
    """A redirect after another site's link would come without the new cookie."""
    app = Guard(inner, token=Token(SECRET, 8360))
    headers = {"Sec-Fetch-Site": "cross-site"}
    led = ask(app, "GET", f'/?token={SECRET}&to=">', headers=headers)
    assert led.status_code == 200
    assert '<meta http-equiv="refresh" content="0;url=./?to=%22%3E">' in led.text
    assert "set-cookie" in led.headers
    assert SECRET not in led.text


@pytest.mark.parametrize("given", ["", SECRET[:-1], SECRET + "x", SECRET[:8], SECRET.upper(), "é"])
def test_nearly_the_token_is_not_the_token(given: str) -> None:
    app = Guard(inner, token=Token(SECRET, 8360))
    assert ask(app, "GET", "/", params={"token": given}).status_code == 401
    for header in ({"Authorization": f"Bearer {given}".encode()},
                   {"Cookie": f"fluoroscope-8360={given}".encode()}):  # fmt: skip
        assert ask(app, "GET", "/api/studio", headers=header).status_code == 401
    # Neither is the token the cookie.
    own = {"Cookie": f"fluoroscope-8360={SECRET}"}
    assert ask(app, "GET", "/api/studio", headers=own).status_code == 401


def test_a_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_TOKEN", SECRET)
    assert make_token("STUDIO_TOKEN", 8360).words == SECRET
    assert len({make_token(None, 8360).words for _ in range(3)}) == 3
    assert len(make_token(None, 8360).words) >= 40
    monkeypatch.setenv("STUDIO_TOKEN", "short")
    with pytest.raises(InvalidParameterError, match="5 characters; expected at least 16"):
        make_token("STUDIO_TOKEN", 8360)
    with pytest.raises(InvalidParameterError, match="NOT_THERE is not set"):
        make_token("NOT_THERE", 8360)


def test_bodies_are_bounded_while_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "MOST_OF_A_BODY", 1000)
    read = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(50):
            read += 100
            yield bytes(100)

    app = Guard(inner)
    assert ask(app, "POST", "/api/jobs", content=bytes(1000)).text == "1000"
    assert ask(app, "POST", "/api/jobs", content=bytes(1001)).status_code == 413
    many = ask(app, "POST", "/api/jobs", content=parts())
    assert many.status_code == 413
    assert read <= 1100  # the rest was never asked for
    # Pictures may be larger, but nobody's requests together.
    assert ask(app, "POST", "/api/pictures", content=bytes(5000)).text == "5000"
    monkeypatch.setattr(guarding, "MOST_OF_ALL", 4000)
    assert ask(app, "POST", "/api/pictures", content=bytes(5000)).status_code == 429
    assert app._held == 0
    assert ask(app, "POST", "/api/pictures", content=bytes(4000)).text == "4000"


def test_what_is_begun_and_not_ended_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "PATIENCE", 0.01)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    answer = ask(Guard(inner), "POST", "/api/jobs", content=slow())
    assert answer.status_code == 408
    assert "not ended" in answer.json()["detail"]


def test_every_answer_says_what_browsers_may_do_with_it(served: Served) -> None:
    for path in ("/", "/api/studio", "/api/nothing", "/nothing"):
        headers = served.client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
    refused = served.client.get("/", headers={"Host": "evil.example"}).headers
    assert "default-src 'none'" in refused["content-security-policy"]
    own = ask(Guard(inner), "GET", "/api/jobs/1/report").headers
    assert own["content-security-policy"] == "sandbox"
