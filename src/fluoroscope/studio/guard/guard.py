"""The one door that every request passes before the page or the API sees it.

It knows who is asked for (``Host``: no other site can have a name of its own lead here), who asks
(``Origin`` and ``Sec-Fetch-Site``: no page of another site gets anything), whether the token is
there (``token.py``), and how much may be sent; and it gives every answer the headers that say what
browsers may do with it.
"""

import asyncio
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fluoroscope.studio.faults import tell_fault
from fluoroscope.studio.guard.token import Token
from fluoroscope.studio.refusals.problems import FAULT, problem
from fluoroscope.studio.uploads.decoding import MOST_BYTES

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""The names of this machine, which nobody else's lead to."""
ANY = frozenset({"0.0.0.0", "::"})
"""Hosts that stand for every address of this machine."""
MOST_OF_A_BODY = 2 * 2**20
"""Bytes of a request; an uploaded picture may have more."""
MOST_OF_ALL = 96 * 2**20
"""Bytes of all requests that are under way."""
PATIENCE = 30.0
"""Seconds to wait for more of a request that was begun."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""What the page may load: itself, and pictures that it made."""


_STOPPED = "the studio was stopped before it could answer; start it again"
_ENDS = (
    "the network's own code raised {}, which ends programs; expected one that answers: mend it, or "
    "choose another network"
)


class Guard:
    """An ASGI application around another."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str] = (),
        proxies: Iterable[str] = (),
        token: Token | None = None,
    ) -> None:
        """
        Args:
            app: what is guarded.
            hosts: names and addresses by which the studio may be asked for, beside those of this
                machine itself; one of ``ANY`` stands for every numeric address.
            proxies: names by which browsers ask proxies for it; these may ask by another.
            token: what clients must know.
        """
        self._app = app
        self._proxies = frozenset(name.lower() for name in proxies)
        self._hosts = LOOPBACK | {host.lower() for host in hosts} | self._proxies
        self._token = token
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers)
        if answer is None and self._token is not None:
            answer = self._token.answer(scope, headers)
        body, out = _Body(self, scope, headers, receive), _Answer(scope, send)
        try:
            if answer is None and body.told > body.most:
                answer = problem(413, too_large(body.most))
            await (answer or self._app)(scope, body.receive, out.send)
        except HTTPException as refusal:
            if not out.begun:
                said = problem(
                    refusal.status_code, str(refusal.detail), dict(refusal.headers or {})
                )
                await said(scope, receive, out.send)
        except asyncio.CancelledError:  # the server ends
            if not out.begun:
                await problem(503, _STOPPED)(scope, receive, out.send)
        except (SystemExit, KeyboardInterrupt) as error:  # in a thread of ours no signal raises it
            if not out.begun:
                await problem(422, _ENDS.format(type(error).__name__))(scope, receive, out.send)
        except Exception as error:
            # Here all faults arrive; neither the server nor another request falls with one.
            tell_fault(f"asked for {scope['method']} {scope['path']}", error)
            if not out.begun:
                await problem(500, FAULT)(scope, receive, out.send)
        finally:
            self._held -= body.held

    def hold(self, count: int) -> None:
        """Another so many bytes are in memory.

        Raises:
            HTTPException: of all clients together they would be too many.
        """
        if self._held + count > MOST_OF_ALL:
            raise HTTPException(
                429, "too much is being sent at once; try again in a moment", {"Retry-After": "2"}
            )
        self._held += count

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._served(hosts[0]):
            asked = hosts[0][:100] if hosts else ""
            return problem(
                421,
                f"the studio was asked for as {asked!r}; expected the address that its command "
                "printed: where a proxy asks by another name, start it with --allow-host NAME",
            )
        # Pages and what they load are nothing that another site could read or change.
        safe = scope["method"] in ("GET", "HEAD")
        if safe and not scope["path"].startswith("/api/"):
            return None
        site = headers.get("sec-fetch-site", "none")
        origins = headers.getlist("origin")
        ours = all(self._own(origin, hosts[0]) for origin in origins)
        if site not in ("same-origin", "none") or not ours:
            return problem(
                403,
                "the request comes from a page of another site; expected one of the studio's own: "
                "open it at the address that its command printed",
            )
        return None

    def _served(self, host: str) -> bool:
        name = _name(host)
        if name is None:
            return False
        return name in self._hosts or bool(ANY & self._hosts and _is_address(name))

    def _own(self, origin: str, host: str) -> bool:
        """Whether a page of that origin came from here, by the name that was asked for, or by one
        that browsers ask a proxy by.
        """
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https"):
            return False
        if parts.netloc.lower() == host.lower():
            return True
        return _name(parts.netloc) in self._proxies


class _Body:
    """What a request brings, counted while it comes."""

    def __init__(self, guard: Guard, scope: Scope, headers: Headers, receive: Receive) -> None:
        self._guard, self._receive = guard, receive
        picture = scope["method"] == "POST" and scope["path"] == "/api/pictures"
        self.most = MOST_BYTES if picture else MOST_OF_A_BODY
        length = headers.get("content-length", "0")
        self.told = int(length) if length.isascii() and length.isdecimal() else 0
        self.held = 0
        self._whole = False

    async def receive(self) -> Message:
        """The next of it.

        Raises:
            HTTPException: it is too much, or nothing comes.
        """
        if self._whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), PATIENCE)
        except TimeoutError:
            raise HTTPException(408, "the request was begun and not ended; send it again") from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            self._guard.hold(size)
            self.held += size
            if self.held > self.most:
                raise HTTPException(413, too_large(self.most))
        return message


def too_large(most: int) -> str:
    """The sentence for a request that is."""
    return f"the request has more than {most // 2**20} MiB; expected at most so many: send less"


class _Answer:
    """What goes out, with the headers of every answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._path, self._send = scope["path"], send
        self.begun = False

    async def send(self, message: Message) -> None:
        """Send a part of it."""
        if message["type"] == "http.response.start":
            self.begun = True
            self._complete(MutableHeaders(scope=message))
        await self._send(message)

    def _complete(self, headers: MutableHeaders) -> None:
        headers.setdefault("Content-Security-Policy", POLICY)  # a report has one of its own
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        # What is kept is asked for again; what the API says is not kept at all.
        kept = "no-store" if self._path.startswith("/api/") else "no-cache"
        headers.setdefault("Cache-Control", kept)


def _name(host: str) -> str | None:
    """The name of ``NAME:PORT``, ``NAME`` or ``[ADDRESS]:PORT``; ``None`` of what is none."""
    if any(sign in host for sign in "@/\\?# \t,"):
        return None
    try:
        parts: Any = urlsplit(f"//{host}")
        _ = parts.port  # a port that is none
    except ValueError:
        return None
    return (parts.hostname or "").removesuffix(".") or None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
