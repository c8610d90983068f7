"""Short work beside the jobs: in threads of its own number, so that it never waits for them.

Who asks for more than a lane takes waits on the event loop, where waiting costs nothing; the
server's other threads stay free.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial, wraps
from threading import Thread
from typing import ParamSpec, TypeVar

import anyio

P = ParamSpec("P")
T = TypeVar("T")


class Lane:
    """So many threads."""

    def __init__(self, threads: int) -> None:
        self._limiter = anyio.CapacityLimiter(threads)

    async def run(self, work: Callable[[], T]) -> T:
        """What the work gives, done in one of them when one is free."""
        async with self._limiter:
            done: Future[T] = Future()
            done.set_running_or_notify_cancel()
            # Nobody waits for it when the studio ends, however long a stranger's network takes.
            run = copy_context().run
            Thread(target=run, args=(_do, work, done), name="studio-lane", daemon=True).start()
            return await asyncio.wrap_future(done)

    def door(self, work: Callable[P, T]) -> Callable[P, Awaitable[T]]:
        """A door whose work is done in this lane."""

        @wraps(work)
        async def opened(*given: P.args, **named: P.kwargs) -> T:
            return await self.run(partial(work, *given, **named))

        return opened


def _do(work: Callable[[], T], done: "Future[T]") -> None:
    try:
        done.set_result(work())
    except BaseException as problem:
        done.set_exception(problem)
