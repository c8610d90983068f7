"""Numbers to raise that depend on what layers make of an image, beside its logits.

An :class:`Inside` is handed to :func:`~fluoroscope.engine.evaluate.evaluate` in place of an
objective. Its slopes are taken at the logits and at the layers, and all of them go back to the
pixels in one pass.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Place(NamedTuple):
    """Where in a network something is read."""

    layer: str
    """By its name in ``model.module.named_modules()``."""
    given: bool = False
    """What the layer is given, in place of what it gives out."""
    call: int | None = None
    """Which use of it in a pass counts, from 0; ``None`` is the last."""

    def __str__(self) -> str:
        return f"{self.layer} (input)" if self.given else self.layer


@dataclass(frozen=True)
class Seen:
    """What a network makes of ``N`` images; everything can be differentiated."""

    logits: Tensor
    """``(N, K)``, in the widest type of the device."""
    classes: Tensor
    """``(N,)``, as :func:`evaluate` was given them."""
    outputs: Mapping[Place, Tensor]
    """What was read at each place, ``(N, ...)``, float32 or float64."""


@dataclass(frozen=True)
class Inside:
    """Several numbers for each image, whose sum is to be raised."""

    name: str
    places: tuple[Place, ...]
    """Where it reads; nothing else is in :attr:`Seen.outputs`."""
    function: Callable[[Seen], Tensor]
    """Gives ``(N, T)``: one column for each term. A term may look at several images at once."""
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    """What the network runs inside, such as a mode that gives operations another way back."""

    def __call__(self, seen: Seen) -> Tensor:
        return self.function(seen)

    def __str__(self) -> str:
        return self.name
