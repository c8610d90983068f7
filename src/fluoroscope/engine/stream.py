"""The one loop over a network: an attack asks, the engine evaluates, the attack is told.

An attack is a small state machine whose state is a dataclass of tensors with the samples as first
dimension. So the engine can keep its batch full: when a sample is done, its slot goes to the next
sample of the data, as inference servers do with continuous batching. The attack does not know, and
writes no line for early stopping, restarts, budgets, counting or chance.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import Field, dataclass, fields, replace
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from fluoroscope.engine import chance
from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.objectives import MARGIN, Objective, Several
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier

DEFAULT_BATCH = 128


@dataclass(frozen=True)
class Samples:
    """What searches start from; every field has the samples as first dimension."""

    images: Tensor
    """``(n, C, H, W)`` in ``[0, 1]``."""
    classes: Tensor
    """``(n,)``, the class the search speaks of: the true one, or the wanted one."""
    towards: Tensor
    """``(n,)``, 1 where the class is wanted, -1 where it is to be left."""
    indices: Tensor
    """``(n,)``, which sample of the data each is; its chance hangs on it."""
    keys: Tensor
    """``(n,)``, what the sample's random numbers are hashed from; another for each restart."""
    restart: Tensor
    """``(n,)``, searches of the sample that lie behind; 0 is its first."""


class State(Protocol):
    """What an attack keeps for each sample: a dataclass of tensors, samples first."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def done(self) -> Tensor:
        """``(n,)`` booleans: the samples whose search has come to its own end."""


D = TypeVar("D", bound="Rows")
S = TypeVar("S", bound=State)


class Rows(Protocol):
    """A dataclass of tensors that share their first dimension."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@dataclass(frozen=True)
class Query:
    """What an attack wants to know of ``n`` images, one for each sample."""

    images: Tensor
    """``(n, C, H, W)``"""
    gradient: bool
    """Whether the objective's gradient at the pixels is wanted, or the logits will do."""
    objective: Objective
    """The number to raise."""
    classes: Tensor
    """What the objective is given beside the logits: mostly the samples' classes."""
    several: Several | None = None
    """Several numbers for each image whose gradients are wanted, at one pass back for each."""


class Attack(Protocol[S]):
    """A search over images: only its mathematics, no loop."""

    def start(self, samples: Samples) -> S:
        """The state of fresh searches."""

    def ask(self, state: S) -> Query:
        """The images to evaluate next, one for each sample."""

    def tell(self, state: S, answer: Answer) -> S:
        """The state after the network's answer."""


@dataclass(frozen=True)
class Budget:
    """What one sample may cost over all restarts, and the whole may take; ``None`` is no bound."""

    forwards: int | None = None
    backwards: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                raise InvalidParameterError(f"{field.name} is {value}; expected more than 0")


@dataclass(frozen=True)
class Step:
    """One evaluation of the samples that are under way."""

    indices: Tensor
    """``(n,)``, which samples of the data these are."""
    numbers: Tensor
    """``(n,)``, evaluations that lie behind each in this restart; 0 is the start."""
    images: Tensor
    """``(n, C, H, W)``"""
    answer: Answer
    """The network's answer at these images."""
    reached: Tensor
    """``(n,)`` booleans: what was wanted is so at these images."""
    done: Tensor
    """``(n,)`` booleans: the samples for which this is the last step."""
    forwards: Tensor
    """``(n,)``, images of the sample that went through the network so far."""
    backwards: Tensor
    """``(n,)``, gradients computed for the sample so far."""


@dataclass(frozen=True)
class _Slots:
    """The engine's own books on the samples under way."""

    samples: Samples
    number: Tensor
    forwards: Tensor
    backwards: Tensor


Reached = Callable[[Answer, Samples, Tensor], Tensor]
"""From an answer, the samples, and the images it is of: who has what was wanted, ``(n,)``."""


def feed(
    images: Tensor, classes: Tensor, *, targeted: bool = False, seed: int = 0
) -> Iterator[Samples]:
    """A batch in memory as single samples for :func:`stream`, numbered from 0."""
    indices = torch.arange(len(images), device=images.device)
    towards = torch.full((len(images),), 1.0 if targeted else -1.0, device=images.device)
    keys, restart = chance.keys(seed, indices), torch.zeros_like(indices)
    everything = Samples(images, classes, towards, indices, keys, restart)
    return (take(everything, row) for row in indices.split(1))


def is_reached(answer: Answer, classes: Tensor, towards: Tensor, confidence: float = 0.0) -> Tensor:
    """Read as the wanted class, or no longer as the one to leave; by a lead of ``confidence``."""
    reached = (answer.logits.argmax(1) == classes) == (towards > 0)
    if confidence > 0:
        reached &= MARGIN(answer.logits, classes) * towards >= confidence
    return reached


def stream(
    model: Classifier,
    attack: Attack[S],
    samples: Iterable[Samples],
    *,
    until: Reached | None = None,
    restarts: int = 1,
    batch_size: int = DEFAULT_BATCH,
    budget: Budget | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """Drive an attack over samples and yield each step; drop the iterator at any time to stop.

    Args:
        model: the network under study.
        attack: the search.
        samples: read one after the other as slots become free, so memory does not grow with them.
        until: what ends a sample's search; without it every search runs to its own end.
        restarts: how often a search that ended without ``until`` is begun, each with other chance.
        batch_size: slots; the batch is full until the data run out, and then holds who is left.
        budget: what one sample may cost, and the whole may take.
        seed: for the chance of restarts.
    """
    limits = budget or Budget()
    started = time.monotonic()
    waiting = iter(samples)
    slots = _fresh(_next(waiting, batch_size))
    if slots is None:
        return
    state = attack.start(slots.samples)
    while True:
        query = attack.ask(state)
        answer = evaluate(
            model, query.images, query.classes, query.objective,
            gradient=query.gradient, several=query.several,
        )  # fmt: skip
        state = attack.tell(state, answer)
        slots = replace(
            slots,
            forwards=slots.forwards + 1,
            backwards=slots.backwards + query.gradient + _columns(answer),
        )
        reached = torch.zeros_like(state.done)
        if until is not None:
            reached = until(answer, slots.samples, query.images)
        spent = _spent(slots, limits, started)
        again = state.done & ~reached & ~spent & (slots.samples.restart + 1 < restarts)
        done = reached | spent | (state.done & ~again)
        yield Step(
            slots.samples.indices,
            slots.number,
            query.images,
            answer,
            reached,
            done,
            slots.forwards,
            slots.backwards,
        )
        slots = replace(slots, number=slots.number + 1)
        if bool(again.any()):
            rows = again.nonzero().squeeze(1)
            begun = _restarted(take(slots, rows), seed)
            slots, state = put(slots, rows, begun), put(state, rows, attack.start(begun.samples))
        if bool(done.any()):
            free = done.nonzero().squeeze(1)
            new = None
            if limits.seconds is None or time.monotonic() - started < limits.seconds:
                new = _fresh(_next(waiting, len(free)))
            if new is not None:
                rows = free[: len(new.number)]
                free = free[len(new.number) :]
                slots, state = put(slots, rows, new), put(state, rows, attack.start(new.samples))
            if len(free):
                left = torch.ones_like(done)
                left[free] = False
                rows = left.nonzero().squeeze(1)
                if not len(rows):
                    return
                slots, state = take(slots, rows), take(state, rows)


def take(rows: D, indices: Tensor) -> D:
    """Some of the rows: every field, indexed along its first dimension."""
    return replace(rows, **{name: part(value, indices) for name, value in _values(rows)})


def put(rows: D, indices: Tensor, new: D) -> D:
    """The rows with some of them replaced."""
    values = dict(_values(new))
    return replace(
        rows, **{name: _put(value, indices, values[name]) for name, value in _values(rows)}
    )


def part(value: Any, indices: Tensor) -> Any:
    """Rows of a tensor, or of every tensor in a dataclass."""
    return value[indices] if isinstance(value, Tensor) else take(value, indices)


def _put(value: Any, indices: Tensor, new: Any) -> Any:
    if isinstance(value, Tensor):
        return value.index_copy(0, indices, new.to(value.dtype))
    return put(value, indices, new)


def _values(rows: Rows) -> list[tuple[str, Any]]:
    return [(field.name, getattr(rows, field.name)) for field in fields(rows)]


def _columns(answer: Answer) -> int:
    return 0 if answer.several is None else answer.several.shape[1]


def _next(waiting: Iterator[Samples], count: int) -> Samples | None:
    found: list[Samples] = []
    room = count
    while room > 0 and (one := next(waiting, None)) is not None:
        found.append(one)
        room -= len(one.indices)
    return _cat(found) if found else None


def _cat(found: list[Samples]) -> Samples:
    columns = {f.name: torch.cat([getattr(one, f.name) for one in found]) for f in fields(Samples)}
    return Samples(**columns)


def _fresh(samples: Samples | None) -> _Slots | None:
    if samples is None:
        return None
    zero = torch.zeros_like(samples.indices)
    return _Slots(samples, zero, zero, zero)


def _restarted(slots: _Slots, seed: int) -> _Slots:
    restart = slots.samples.restart + 1
    keys = chance.keys(seed, slots.samples.indices, restart)
    return replace(
        slots,
        samples=replace(slots.samples, keys=keys, restart=restart),
        number=torch.zeros_like(slots.number),
    )


def _spent(slots: _Slots, limits: Budget, started: float) -> Tensor:
    spent = torch.zeros_like(slots.number, dtype=torch.bool)
    if limits.forwards is not None:
        spent |= slots.forwards >= limits.forwards
    if limits.backwards is not None:
        spent |= slots.backwards >= limits.backwards
    if limits.seconds is not None and time.monotonic() - started >= limits.seconds:
        spent |= True
    return spent
