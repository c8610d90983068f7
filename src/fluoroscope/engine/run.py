"""Searches run to their end: what each sample keeps, and what it cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fluoroscope.engine.bookmark import Bookmark, UnusableBookmarkError
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.first_look import zero_gradient
from fluoroscope.engine.grid import round_to_grid
from fluoroscope.engine.predict import logits_of
from fluoroscope.engine.stream import (
    DEFAULT_BATCH,
    Attack,
    Budget,
    S,
    Samples,
    Step,
    feed,
    is_reached,
    stream,
    whole_blocks,
)
from fluoroscope.engine.threats import Threat
from fluoroscope.models.classifier import Classifier

Keep = Literal["first", "nearest", "best", "last"]
"""``first`` stops a sample at its first success; the others spend the whole budget and keep the
closest success, the point with the highest objective (a success before any other), or the end."""

# Pixel values of successes of a prepared network that may wait for the plain one's word: 64 MB.
_MOST_WAITING = 2**24
# From this share of the searches on, gradients that are zero everywhere are worth a word.
_MANY = 0.1


@dataclass(frozen=True)
class Outcome:
    """What a search made of ``N`` samples, and what it cost."""

    images: Tensor
    """``(N, C, H, W)``; with ``first`` and ``nearest`` the clean image where nothing was found."""
    originals: Tensor
    """``(N, C, H, W)``, what the search began from."""
    logits: Tensor
    """``(N, classes)`` at ``images``."""
    success: Tensor
    """``(N,)`` booleans: within the threat model, and predicted as wanted."""
    at_start: Tensor
    """``(N,)`` booleans: the clean image was predicted so already; nothing was searched."""
    finished: Tensor
    """``(N,)`` booleans: the search came to its end; a budget or a cancellation cut the others."""
    distance: Tensor
    """``(N,)`` from the clean image, in the norm of the threat model."""
    forwards: Tensor
    """``(N,)``, images of the sample that went through the network, the clean one included."""
    backwards: Tensor
    """``(N,)``, gradients computed for the sample."""
    read_as: Tensor
    """``(N,)``, the class the clean image was predicted as."""
    read_probability: Tensor
    """``(N,)``, how probable the network found that class."""
    notes: tuple[str, ...] = ()
    """What a reader should know of the numbers."""


def run(
    model: Classifier,
    attack: Attack[S],
    images: Tensor,
    classes: Tensor,
    threat: Threat,
    *,
    targeted: bool = False,
    keep: Keep = "first",
    length: Callable[[Tensor], Tensor] | None = None,
    restarts: int = 1,
    batch_size: int = DEFAULT_BATCH,
    budget: Budget | None = None,
    confidence: float = 0.0,
    inside: bool = False,
    on_grid: bool = False,
    exact: bool = False,
    seed: int = 0,
    numbers: Tensor | None = None,
    free: Tensor | None = None,
    on_step: Callable[[Step], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    bookmark: Bookmark | None = None,
) -> Outcome:
    """Look at the clean images, then search from those that are not yet predicted as wanted.

    Args:
        model: the network under study. If it was prepared for speed, the plain one has the last
            word on every success.
        attack: the search.
        images: ``(N, C, H, W)`` in ``[0, 1]`` on the network's device, in its precision.
        classes: ``(N,)``, the true class of each, or the wanted one if ``targeted``.
        threat: which images count as success; distances are in its norm.
        targeted: towards the classes instead of away from them.
        keep: what each sample keeps.
        length: in what the nearest is nearest; by default the distance of the threat model.
        restarts: how often a search is made, if nothing stopped it.
        batch_size: images evaluated at once.
        budget: what one sample may cost, and the whole may take.
        confidence: the lead in logits from which an image counts as predicted as wanted.
        inside: the attack is known to look at allowed images only. They are then measured once, at
            the end, and not at every step.
        on_grid: the network only sees 8-bit images, the nearest to the given ones to begin with.
        exact: one batch shape throughout, of whole blocks of rows, so that neither the neighbours
            nor a sample's slot even change the rounding.
        seed: for everything random; a sample's draws depend on it and the sample's number alone.
        numbers: ``(N,)``, which samples of their data set these are; by default 0 and up.
        free: ``(N, 1 or C, H, W)`` booleans, where an image may change; by default everywhere.
        on_step: called with every step.
        cancelled: asked before every step; once it is true, what was found so far is the outcome.
        bookmark: where the search is kept while it goes on, and gone on with if it is there.

    Raises:
        UnusableBookmarkError: what is kept there does not fit.
    """
    if on_grid:
        images = round_to_grid(images)
    if exact:
        batch_size = whole_blocks(batch_size)
    towards = torch.full((len(images),), 1.0 if targeted else -1.0, device=images.device)

    def read(at: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What the plain network says of images of these samples, and if that is what we want."""
        logits = logits_of(model.plain, at, batch_size, exact=exact)
        return logits, is_reached(Answer(logits), classes[rows], towards[rows], confidence)

    everyone = torch.arange(len(images), device=images.device)
    prepared = model.plain is not model
    best = _Best(
        images, *read(images, everyone), threat, length or threat.distance, model.plain.passes,
        inside=inside,
    )  # fmt: skip
    going = best.begin(everything=keep == "last")

    def until(answer: Answer, asked: Samples, at: Tensor) -> Tensor:
        reached = is_reached(answer, asked.classes, asked.towards, confidence)
        if inside and not (prepared and keep == "first"):
            return reached
        rows = reached.nonzero().squeeze(1)
        if not inside and len(rows):
            reached[rows] = threat.allows(at[rows], asked.images[rows])
            rows = reached.nonzero().squeeze(1)
        if prepared and keep == "first" and len(rows):
            answer.logits[rows], reached[rows] = read(at[rows], asked.indices[rows])
        return reached

    flat = _Flat()
    steps = stream(
        model,
        attack,
        feed(images, classes, targeted=targeted, seed=seed, numbers=numbers, rows=going, free=free),
        until=until,
        stop=keep == "first",
        restarts=restarts,
        batch_size=batch_size,
        budget=budget,
        grid=threat if on_grid else None,
        exact=exact,
        bookmark=bookmark,
    )
    begun = True
    if bookmark is not None:
        if bookmark.found:
            begun = bookmark.kept("begun", begun)
            best.take_up(bookmark)
            flat.take_up(bookmark)
        bookmark.keep("begun", lambda: begun)
        best.keep_in(bookmark)
        flat.keep_in(bookmark)
    with model.held():
        for step in steps:
            if begun:
                flat.note(step)
            begun = bool(step.done.any())  # then others come in their place
            best.offer(step, keep, begun, read if prepared else None)
            if on_step is not None:
                on_step(step)
            if cancelled is not None and cancelled():
                if bookmark is not None:
                    bookmark.ending = True
                    next(steps, None)  # kept as it is between two steps
                break
    if prepared and keep == "nearest":
        best.confirm(read)
    elif prepared and keep in ("best", "last"):
        best.settle(going, read)
    if bookmark is not None and bookmark.found and best.outside:
        raise UnusableBookmarkError(f"{bookmark.path} led out of the threat model")
    return best.outcome(flat.notes(model))


Read = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From images and the numbers of their samples to logits and who has what was wanted."""


class _Flat:
    """How many searches began where the gradient is zero everywhere."""

    def __init__(self) -> None:
        self._flat, self._seen = 0, 0

    def keep_in(self, bookmark: Bookmark) -> None:
        bookmark.keep("flat", lambda: (self._flat, self._seen))

    def take_up(self, bookmark: Bookmark) -> None:
        self._flat, self._seen = bookmark.kept("flat", (0, 0))

    def note(self, step: Step) -> None:
        gradient = step.answer.gradient
        if gradient is None:
            return
        rows = (step.numbers == 0).nonzero().squeeze(1)
        if len(rows):
            self._seen += len(rows)
            self._flat += int((~gradient[rows].flatten(1).any(1)).sum())

    def notes(self, model: Classifier) -> tuple[str, ...]:
        if not self._seen or self._flat < _MANY * self._seen:
            return ()
        return (zero_gradient(model, self._flat, self._seen),)


# What a search changes of the points that are kept, one for each sample.
_CHANGING = ("_images", "_logits", "_success", "_rank", "_forwards", "_backwards", "_finished")


class _Best:
    """The point each sample keeps so far."""

    def __init__(
        self,
        images: Tensor,
        logits: Tensor,
        reached: Tensor,
        threat: Threat,
        length: Callable[[Tensor], Tensor],
        passes: int,
        *,
        inside: bool,
    ) -> None:
        self.at_start, self._read_as = reached, logits.argmax(1)
        self._read_probability = logits.softmax(1).amax(1)
        self._clean = images
        self._images, self._logits, self._success = images.clone(), logits.clone(), reached.clone()
        self._rank = torch.full(
            (len(images),), -torch.inf, dtype=torch.double, device=images.device
        )
        self._backwards = torch.zeros_like(self._read_as)
        self._forwards = self._backwards + passes
        self._threat, self._length, self._passes, self._inside = threat, length, passes, inside
        self._step: Step | None = None
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        self._values = 0

    def begin(self, *, everything: bool) -> Tensor:
        """Who is searched from: those not yet predicted as wanted, or all; none if nothing may
        move.
        """
        going = torch.ones_like(self.at_start) if everything else ~self.at_start
        going &= self._threat.eps != 0
        self._finished = ~going
        return going.nonzero().squeeze(1)

    def keep_in(self, bookmark: Bookmark) -> None:
        bookmark.keep("best", lambda: [getattr(self, name) for name in _CHANGING])
        bookmark.keep("waiting", lambda: self._waiting)

    def take_up(self, bookmark: Bookmark) -> None:
        own = tuple(getattr(self, name) for name in _CHANGING)
        found = bookmark.kept("best", own)
        rows = self.at_start, self._rank, self._images
        waiting = bookmark.kept("waiting", [rows])
        for samples, *_ in waiting:
            if not bool(((samples >= 0) & (samples < len(self._rank))).all()):
                raise UnusableBookmarkError(f"{bookmark.path} is of other samples")
        for name, mine, value in zip(_CHANGING, own, found, strict=True):
            if value.shape != mine.shape:
                raise UnusableBookmarkError(f"{bookmark.path} is of other samples")
            setattr(self, name, value)
        self._waiting = waiting
        self._values = sum(images.numel() for _, _, images in waiting)

    def offer(self, step: Step, keep: Keep, ended: bool, read: Read | None) -> None:
        self._step = step
        if ended:
            self._count(step.ends())
        if not (ended if keep == "last" else keep == "best" or bool(step.reached.any())):
            return
        rows, rank = self._ranks(step, keep)
        if not len(rows):
            return
        better = rank > self._rank[step.indices[rows]]
        rows, rank = rows[better], rank[better]
        found = step.indices[rows], rank, step.images[rows]
        if read is not None and keep == "nearest":
            self._wait(*found, read)
            return
        if step.crowded:
            first = _highest(*found[:2])
            rows, found = rows[first], (found[0][first], found[1][first], found[2][first])
        self._keep(*found, step.answer.logits[rows], step.reached[rows])

    def _keep(
        self, kept: Tensor, rank: Tensor, images: Tensor, logits: Tensor, success: Tensor
    ) -> None:
        self._rank[kept] = rank
        self._images.index_copy_(0, kept, images)
        self._logits[kept] = logits.to(self._logits.dtype)
        self._success[kept] = success

    def _wait(self, samples: Tensor, rank: Tensor, images: Tensor, read: Read) -> None:
        """Put aside what the plain network is yet to read: mostly something nearer follows."""
        self._waiting.append((samples, rank, images))
        self._values += images.numel()
        if self._values > _MOST_WAITING:
            self.confirm(read)

    def confirm(self, read: Read) -> None:
        """Keep the nearest of what waits that the plain network reads as wanted, too."""
        if not self._waiting:
            return
        samples, rank, images = (torch.cat(part) for part in zip(*self._waiting, strict=True))
        self._waiting, self._values = [], 0
        left = torch.arange(len(samples), device=samples.device)
        while len(left):
            tried = left[_highest(samples[left], rank[left])]
            logits, reached = read(images[tried], samples[tried])
            rows = tried[reached]
            self._keep(samples[rows], rank[rows], images[rows], logits[reached], reached[reached])
            untried = torch.ones_like(samples, dtype=torch.bool).index_fill(0, tried, False)
            left = left[untried[left] & (rank[left] > self._rank[samples[left]])]

    def _count(self, step: Step) -> None:
        self._forwards[step.indices] = step.forwards + self._passes
        self._backwards[step.indices] = step.backwards
        self._finished[step.indices] = step.finished

    def settle(self, rows: Tensor, read: Read) -> None:
        """Let the plain network judge what is kept of these samples."""
        if not len(rows):
            return
        images = self._images[rows]
        self._logits[rows], reached = read(images, rows)
        self._success[rows] = reached & self._threat.allows(images, self._clean[rows])

    def _ranks(self, step: Step, keep: Keep) -> tuple[Tensor, Tensor]:
        """Which rows of the step are candidates, and how good they are."""
        everything = torch.arange(len(step.indices), device=step.indices.device)
        if keep == "last":
            rows = everything[step.done]
            return rows, step.forwards[rows].double()
        if keep == "best":
            assert step.answer.objective is not None
            rows = everything
            if not self._inside:
                rows = rows[self._threat.allows(step.images, self._clean[step.indices])]
            # A success before any other: squeezed into (-1, 1), then lifted by 2.
            value = step.answer.objective.double()[rows]
            return rows, value / (1 + value.abs()) + 2 * step.reached[rows]
        rows = everything[step.reached]
        away = step.images[rows] - self._clean[step.indices[rows]]
        return rows, -self._length(away).double()

    @property
    def outside(self) -> bool:
        """Whether something is kept that is not allowed, of an attack that never leaves it."""
        return self._inside and not bool(self._threat.allows(self._images, self._clean).all())

    def outcome(self, notes: tuple[str, ...]) -> Outcome:
        if self._step is not None:  # of those that were under way when the run was cancelled
            self._count(self._step.ends())
        if self.outside:
            raise AssertionError(
                "the attack left the threat model; expected images it has projected"
            )
        return Outcome(
            images=self._images,
            originals=self._clean,
            logits=self._logits,
            success=self._success,
            at_start=self.at_start,
            finished=self._finished,
            distance=self._threat.distance(self._images - self._clean),
            forwards=self._forwards,
            backwards=self._backwards,
            read_as=self._read_as,
            read_probability=self._read_probability,
            notes=notes,
        )


def _highest(samples: Tensor, rank: Tensor) -> Tensor:
    """The row with the highest rank of each of the samples ``(n,)``, the first of equals."""
    order = rank.argsort(descending=True, stable=True)
    order = order[samples[order].argsort(stable=True)]
    first = torch.ones_like(samples, dtype=torch.bool)
    first[1:] = samples[order][1:] != samples[order][:-1]
    return order[first]
