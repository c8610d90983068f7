"""One job: what was asked for, how it stands, what it has told and what it left to be fetched."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, Literal

from fluoroscope.studio.jobs.files import Leftover
from fluoroscope.studio.jobs.log import EventLog

if TYPE_CHECKING:
    from torch import Tensor

State = Literal["queued", "running", "done", "cancelled", "failed"]

_BETWEEN = 0.05
"""Seconds between two events of progress that say the same but for the share."""


class Cancelled(BaseException):
    """Raised through the work of a job that is to end; no ``except Exception`` stops it."""


@dataclass(eq=False)
class Job:
    """The record that clients see, and the handle that the work itself is given.

    Its ``state`` is set by the queue only.
    """

    kind: str
    client: str
    request: Any
    address: str = ""
    """Where the client is: the limit for one address holds for all its clients together."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "queued"
    log: EventLog = field(default_factory=EventLog)
    files: dict[str, Leftover] = field(default_factory=dict)
    picture_at: "Callable[[int], Tensor] | None" = None
    """The exact picture ``(C, H, W)`` of a step, for jobs that move one."""
    unattended: bool = False
    """It goes on though nobody reads it."""
    conclusion: dict[str, Any] = field(default_factory=dict)
    """What its ``end`` says beside the state, the notes and the files."""
    why: str = ""
    """Why it was cancelled, where its reader cannot know."""
    _stop: Flag = field(default_factory=Flag)
    _held: int = 0
    _progress: tuple[str, float] = ("", 0.0)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state not in ("queued", "running")

    @property
    def size(self) -> int:
        """Bytes that it takes of memory: events, files, and what it said that it holds."""
        return self.log.size + self._held + sum(one.size for one in list(self.files.values()))

    def cancel(self, why: str = "") -> None:
        """It ends at its next step."""
        if not self._stop.is_set():
            self.why = why
            self._stop.set()

    def cancelled(self) -> bool:
        """Whether it is to end; what the library's ``cancelled=`` asks."""
        return self._stop.is_set()

    def check(self, *_: object) -> None:
        """End here if it is to; fits wherever the library calls ``on_step`` or ``on_share``."""
        if self._stop.is_set():
            raise Cancelled

    def tell(
        self,
        name: str,
        data: dict[str, Any],
        *,
        frames: dict[str, Any] | None = None,
        matters: bool = False,
    ) -> None:
        """Tell those who read it; see :meth:`.EventLog.tell`."""
        self.log.tell(name, data, frames=frames, matters=matters)

    def progress(self, share: float, doing: str = "") -> None:
        """Tell how much is done, ``share`` from 0 to 1, and end here if it is to.

        However often it is called: readers are told some twenty times a second, and of whatever
        it does next.
        """
        self.check()
        now = time.monotonic()
        said, at = self._progress
        if doing == said and now - at < _BETWEEN and share < 1:
            return
        self._progress = doing, now
        self.tell("progress", {"share": share, "doing": doing})

    def conclude(self, **said: Any) -> None:
        """Say what came of it, such as its ``summary``: a part of ``end``, if it comes so far."""
        self.conclusion |= said

    def hold(self, count: int) -> None:
        """Say that it keeps so many bytes more for as long as it is kept, beside its files."""
        self._held += count

    def leave(
        self, name: str, media_type: str, make: Callable[[], bytes] | bytes, *, holds: int = 0
    ) -> None:
        """Leave a file to be fetched as ``files/NAME``: its bytes, or what makes them.

        ``make`` is called once, when somebody first asks; ``holds`` are the bytes that it keeps in
        memory until then.
        """
        self.files[name] = Leftover(media_type, make, holds)
