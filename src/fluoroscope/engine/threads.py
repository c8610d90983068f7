"""How many processor threads one evaluation gets."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# Up to this many threads, handing the slices of one picture round costs more than it saves: a
# MobileNet at 224×224 forward and backward takes 37 ms on one thread and about 50 ms on two.
# With more threads than this nothing was measured, and PyTorch's own choice stands.
_FEW_THREADS = 4


@contextmanager
def suitable_threads(images: Tensor) -> Iterator[None]:
    """One thread for a single picture on a small machine; restored after the block."""
    threads = torch.get_num_threads()
    if len(images) > 1 or images.device.type != "cpu" or not 1 < threads <= _FEW_THREADS:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
