"""When memory runs out, and how not to ask the system for the same memory again and again."""

import ctypes
import sys

from fluoroscope.models.passes import out_of_memory as out_of_memory
from fluoroscope.notices import tell


def warn_smaller_batch(size: int, smaller: int) -> None:
    """Say that the work goes on with fewer images at once."""
    tell(
        f"memory ran out with {size} images at once; going on with {smaller} "
        f"(give batch_size={smaller} to start there)",
        stacklevel=2,
    )


def fewer_at_once(problem: Exception, asked: int) -> int:
    """How many images to go on with where so many were too many, which is said.

    Raises:
        Exception: the problem itself, if it is another, or there was but one image.
    """
    if asked < 2 or not out_of_memory(problem):
        raise problem
    warn_smaller_batch(asked, asked // 2)
    return asked // 2


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next step; whether that could be arranged.

    On Linux the C library gives large pieces back to the system as soon as they are freed and must
    have them cleared anew: of a small network's step on the processor a quarter of the time. It
    holds for the whole process and cannot be undone, so the command line asks for it and a library
    call never does; the process then stays as large as it once was.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, map_threshold, most = -1, -3, 2**25  # of glibc's malloc.h
    try:
        change = ctypes.CDLL(None).mallopt
        return bool(change(trim_threshold, 2**31 - 1)) and bool(change(map_threshold, most))
    except (AttributeError, OSError):  # another C library
        return False
