"""How many processor threads one evaluation gets."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from fluoroscope.process import one_thread, usual_threads

# Up to this many threads, handing the slices of one picture round costs more than it saves: a
# MobileNet at 224×224 forward and backward takes 37 ms on one thread and about 50 ms on two.
# With more threads than this nothing was measured, and PyTorch's own choice stands.
_FEW_THREADS = 4


@contextmanager
def suitable_threads(images: Tensor) -> Iterator[None]:
    """One thread for a single picture on a small machine; restored after the block."""
    if len(images) > 1 or images.device.type != "cpu" or not 1 < usual_threads() <= _FEW_THREADS:
        yield
        return
    with one_thread():
        yield
