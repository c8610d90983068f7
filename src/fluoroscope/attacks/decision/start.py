"""What all searches by decisions share: a first success, and the way from it to the border.

They read the winning class alone. So they begin at a picture that is predicted as wanted, wherever
it is, and halve the way from it to the original until it ends at the border:
``x' = x + share * (success - x)``, or with the difference cut at ``± share * |success - x|_inf``
in Linf.

The first success is the papers' own, a picture of uniform noise, drawn anew until one is read
otherwise, ``TRIES`` times at the most; or one of ``starts``, tried in a random order of the
sample's own until one is predicted as wanted. Noise is never predicted as a class that somebody
chose, so towards a class ``starts`` are needed. Where none is found the search ends.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Access, Method
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import Objective
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import Threat
from fluoroscope.engine.vectors import column
from fluoroscope.errors import InvalidParameterError
from fluoroscope.pictures.checks import check_images

TRIES = 100
"""Pictures of noise that are tried."""
SEEK, APPROACH = 0, 1
"""Phases of a search that all share; a method's own are counted from 2."""
DECISION = Objective("decision", lambda logits, c: 2 * (logits.argmax(1) == c).to(logits.dtype) - 1)
"""1 where the class is the winning one, else -1: all that such a search may know."""


@dataclass(frozen=True)
class Search:
    """Where ``n`` searches are; a method adds what is its own."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    point: Tensor
    """``(n, C, H, W)``, the success that the search goes on from."""
    low: Tensor
    """``(n,)``, share of the way from the original that failed."""
    high: Tensor
    """``(n,)``, share of the way that led to ``point``."""
    phase: Tensor
    """``(n,)``"""
    queries: Tensor
    """``(n,)``, evaluations made."""
    order: Tensor
    """``(n, M)``, in which the starting pictures are tried."""
    done: Tensor
    """``(n,)`` booleans."""


F = TypeVar("F", bound=Search)


@dataclass(frozen=True, kw_only=True)
class DecisionMethod(Method):
    """A search that reads decisions: ``queries`` evaluations at the most.

    ``starts`` ``(M, C, H, W)`` are pictures in ``[0, 1]`` to begin from.
    """

    threat: Threat
    queries: int = 5000
    starts: Tensor | None = None

    can_mask: ClassVar[bool] = False
    cost: ClassVar[str] = "1 forward"
    access: ClassVar[Access] = "decision"
    minimum_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "queries")
        if self.starts is not None:
            if not isinstance(self.starts, Tensor) or self.starts.ndim != 4 or not len(self.starts):
                raise InvalidParameterError(
                    f"starts is {_said(self.starts)}; expected pictures as a tensor (M, C, H, W)"
                )
            check_images(self.starts, self.starts.shape[1])

    def ask(self, state: Search) -> Query:
        """The next images; nothing but who wins is read of the answer."""
        return Query(
            state.images, False, DECISION.towards(state.samples.towards), state.samples.classes
        )

    def _search(self, samples: Samples) -> Search:
        """Fresh searches, the first picture drawn."""
        if self.starts is None and bool((samples.towards > 0).any()):
            raise InvalidParameterError(
                f"targeted is True and starts is missing: {type(self).__name__} needs pictures "
                "that are predicted as the wanted class to begin from; give starts, a tensor "
                "(M, C, H, W), or --others on the command line"
            )
        if self.starts is not None and self.starts.shape[1:] != samples.images.shape[1:]:
            raise InvalidParameterError(
                f"starts have shape {tuple(self.starts.shape[1:])} and the images "
                f"{tuple(samples.images.shape[1:])}; expected the same: resize them first"
            )
        count = torch.zeros_like(samples.classes)
        zero = torch.zeros_like(samples.images[:, 0, 0, 0])
        pool = 0 if self.starts is None else len(self.starts)
        search = Search(
            samples=samples,
            images=samples.images,
            point=samples.images,
            low=zero,
            high=zero + 1,
            phase=count + SEEK,
            queries=count,
            order=randomness.uniform(samples.keys, -1, (pool,)).argsort(1),
            done=torch.zeros_like(count, dtype=torch.bool),
        )
        return self._on_the_way(search)

    def _heard(self, state: F, answer: Answer) -> tuple[F, Tensor]:
        """One evaluation more, and who was predicted as wanted."""
        queries = state.queries + 1
        state = replace(state, queries=queries, done=queries >= self.queries)
        return state, is_reached(answer, state.samples.classes, state.samples.towards)

    def _approach(self, state: F, reached: Tensor, tolerance: float | Tensor) -> tuple[F, Tensor]:
        """Who seeks has found or goes on; who approaches halves; and who has arrived, ``(n,)``."""
        seeking, approaching = state.phase == SEEK, state.phase == APPROACH
        if not bool((seeking | approaching).any()):
            return state, approaching
        limit = TRIES if self.starts is None else len(self.starts)
        found = (seeking | approaching) & reached
        middle = torch.where(seeking, 1, (state.low + state.high) / 2)
        high = torch.where(found, middle, state.high)
        low = torch.where(approaching & ~reached, middle, state.low)
        arrived = approaching & (high - low <= tolerance)
        return replace(
            state,
            point=torch.where(column(found), state.images, state.point),
            low=low,
            high=high,
            phase=torch.where(seeking & reached, APPROACH, state.phase),
            done=state.done | (seeking & ~reached & (state.queries >= limit)),
        ), arrived

    def _on_the_way(self, state: F) -> F:
        """The next images of those who seek or approach."""
        images = state.images
        rows = (state.phase == SEEK).nonzero().squeeze(1)
        if len(rows):
            images = images.index_copy(0, rows, self._drawn(state, rows))
        rows = (state.phase == APPROACH).nonzero().squeeze(1)
        if len(rows):
            share = (state.low + state.high)[rows] / (2 * state.high[rows])
            nearer = shortened(
                state.point[rows], state.samples.images[rows], share, self.threat.name
            )
            images = images.index_copy(0, rows, nearer)
        return replace(state, images=images)

    def _drawn(self, state: Search, rows: Tensor) -> Tensor:
        number = state.queries[rows]
        if self.starts is None:
            shape = tuple(state.samples.images.shape[1:])
            return randomness.uniform(state.samples.keys[rows], number, shape).to(
                state.samples.images
            )
        last = self.starts.shape[0] - 1
        chosen = state.order[rows].gather(1, number.clamp(max=last)[:, None]).squeeze(1)
        return self.starts[chosen.to(self.starts.device)].to(state.samples.images)


def shortened(images: Tensor, original: Tensor, share: Tensor, norm: str) -> Tensor:
    """So much of the way from the original ``(n, C, H, W)``, for shares ``(n,)``."""
    away = images - original
    if norm == "linf":
        most = column(share * away.abs().flatten(1).amax(1))
        return (original + away.minimum(most).maximum(-most)).clamp(0, 1)
    return (original + column(share) * away).clamp(0, 1)


def _said(starts: object) -> str:
    return f"of shape {tuple(starts.shape)}" if isinstance(starts, Tensor) else repr(starts)
