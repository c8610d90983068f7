"""The one loop over a network: an attack asks, the engine evaluates, the attack is told.

An attack is a small state machine whose state is a dataclass of tensors with the samples as first
dimension. So the engine can drop the samples that are done from the batch without the attack
knowing, and evaluates no image whose answer nobody needs.
"""

from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, fields, replace
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.objectives import Objective
from fluoroscope.models.classifier import Classifier


class State(Protocol):
    """What an attack keeps for each sample: a dataclass of tensors, samples first."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def done(self) -> Tensor:
        """``(n,)`` booleans: the samples that need no further answer."""


S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Query:
    """What an attack wants to know of ``n`` images."""

    images: Tensor
    gradient: bool


class Attack(Protocol[S]):
    """A search over images: only its mathematics, no loop."""

    @property
    def objective(self) -> Objective:
        """The number it raises."""

    def start(self, images: Tensor) -> S:
        """The state of a fresh search from images ``(n, C, H, W)``."""

    def ask(self, state: S) -> Query:
        """The images to evaluate next, one for each sample."""

    def tell(self, state: S, answer: Answer) -> S:
        """The state after the network's answer."""


@dataclass(frozen=True)
class Step:
    """One evaluation of the samples that are still under way."""

    number: int
    """Updates that lie behind these images; 0 is the start."""
    indices: Tensor
    """``(n,)``, which samples of the batch these are."""
    images: Tensor
    """``(n, C, H, W)``"""
    answer: Answer
    """The network's answer at these images."""
    done: Tensor
    """``(n,)`` booleans: the samples for which this is the last step."""


@dataclass(frozen=True)
class Outcome:
    """Where a search ended, for every sample of the batch."""

    images: Tensor
    """``(N, C, H, W)``, the last image of each sample."""
    logits: Tensor
    """``(N, classes)`` at those images."""
    forwards: Tensor
    """``(N,)``, images of the sample that went through the network."""
    backwards: Tensor
    """``(N,)``, gradients computed for the sample."""


def stream(
    model: Classifier,
    attack: Attack[S],
    images: Tensor,
    classes: Tensor,
    *,
    until: Callable[[Answer, Tensor], Tensor] | None = None,
) -> Iterator[Step]:
    """Drive an attack and yield each step; drop the iterator at any time to stop.

    Args:
        model: the network under study.
        attack: the search.
        images: ``(N, C, H, W)`` in ``[0, 1]``, where it starts.
        classes: ``(N,)``, the class its objective speaks of.
        until: from an answer and the classes ``(n,)``, which samples have got what was wanted.
    """
    state = attack.start(images)
    indices = torch.arange(len(images), device=images.device)
    number = 0
    while len(indices):
        query = attack.ask(state)
        answer = evaluate(
            model, query.images, classes[indices], attack.objective, gradient=query.gradient
        )
        state = attack.tell(state, answer)
        done = state.done
        if until is not None:
            done = done | until(answer, classes[indices])
        yield Step(number, indices, query.images, answer, done)
        number += 1
        if bool(done.any()):
            going = (~done).nonzero().squeeze(1)
            state, indices = take(state, going), indices[going]


def run(
    model: Classifier,
    attack: Attack[S],
    images: Tensor,
    classes: Tensor,
    *,
    until: Callable[[Answer, Tensor], Tensor] | None = None,
) -> Outcome:
    """Drain :func:`stream` and keep the end of every sample."""
    final = images.detach().clone()
    forwards = torch.zeros(len(images), dtype=torch.long, device=images.device)
    backwards = torch.zeros_like(forwards)
    logits: Tensor | None = None
    for step in stream(model, attack, images, classes, until=until):
        forwards[step.indices] += 1
        backwards[step.indices] += step.answer.gradient is not None
        ended = step.indices[step.done]
        final[ended] = step.images[step.done]
        if logits is None:
            logits = step.answer.logits.new_empty(len(images), step.answer.logits.shape[1])
        logits[ended] = step.answer.logits[step.done]
    assert logits is not None, "a batch of images has at least one"
    return Outcome(final, logits, forwards, backwards)


def take(state: S, indices: Tensor) -> S:
    """The state of some of the samples: every field, indexed along its first dimension."""
    values = {field.name: getattr(state, field.name)[indices] for field in fields(state)}
    return replace(state, **values)
