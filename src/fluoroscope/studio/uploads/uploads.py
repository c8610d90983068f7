"""Pictures that clients bring: bytes of strangers become tensors, in a process that may fail.

What they are is seen by their first bytes, and how large by their header, before anything is
decoded. The decoding is done by a child (``decoding.py``) with bounds on memory and time, which
stays for the next picture and is made anew when it has ended.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, Any

import torch
from torch import Tensor

from fluoroscope.errors import PictureError
from fluoroscope.notices import tell_all
from fluoroscope.studio.refusals.problems import BusyError
from fluoroscope.studio.uploads.decoding import MOST_BYTES, kind_of, pack, unpack

SECONDS = 10.0
"""What decoding one picture may take."""
_WAITING = 4
"""Pictures that wait for the one that is being decoded."""


class Decoder:
    """The child process, begun when it is first needed."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        self._room = threading.BoundedSemaphore(_WAITING + 1)

    def decode(self, data: bytes) -> Tensor:
        """See :func:`decode`."""
        if not data:
            raise PictureError("the picture is empty (0 bytes); expected a picture file")
        if len(data) > MOST_BYTES:
            raise PictureError(
                f"the picture has {len(data) / 2**20:.1f} MiB; expected at most "
                f"{MOST_BYTES // 2**20}: make it smaller first"
            )
        kind_of(data)
        if not self._room.acquire(blocking=False):
            raise BusyError("several pictures are being read already; try again in a moment")
        try:
            with self._turn:
                header, values = self._ask(data)
        finally:
            self._room.release()
        if "problem" in header:
            raise PictureError(header["problem"])
        tell_all(header["notes"], stacklevel=3)
        return torch.frombuffer(values, dtype=torch.float32).view(header["shape"])

    def begin(self) -> None:
        """Start the child, so that the first picture need not wait for it."""
        with self._turn:
            self._there()

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                with suppress(OSError):  # what it was not given any more
                    _pipe(pipe).close()

    def _ask(self, data: bytes) -> tuple[dict[str, Any], bytearray]:
        child = self._there()
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        watch = threading.Timer(self._seconds, end)
        watch.daemon = True
        watch.start()
        try:
            pack(_pipe(child.stdin), data)
            header = json.loads(unpack(_pipe(child.stdout)))
            values = unpack(_pipe(child.stdout))
        except (OSError, EOFError, ValueError):
            self.close()
            why = f"takes longer than {self._seconds:g} s" if late.is_set() else "ends its decoder"
            raise PictureError(
                f"the picture cannot be read: it {why}; expected a whole picture file: save it "
                "again, or smaller"
            ) from None
        finally:
            watch.cancel()
        return header, values

    def _there(self) -> "subprocess.Popen[bytes]":
        if self._child is None or self._child.poll() is not None:
            self.close()
            # -P: what lies in the working directory is not imported.
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "fluoroscope.studio.uploads.decoding"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # a Ctrl-C is not meant for it
            )
        return self._child


def decode(data: bytes) -> Tensor:
    """A picture file's bytes as ``(3, H, W)`` float32 in ``[0, 1]``, as :func:`.read_picture` says.

    PNG, JPEG, WebP, GIF (its first frame) and BMP. One with a side of more than 2048 pixels is
    averaged down, which is told as a notice.

    Raises:
        PictureError: no picture of these formats, too large, damaged, or more than the decoder can
            bear.
        BusyError: too many others are waiting.
    """
    return _decoder.decode(data)


def begin() -> None:
    """Make ready for the first picture."""
    _decoder.begin()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


_decoder = Decoder()
atexit.register(_decoder.close)
