"""One job: what was asked for, how it stands, what it has told and what it left to be fetched."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import Any, Literal

from torch import Tensor

from fluoroscope.studio.jobs.log import EventLog

State = Literal["queued", "running", "done", "cancelled", "failed"]


class Cancelled(BaseException):
    """Raised through the work of a job that is to end; no ``except Exception`` stops it."""


@dataclass(frozen=True)
class Leftover:
    """A file that a job left to be fetched, made when it first is."""

    media_type: str
    make: Callable[[], bytes]


@dataclass
class Job:
    """The record that clients see, and the handle that the work itself is given."""

    kind: str
    client: str
    request: Any
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "queued"
    log: EventLog = field(default_factory=EventLog)
    files: dict[str, Leftover] = field(default_factory=dict)
    picture_at: Callable[[int], Tensor] | None = None
    """The exact picture ``(C, H, W)`` of a step, for jobs that move one."""
    unattended: bool = False
    """It goes on though nobody reads it."""
    read_at: float = field(default_factory=time.monotonic)
    """When it last was seen to have a reader."""
    was_read: bool = False
    _stop: Flag = field(default_factory=Flag)

    def cancel(self) -> None:
        """It ends at its next step."""
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
        """Tell how much is done, ``share`` from 0 to 1, and end here if it is to."""
        self.check()
        self.tell("progress", {"share": share, "doing": doing})

    def leave(self, name: str, media_type: str, make: Callable[[], bytes]) -> None:
        """Leave a file to be fetched as ``files/NAME``."""
        self.files[name] = Leftover(media_type, make)
