"""Short work beside the jobs: in threads of its own number, so that it never waits for them.

Who asks for more than a lane takes waits on the event loop, where waiting costs nothing; the
server's other threads stay free.
"""

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread

T = TypeVar("T")


class Lane:
    """So many threads."""

    def __init__(self, threads: int) -> None:
        self._limiter = anyio.CapacityLimiter(threads)

    async def run(self, work: Callable[[], T]) -> T:
        """What the work gives, done in one of them when one is free."""
        return await to_thread.run_sync(work, limiter=self._limiter)
