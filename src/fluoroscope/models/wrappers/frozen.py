"""Hold a module still for input work, and give it back exactly as it was.

Inside, every submodule is in evaluation mode and no parameter collects gradients, which saves about
a third of a backward pass. Holds nest and may overlap between threads: the first one in saves the
flags and the last one out restores them.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import nn


@dataclass
class _Hold:
    training: list[nn.Module]
    trainable: list[nn.Parameter]
    depth: int = 0


_holds: "WeakKeyDictionary[nn.Module, _Hold]" = WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no parameter gradients inside the block; everything restored after it."""
    with _lock:
        hold = _holds.get(module)
        if hold is None:
            # The flag is set by hand: train() may be overridden and do more than set it.
            hold = _Hold(
                training=[part for part in module.modules() if part.training],
                trainable=[weight for weight in module.parameters() if weight.requires_grad],
            )
            for part in hold.training:
                part.training = False
            for weight in hold.trainable:
                weight.requires_grad_(False)
            _holds[module] = hold
        hold.depth += 1
    try:
        yield
    finally:
        with _lock:
            hold.depth -= 1
            if hold.depth == 0:
                for part in hold.training:
                    part.training = True
                for weight in hold.trainable:
                    weight.requires_grad_(True)
                del _holds[module]
