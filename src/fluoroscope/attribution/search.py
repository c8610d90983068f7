"""A method over pictures, on the one loop: the maps are picked up as pictures finish."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from fluoroscope.attribution.method import Found, Method
from fluoroscope.attribution.rules.mode import Coverage
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.first_look import first_look
from fluoroscope.engine.stream import (
    DEFAULT_BATCH,
    Attack,
    Query,
    Samples,
    Step,
    feed,
    stream,
    take,
)
from fluoroscope.models.classifier import Classifier


@dataclass(frozen=True)
class Explained:
    """The maps of ``N`` pictures, and what they cost."""

    method: Method
    """The method, with what was settled for the network."""
    maps: Tensor
    """``(N, C, H, W)`` or ``(N, 1, H, W)``, in the network's type, on the CPU."""
    values: Tensor
    """``(N,)`` float64, the number each map explains, or NaN."""
    error: Tensor
    """``(N,)`` float64, how far each map is from the method's promise, or NaN."""
    forwards: Tensor
    """``(N,)``, images that went through the network for each picture."""
    backwards: Tensor
    """``(N,)``, gradients computed for each."""
    coverage: Coverage | None
    """What the rules covered, of a method that has any; of one evaluation."""


@torch.inference_mode(False)  # what is made under it could not be written to later
def explain(
    model: Classifier,
    method: Method,
    images: Tensor,
    classes: Tensor,
    *,
    seed: int = 0,
    numbers: Tensor | None = None,
    batch_size: int = DEFAULT_BATCH,
    on_step: Callable[[Step], None] | None = None,
    on_share: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Explained | None:
    """Explain images ``(N, C, H, W)`` on the network's device; ``None`` if it was cancelled.

    ``classes`` are ``(N,)`` or pairs ``(N, 2)``. ``numbers`` ``(N,)`` say which pictures of a data
    set these are, on which their randomness depends; by default 0 and up.
    """
    first_look(model.plain, images)  # at the network as it is, not under rules
    network = method.network(model.plain, images, seed)
    method = method.on(network, images)
    search = _Search(method, len(images))
    steps = stream(
        network,
        cast(Attack[Any], search),
        feed(images, classes, seed=seed, numbers=numbers),
        batch_size=batch_size,
    )
    forwards = torch.zeros(len(images), dtype=torch.long, device=images.device)
    backwards = torch.zeros_like(forwards)
    with model.held():
        for step in steps:
            last = step.ends()
            forwards[last.indices] = last.forwards
            backwards[last.indices] = last.backwards
            if on_step is not None:
                on_step(step)
            if on_share is not None:
                on_share(float(search.behind.mean()))
            if cancelled is not None and cancelled():
                return None
    found = search.found
    assert found is not None
    return Explained(
        method=method,
        maps=found.maps,
        values=found.values,
        error=found.error,
        forwards=forwards.cpu() + search.aside[:, 0],
        backwards=backwards.cpu() + search.aside[:, 1],
        coverage=getattr(network, "coverage", None),
    )


class _Search:
    """The method as a search, whose maps are kept when a picture is done."""

    apart: ClassVar[bool] = True

    def __init__(self, method: Method, count: int) -> None:
        self._method, self._count = method, count
        self.behind = torch.zeros(count, dtype=torch.double, device="cpu")
        self.aside = torch.zeros(count, 2, dtype=torch.long, device="cpu")
        self.found: Found | None = None

    def start(self, samples: Samples) -> Any:
        """The method's."""
        return self._method.start(samples)

    def ask_within(self, state: Any, room: int) -> Query:
        """The method's."""
        return self._method.ask_within(state, room)

    def tell_all(self, state: Any, query: Query, answer: Answer) -> Any:
        """The method's; whoever is done is put with the others that are."""
        state = self._method.tell_all(state, query, answer)
        self.behind[state.samples.indices.cpu()] = self._method.behind(state).double().cpu()
        rows = state.done.nonzero().squeeze(1)
        if len(rows):
            made = take(state, rows)
            self._keep(made.samples.indices.cpu(), self._method.finish(made), state.samples.images)
        return state

    def _keep(self, indices: Tensor, found: Found, like: Tensor) -> None:
        parts = (found.maps.to(like.dtype).cpu(), found.values.cpu(), found.error.cpu())
        if self.found is None:
            self.found = Found(*(part.new_zeros(self._count, *part.shape[1:]) for part in parts))
        for kept, part in zip(
            (self.found.maps, self.found.values, self.found.error), parts, strict=True
        ):
            kept[indices] = part
        if found.aside is not None:
            self.aside[indices] = found.aside.cpu()
