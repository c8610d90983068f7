"""The studio on a port of this machine, until it is told to stop.

The page is served at once; PyTorch and all that needs it come in a thread meanwhile, and requests
to the API wait for them. Then what the page asks for first is made ready, so that the first click
is answered like every later one.
"""

import asyncio
import errno
import gc
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.studio.faults import tell_refusal
from fluoroscope.studio.files_of_page import page
from fluoroscope.studio.guard.guard import ANY, Guard
from fluoroscope.studio.guard.token import Token

if TYPE_CHECKING:
    from fluoroscope.studio.studio import Studio

PORT = 8360
"""Where the studio is to be found unless that is taken."""
_TRIED = 40
"""Ports from the usual one on that are tried."""
_TO_ANSWER = 0.2
"""Seconds that requests have to be answered when the server ends."""
_TO_END = 2.0
"""Seconds that jobs have to end when the server does."""


@dataclass(frozen=True)
class Place:
    """The address that the studio is served at."""

    host: str
    port: int
    socket: socket.socket
    private: bool
    """It can be reached from this machine alone."""

    @property
    def name(self) -> str:
        """What browsers ask for: of all addresses of this machine its name."""
        return socket.gethostname() if self.host in ANY else self.host

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{f'[{self.name}]' if ':' in self.name else self.name}:{self.port}/"


def find_place(host: str, port: int | None) -> Place:
    """Take the port, or the usual one or the next that is free.

    Raises:
        InvalidParameterError: it is taken, or this machine has no such address.
    """
    for candidate in [port] if port is not None else range(PORT, PORT + _TRIED):
        try:
            bound = _bound(host, candidate)
        except OSError as problem:
            if port is None and not isinstance(problem, socket.gaierror) and _taken(problem):
                continue
            raise InvalidParameterError(_unusable(host, candidate, problem)) from problem
        address, found = bound.getsockname()[:2]
        return Place(host, found, bound, ip_address(address).is_loopback)
    raise InvalidParameterError(
        f"the ports {PORT} to {PORT + _TRIED - 1} are all taken; expected a free one: give port"
    )


def serve(
    place: Place,
    make: "Callable[[], Studio]",
    *,
    token: Token | None = None,
    proxies: Sequence[str] = (),
    started: Callable[[], None] = lambda: None,
    browser: bool = True,
) -> None:
    """Serve a studio until a signal says to stop.

    Args:
        place: where.
        make: makes it, in a thread; the page is served meanwhile.
        token: what clients must know.
        proxies: names by which browsers ask proxies for it.
        started: called once there is a page.
        browser: open the page, where there is a screen.
    """
    application = _Coming(make)
    hosts = (place.host, place.name)
    config = uvicorn.Config(
        Guard(application, hosts=hosts, proxies=proxies, token=token),
        lifespan="off",
        log_config=None,
        log_level="critical",  # what goes wrong the guard tells
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        ws="none",
    )
    server = _Server(config, application, started, place.url if browser else None)
    with closing(place.socket):
        server.run([place.socket])
    if application.problem is not None:
        raise application.problem


class _Server(uvicorn.Server):
    """Ends at the first signal, whoever is still listening."""

    def __init__(
        self, config: uvicorn.Config, application: "_Coming", started: Callable[[], None],
        opened: str | None,
    ) -> None:  # fmt: skip
        super().__init__(config)
        self._application, self._told, self._opened = application, started, opened

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told()
        self._application.come(self._give_up)
        if self._opened is not None and _has_screen():
            threading.Thread(target=webbrowser.open, args=(self._opened,), daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = threading.Thread(target=self._application.close, daemon=True)
        ending.start()
        asyncio.get_running_loop().call_later(_TO_ANSWER, self._refuse)
        await super().shutdown(sockets)
        await asyncio.to_thread(ending.join, _TO_END)

    def _refuse(self) -> None:
        for task in list(self.server_state.tasks):
            task.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.force_exit = True

    def _give_up(self) -> None:
        self.should_exit = self.force_exit = True


class _Coming:
    """The application before it is there: the page at once, all else as soon as it can be."""

    def __init__(self, make: "Callable[[], Studio]") -> None:
        self.problem: BaseException | None = None
        self._make = make
        self._page = page()
        self._studio: Studio | None = None
        self._there: Future[ASGIApp] = Future()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._there.done() and not scope["path"].startswith("/api/"):
            await self._page(scope, receive, send)
            return
        application = await asyncio.shield(asyncio.wrap_future(self._there))
        await application(scope, receive, send)

    def come(self, give_up: Callable[[], None]) -> None:
        """Begin to make it, in a thread."""

        def work() -> None:
            gc.disable()  # of all that is being imported nothing is garbage
            try:
                from fluoroscope.studio.app import create_app

                self._studio = self._make()
                self._there.set_result(create_app(self._studio))
            except BaseException as problem:
                self.problem = problem
                self._there.cancel()
                give_up()
                return
            finally:
                gc.freeze()  # nor is it looked through again while pictures are streamed
                gc.enable()
            try:
                self._studio.warm_up()
            except FluoroscopeError as problem:
                tell_refusal(problem)
            except BaseException:
                pass  # of a network's own code; whoever asks for it is told what is wrong

        threading.Thread(target=work, name="studio-coming", daemon=True).start()

    def close(self) -> None:
        """End what runs."""
        if self._studio is not None:
            self._studio.close()


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere this would share the port with another program
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except BaseException:
        made.close()
        raise
    return made


def _taken(problem: OSError) -> bool:
    return problem.errno in (errno.EADDRINUSE, errno.EACCES)


def _unusable(host: str, port: int, problem: OSError) -> str:
    if not isinstance(problem, socket.gaierror) and _taken(problem):
        return f"port {port} is taken or not allowed; expected a free one, such as {PORT + 1}"
    return (
        f"host is {host!r}, which this machine cannot be reached at ({problem.strerror}); expected "
        "127.0.0.1, or an address of this machine such as 0.0.0.0"
    )


def _has_screen() -> bool:
    """Whether a browser would have somewhere to open a window."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
