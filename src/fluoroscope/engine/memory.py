"""When memory runs out: how it shows, and how it is said."""

import warnings

import torch

from fluoroscope.errors import FluoroscopeWarning


def out_of_memory(problem: RuntimeError) -> bool:
    """Whether this is how a device, or the processor's allocator, says that memory ran out."""
    return isinstance(problem, torch.OutOfMemoryError) or "can't allocate memory" in str(problem)


def warn_smaller_batch(size: int, smaller: int) -> None:
    """Say that the work goes on with fewer images at once."""
    warnings.warn(
        f"memory ran out with {size} images at once; going on with {smaller} "
        f"(give batch_size={smaller} to start there)",
        FluoroscopeWarning,
        stacklevel=2,
    )
