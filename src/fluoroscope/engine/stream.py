"""The one loop over a network: an attack asks, the engine evaluates, the attack is told.

An attack is a small state machine whose state is a dataclass of tensors with the samples as first
dimension. So the engine can keep its batch full: when a sample is done, its slot goes to the next
sample of the data, as inference servers do with continuous batching. The attack does not know, and
writes no line for early stopping, restarts, budgets, counting or randomness.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.engine.bookmark import Bookmark, UnusableBookmarkError
from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.grid import snap
from fluoroscope.engine.inside import Inside
from fluoroscope.engine.memory import out_of_memory, warn_smaller_batch
from fluoroscope.engine.numbers import as_seconds, whole_number
from fluoroscope.engine.objectives import MARGIN, Objective, Several
from fluoroscope.engine.threats import Threat
from fluoroscope.engine.vectors import crowd
from fluoroscope.models.classifier import Classifier

DEFAULT_BATCH = 128
# Kernels round the last rows of a batch otherwise, where these do not fill a block: of 4 rows in a
# product of matrices (MKL in float64 on AMD), of 16 numbers in a function such as tanh.
_BLOCK = 16


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
    """``(n,)``, which sample of the data each is; its randomness depends on it."""
    keys: Tensor
    """``(n,)``, what the sample's random numbers are hashed from; another for each restart."""
    restart: Tensor
    """``(n,)``, searches of the sample that lie behind; 0 is its first."""
    free: Tensor | None = None
    """``(n, 1 or C, H, W)`` booleans: where it may change; ``None`` is everywhere."""


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
    """What an attack wants to know of ``n`` images, one for each sample or, with ``owners``, more.

    In that case everything here has the images as first dimension, and so has the answer.
    """

    images: Tensor
    """``(n, C, H, W)``"""
    gradient: bool | Tensor
    """Whether the objective's gradient at the pixels is wanted, by all or by those ``(n,)``.

    One pass back gives it to all of the batch; only those who want it are charged."""
    objective: Objective | Inside
    """The number to raise."""
    classes: Tensor
    """What the objective is given beside the logits: mostly the samples' classes."""
    several: Several | None = None
    """Several numbers for each image whose gradients are wanted, at one pass back for each."""
    several_wanted: bool | Tensor = True
    """Who wants those and is charged, all or those ``(n,)``."""
    owners: Tensor | None = None
    """``(n,)`` ascending, whose each image is, at least one for each sample; or ``None``."""
    aside: Tensor | None = None
    """``(n,)`` booleans: images that are no find, whatever they are predicted as."""
    layer: str | None = None
    """A layer whose output, and gradient in place of the pixels', is wanted."""
    call: int | None = None
    """Which use of the layer in a pass, from 0; by default the last."""

    @property
    def any_gradient(self) -> bool:
        """Whether anybody wants the gradient."""
        wanted = self.gradient
        return bool(wanted.any()) if isinstance(wanted, Tensor) else wanted

    @property
    def whose(self) -> Tensor:
        """``(n,)``, whose each image is."""
        if self.owners is None:
            return torch.arange(len(self.images), device=self.images.device)
        return self.owners


class Attack(Protocol[S]):
    """A search over images: only its mathematics, no loop."""

    def start(self, samples: Samples) -> S:
        """The state of fresh searches."""

    def ask(self, state: S) -> Query:
        """The images to evaluate next, one for each sample."""

    def tell(self, state: S, answer: Answer) -> S:
        """The state after the network's answer."""


@runtime_checkable
class CrowdedAttack(Protocol[S]):
    """A search that may ask about several images of a sample at once, where few are under way.

    What it finds must not depend on how many it was given room for. ``apart`` says whether no more
    than one of them may be a find, so that a search that ends there has made no query in vain. One
    that cannot do with a single image of a sample has a number ``least`` of how many it needs.
    """

    apart: ClassVar[bool]

    def start(self, samples: Samples) -> S:
        """The state of fresh searches."""

    def ask_within(self, state: S, room: int) -> Query:
        """The images to evaluate next, at most ``room`` for each sample."""

    def tell_all(self, state: S, query: Query, answer: Answer) -> S:
        """The state after the network's answer to a query."""


@dataclass(frozen=True)
class Budget:
    """What one sample may cost over all restarts, and the whole may take; ``None`` is no bound."""

    forwards: int | None = None
    backwards: int | None = None
    seconds: float | None = None

    @property
    def any(self) -> bool:
        """Whether there is any bound."""
        return self != Budget()

    def __post_init__(self) -> None:
        for name in ("forwards", "backwards"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole_number(name, value))
        if self.seconds is not None:
            object.__setattr__(self, "seconds", as_seconds(self.seconds, "seconds"))


@dataclass(frozen=True)
class Step:
    """One evaluation of the samples that are under way.

    Where an attack asked about several images of a sample at once, its rows follow each other.
    """

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
    finished: Tensor
    """``(n,)`` booleans: the search came to its own end here, or had what was wanted."""
    forwards: Tensor
    """``(n,)``, images of the sample that went through the network so far."""
    backwards: Tensor
    """``(n,)``, gradients computed for the sample so far."""
    crowded: bool = False
    """Whether there may be several rows of a sample."""

    def ends(self) -> "Step":
        """The last row of each sample."""
        if not self.crowded:
            return self
        last = torch.ones_like(self.done)
        last[:-1] = self.indices[1:] != self.indices[:-1]
        return take(self, _rows(last))


@dataclass(frozen=True)
class _Slots:
    """The engine's own books on the samples under way."""

    samples: Samples
    number: Tensor
    forwards: Tensor
    backwards: Tensor
    idle: Tensor
    """``(n,)`` booleans: only there to fill the batch."""


Reached = Callable[[Answer, Samples, Tensor], Tensor]
"""From an answer, the samples, and the images it is of: who has what was wanted, ``(n,)``."""

Feed = Callable[[int], Samples | None]
"""Hands out at most so many samples, and ``None`` once there are no more."""


def feed(
    images: Tensor,
    classes: Tensor,
    *,
    targeted: bool = False,
    seed: int = 0,
    numbers: Tensor | None = None,
    rows: Tensor | None = None,
    free: Tensor | None = None,
) -> Feed:
    """A batch in memory, handed out in its order.

    ``numbers`` ``(N,)`` say which samples of a data set these are, on which their randomness
    depends; by default 0 and up. ``rows`` are the ones to hand out; by default all. ``free``
    ``(N, 1 or C, H, W)`` says where they may change; by default everywhere.
    """
    images, classes = (t.clone() if t.is_inference() else t for t in (images, classes))
    indices = torch.arange(len(images), device=images.device)
    towards = torch.full((len(images),), 1.0 if targeted else -1.0, device=images.device)
    keys = randomness.keys(seed, indices if numbers is None else numbers.to(indices))
    everything = Samples(images, classes, towards, indices, keys, torch.zeros_like(indices), free)
    waiting = indices if rows is None else rows

    def hand_out(count: int) -> Samples | None:
        nonlocal waiting
        chosen, waiting = waiting[:count], waiting[count:]
        return take(everything, chosen) if len(chosen) else None

    return hand_out


def whole_blocks(batch_size: int) -> int:
    """The next batch size in which processors round every row alike."""
    return batch_size if batch_size == 1 else math.ceil(batch_size / _BLOCK) * _BLOCK


def is_reached(answer: Answer, classes: Tensor, towards: Tensor, confidence: float = 0.0) -> Tensor:
    """Predicted as the wanted class, or no longer as the one to leave; by a lead of
    ``confidence``.
    """
    reached = (answer.logits.argmax(1) == classes) == (towards > 0)
    if confidence > 0:
        reached &= MARGIN(answer.logits, classes) * towards >= confidence
    return reached


def stream(
    model: Classifier,
    attack: Attack[S],
    samples: Feed,
    *,
    until: Reached | None = None,
    stop: bool = True,
    restarts: int = 1,
    batch_size: int = DEFAULT_BATCH,
    budget: Budget | None = None,
    grid: Threat | None = None,
    exact: bool = False,
    bookmark: Bookmark | None = None,
) -> Iterator[Step]:
    """Drive an attack over samples and yield each step; drop the iterator at any time to cancel.

    When memory runs out the batch is halved, once and for all: the searches that do not fit wait
    as they are.

    Args:
        model: the network under study.
        attack: the search.
        samples: read as slots become free, so memory does not grow with them.
        until: what a search is after.
        stop: end a search there; otherwise it only is reported.
        restarts: how often a search is made, with other random numbers each time, if none was
            stopped.
        batch_size: slots; the batch is full until the data run out, and then holds who is left.
        budget: what one sample may cost, and the whole may take.
        grid: the network sees the nearest 8-bit images that this threat model allows, while the
            attack adds up its steps in floating point. The samples must lie on that grid.
        exact: keep one batch shape from beginning to end, filled up with searches that do not
            count, and of whole blocks. Then neither the neighbours nor the slot change the rounding
            of a sample's numbers.
        bookmark: where the searches are kept while they go on, and gone on with if they are there.

    Raises:
        UnusableBookmarkError: what is kept there does not fit.
    """
    steps = _steps(
        model, attack, samples, until, stop, restarts, batch_size, budget or Budget(), grid, exact,
        bookmark,
    )  # fmt: skip
    while True:
        # Whatever mode the caller is in, at each step anew: tensors made for inference cannot be
        # learnt from, and a graph over all steps would fill the memory.
        with torch.inference_mode(False), torch.no_grad():
            step = next(steps, None)
        if step is None:
            return
        yield step


def _steps(
    model: Classifier,
    attack: Attack[S],
    samples: Feed,
    until: Reached | None,
    stop: bool,
    restarts: int,
    batch_size: int,
    limits: Budget,
    grid: Threat | None,
    exact: bool,
    bookmark: Bookmark | None,
) -> Iterator[Step]:
    deadline = math.inf if limits.seconds is None else time.monotonic() + limits.seconds
    size = whole_blocks(batch_size) if exact else batch_size
    batch = _Batch(attack, samples, size, deadline, exact)
    if bookmark is not None and batch.begun:
        if bookmark.found:
            size = bookmark.kept("size", size)
            batch.take_up(bookmark)
        bookmark.keep("size", lambda: size)
        batch.keep_in(bookmark)
    crowded = attack if isinstance(attack, CrowdedAttack) else None
    least = getattr(attack, "least", 1)
    # One at a time where more could cost a sample more, or would change the batch's shape.
    in_vain = until is not None and stop and not (crowded and crowded.apart)
    alone = exact or limits.forwards is not None or in_vain
    while batch.begun:
        if bookmark is not None and bookmark.due:
            bookmark.write()
        if bookmark is not None and bookmark.ending:
            return
        room = 1 if alone else max(1, size // len(batch.slots.number))
        query = crowded.ask_within(batch.state, room) if crowded else attack.ask(batch.state)
        images, owners = query.images, query.owners
        asked = batch.slots.samples
        if owners is not None and (grid, asked.free, until) != (None, None, None):
            asked = take(asked, owners)
        if grid is not None:
            images = snap(images, asked.images, grid)
        if asked.free is not None:
            images = torch.where(asked.free, images, asked.images)
        try:
            answer = evaluate(
                model, images, query.classes, query.objective,
                gradient=query.any_gradient, several=query.several, layer=query.layer,
                call=query.call,
            )  # fmt: skip
        except RuntimeError as problem:
            if not out_of_memory(problem) or len(images) < 2 * least:
                raise
            size = len(images) // 2
            warn_smaller_batch(len(images), size)
            batch.park(size // least)
            continue
        if asked.free is not None:
            answer = _within(answer, asked.free)
            batch.state = _seen(batch.state, query.images, images)
            query = replace(query, images=images)
        if crowded:
            state = crowded.tell_all(batch.state, query, answer)
        else:
            state = attack.tell(batch.state, answer)
        counts: int | Tensor = 1
        charged, times = _charged(query, answer), 2 if answer.mended else 1
        if owners is not None:
            zero = torch.zeros_like(batch.slots.number)
            counts = zero.index_add(0, owners, torch.ones_like(owners))
            charged = zero.index_add(0, owners, torch.ones_like(owners) * charged)
        behind = batch.slots
        slots = replace(
            behind,
            number=behind.number + counts,
            forwards=torch.add(behind.forwards, counts, alpha=model.passes * times),
            backwards=torch.add(behind.backwards, charged, alpha=model.passes_back * times),
        )
        if until is None:
            hits = torch.zeros_like(images[:, 0, 0, 0], dtype=torch.bool)
        else:
            hits = until(answer, asked, images)
        if query.aside is not None:
            hits = hits & ~query.aside
        reached = hits
        if owners is not None:
            reached = torch.zeros_like(state.done).index_fill(0, owners[hits], True)
        finished = state.done | reached if stop and until is not None else state.done
        cut = _spent(slots, limits) | (time.monotonic() >= deadline) if limits.any else None
        again = None
        if restarts > 1:
            again = state.done & (slots.samples.restart + 1 < restarts)
            again = again & ~reached if stop else again
            again = again if cut is None else again & ~cut
            finished = finished & ~again
        done = finished if cut is None else finished | cut
        step = Step(
            slots.samples.indices, behind.number, images, answer, hits, done, finished,
            slots.forwards, slots.backwards,
        )  # fmt: skip
        if isinstance(counts, Tensor):
            step = _spread(step, cast(Tensor, owners), counts, model.passes * times)
        batch.slots, batch.state = slots, state
        if exact and bool(slots.idle.any()):
            step = take(step, _rows(~slots.idle))
        if len(step.indices):
            yield step
        if again is not None:
            batch.restart(_rows(again))
        batch.refill(_rows(done))


def _within(answer: Answer, free: Tensor) -> Answer:
    """The answer with no slope where nothing may change ``(n, 1 or C, H, W)``."""
    gradient, jacobian = answer.gradient, answer.jacobian
    return replace(
        answer,
        gradient=None if gradient is None else gradient * free,
        jacobian=None if jacobian is None else jacobian * free[:, None],
    )


def _seen(state: S, asked: Tensor, shown: Tensor) -> S:
    """The state of an attack that asked about the images ``shown`` in place of those it holds.

    So what it meant to change outside its part takes nothing of the bound from the next step on.
    """
    values: list[tuple[str, Any]] = [(f.name, getattr(state, f.name)) for f in fields(state)]
    return replace(
        state,
        **{
            name: shown if value is asked else _seen(cast(Any, value), asked, shown)
            for name, value in values
            if value is asked or is_dataclass(value)
        },
    )


def _spread(step: Step, owners: Tensor, counts: Tensor, passes: int) -> Step:
    """A step that speaks of samples, but for images, answer and hits, as one of each image."""
    _, before = crowd(counts)
    behind = counts[owners] - 1 - before
    return replace(
        step,
        indices=step.indices[owners],
        numbers=step.numbers[owners] + before,
        done=step.done[owners] & (behind == 0),
        finished=step.finished[owners] & (behind == 0),
        forwards=step.forwards[owners] - behind * passes,
        backwards=step.backwards[owners],
        crowded=True,
    )


class _Batch(Generic[S]):
    """The searches under way, and those that wait because memory ran out."""

    slots: _Slots
    state: S

    def __init__(
        self, attack: Attack[S], samples: Feed, size: int, deadline: float, exact: bool
    ) -> None:
        self._attack, self._samples, self._deadline = attack, samples, deadline
        self._exact = exact
        self._parked: list[tuple[_Slots, S]] = []
        self._handed = 0
        first = self._more(size)
        self.begun = first is not None
        if first is None:
            return
        self.slots, self.state = first
        count = len(self.slots.number)
        if exact and count < size:
            rows = torch.arange(size, device=self.slots.number.device)
            self._keep(rows % count)
            self.slots = replace(self.slots, idle=rows >= count)

    def keep_in(self, bookmark: Bookmark) -> None:
        """Have the searches kept there."""
        bookmark.keep("slots", lambda: self.slots)
        bookmark.keep("state", lambda: self.state)
        bookmark.keep("parked", lambda: self._parked)
        bookmark.keep("handed", lambda: self._handed)

    def take_up(self, bookmark: Bookmark) -> None:
        """Go on with the searches that are kept there."""
        handed = bookmark.kept("handed", self._handed)
        while self._handed < handed:
            new = self._samples(handed - self._handed)
            if new is None:
                raise UnusableBookmarkError(f"{bookmark.path} is of more samples")
            self._handed += len(new.indices)
        slots, state = bookmark.kept("slots", self.slots), bookmark.kept("state", self.state)
        parked = bookmark.kept("parked", [(self.slots, self.state)])
        for one, other in [(slots, state), *parked]:
            rows = {len(tensor) for part in (one, other) for tensor in _tensors(part)}
            known = one.samples.indices
            if len(rows) != 1 or not bool(((known >= 0) & (known < self._handed)).all()):
                raise UnusableBookmarkError(f"{bookmark.path} is not of these samples")
        self.slots, self.state, self._parked = slots, state, parked

    def park(self, kept: int) -> None:
        """Go on with the first so many; the others wait as they are for a free slot."""
        if kept >= len(self.slots.number):
            return
        rows = torch.arange(len(self.slots.number), device=self.slots.number.device)
        self._parked.append((take(self.slots, rows[kept:]), take(self.state, rows[kept:])))
        self._keep(rows[:kept])

    def restart(self, rows: Tensor) -> None:
        """Begin these searches anew, with other random numbers."""
        if not len(rows):
            return
        slots = take(self.slots, rows)
        samples = replace(slots.samples, restart=slots.samples.restart + 1)
        slots = replace(slots, samples=samples, number=torch.zeros_like(slots.number))
        keys = randomness.keys(0, samples.keys, samples.restart)
        state = self._attack.start(replace(samples, keys=keys))
        self._put(rows, slots, state)

    def refill(self, free: Tensor) -> None:
        """Give these slots to others; those that stay empty go, or idle if the shape is kept."""
        if not len(free):
            return
        while len(free) and (new := self._more(len(free))) is not None:
            count = len(new[0].number)
            self._put(free[:count], *new)
            free = free[count:]
        if len(free) and self._exact:
            slots = take(self.slots, free)
            slots = replace(slots, idle=torch.ones_like(slots.idle))
            self._put(free, slots, self._attack.start(slots.samples))
        elif len(free):
            left = torch.ones_like(self.slots.idle)
            left[free] = False
            self._keep(_rows(left))
        self.begun = not bool(self.slots.idle.all())

    def _more(self, count: int) -> tuple[_Slots, S] | None:
        if time.monotonic() >= self._deadline:
            return None
        if self._parked:
            slots, state = self._parked.pop()
            rows = torch.arange(len(slots.number), device=slots.number.device)
            if len(rows) > count:
                self._parked.append((take(slots, rows[count:]), take(state, rows[count:])))
            return take(slots, rows[:count]), take(state, rows[:count])
        new = self._samples(count)
        if new is None:
            return None
        self._handed += len(new.indices)
        zero = torch.zeros_like(new.indices)
        slots = _Slots(new, zero, zero, zero, torch.zeros_like(zero, dtype=torch.bool))
        return slots, self._attack.start(new)

    def _put(self, rows: Tensor, slots: _Slots, state: S) -> None:
        self.slots, self.state = put(self.slots, rows, slots), put(self.state, rows, state)

    def _keep(self, rows: Tensor) -> None:
        self.slots, self.state = take(self.slots, rows), take(self.state, rows)


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
    """Rows of a tensor, or of every tensor in a dataclass; ``None`` and what is yes or no stay."""
    if isinstance(value, Tensor):
        return value[indices]
    return value if value is None or isinstance(value, bool) else take(value, indices)


def _put(value: Any, indices: Tensor, new: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Tensor):
        return value.index_copy(0, indices, new.to(value.dtype))
    return put(value, indices, new)


def _tensors(rows: Rows) -> Iterator[Tensor]:
    """All tensors of the rows, those of dataclasses inside too."""
    for _, value in _values(rows):
        if isinstance(value, Tensor):
            yield value
        elif is_dataclass(value):
            yield from _tensors(cast(Any, value))


def _values(rows: Rows) -> list[tuple[str, Any]]:
    return [(field.name, getattr(rows, field.name)) for field in fields(rows)]


def _rows(chosen: Tensor) -> Tensor:
    return chosen.nonzero().squeeze(1)


def _charged(query: Query, answer: Answer) -> int | Tensor:
    """The gradients of a step that each sample wanted."""
    if answer.several is None:
        return query.gradient
    return query.gradient * 1 + query.several_wanted * answer.several.shape[1]


def _spent(slots: _Slots, limits: Budget) -> Tensor:
    spent = torch.zeros_like(slots.idle)
    if limits.forwards is not None:
        spent |= slots.forwards >= limits.forwards
    if limits.backwards is not None:
        spent |= slots.backwards >= limits.backwards
    return spent
