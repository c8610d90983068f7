"""SimBA, the simple black-box attack (Guo, Gardner, You, Wilson, Weinberger 2019).

Along one direction of an orthonormal basis after another, in random order, try ``x + epsilon * q``
and, if that does not help, ``x - epsilon * q``; whichever first lowers the probability of the true
class (or raises that of the wanted one) is kept. After T steps the perturbation is at most
``sqrt(T) * epsilon`` long. The basis is that of the pixels, or of the discrete cosine transform,
from the low frequencies.

The paper knows no bound (``norm="none"``); with one, candidates are projected, so that they slide
along its border. The cosine basis takes the lowest ``frequencies`` of each side, by default an
eighth (28 of 224 in the paper), before any other; a basis that is used up is used again in the
same order.

Where this differs: log-probabilities take the place of probabilities, the same order, but tiny ones
still compare; steps are added to the image as it was cut to the box; and a candidate that would
change nothing, such as a black pixel made darker, is not asked about if the next one would.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Access, Method
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat
from fluoroscope.engine.vectors import column, cosines
from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True)
class SimBAState:
    """Where ``n`` searches are."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    best: Tensor
    """``(n, C, H, W)``, the present image."""
    value: Tensor
    """``(n,)``, its objective."""
    candidate: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    order: Tensor
    """``(n, D)``, the directions to be tried, as numbers in the basis."""
    at: Tensor
    """``(n,)``, how far along the order the candidate is."""
    back: Tensor
    """``(n,)`` booleans: the candidate lies against its direction."""
    queries: Tensor
    """``(n,)``, evaluations made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class SimBA(Method):
    """SimBA: ``queries`` evaluations, steps of ``epsilon`` along the directions of a ``basis``.

    ``frequencies`` is how many of each side's frequencies the cosine basis begins with.
    """

    threat: Threat
    queries: int = 20_000
    epsilon: float = 0.2
    basis: Literal["pixel", "dct"] = "pixel"
    frequencies: int | None = None

    can_mask: ClassVar[bool] = False
    paper: ClassVar[str] = "Guo et al. 2019 (1905.07121)"
    access: ClassVar[Access] = "score"
    norms: ClassVar[tuple[str, ...]] = ("l2", "linf", "none")
    cost: ClassVar[str] = "1 forward"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "queries")
        self._expect_positive("epsilon")
        if self.basis not in ("pixel", "dct"):
            raise InvalidParameterError(f"basis is {self.basis!r}; expected 'pixel' or 'dct'")
        if self.frequencies is not None:
            if self.basis == "pixel":
                raise InvalidParameterError(
                    f"frequencies is {self.frequencies}, but pixels have none; expected basis='dct'"
                )
            self._expect(1, "frequencies")

    def start(self, samples: Samples) -> SimBAState:
        """At the images, which are evaluated first."""
        none = torch.zeros_like(samples.classes)
        shape = samples.images.shape[1:]
        rank = randomness.uniform(samples.keys, 0, tuple(shape))
        if self.basis == "dct":
            low = [
                torch.arange(side, device=rank.device) < (self.frequencies or math.ceil(side / 8))
                for side in shape[1:]
            ]
            rank = rank + (low[0][:, None] & low[1])
        # More directions than queries are never tried.
        order = rank.flatten(1).topk(min(shape.numel(), self.queries), dim=1).indices
        return SimBAState(
            samples=samples,
            best=samples.images,
            value=torch.full_like(none, -math.inf, dtype=torch.double),
            candidate=samples.images,
            order=order,
            at=none - 1,
            back=none < 0,
            queries=none,
            done=none > 0,
        )

    def ask(self, state: SimBAState) -> Query:
        """The candidates."""
        objective = LOG_PROBABILITY.towards(state.samples.towards)
        return Query(state.candidate, False, objective, state.samples.classes)

    def tell(self, state: SimBAState, answer: Answer) -> SimBAState:
        """Keep the better of image and candidate; then the opposite, or the next direction."""
        assert answer.objective is not None
        value = answer.objective.to(state.value.dtype)
        better = value > state.value
        best = torch.where(column(better), state.candidate, state.best)
        onwards = better | state.back
        moved = replace(
            state,
            best=best,
            value=torch.where(better, value, state.value),
            at=state.at + onwards,
            back=~onwards,
            queries=state.queries + 1,
            done=state.queries + 1 >= self.queries,
        )
        candidate = self._candidates(moved)
        for _ in range(2):  # a black pixel made darker, then a white one made brighter
            idle = (candidate == best).flatten(1).all(1)
            if not bool(idle.any()):
                break
            moved = replace(moved, at=moved.at + (idle & moved.back), back=idle ^ moved.back)
            candidate = self._candidates(moved)
        return replace(moved, candidate=candidate)

    def _candidates(self, state: SimBAState) -> Tensor:
        _, channels, height, width = state.best.shape
        number = state.order.gather(1, (state.at % state.order.shape[1])[:, None]).squeeze(1)
        rows, columns = (_basis(self.basis, side).to(state.best) for side in (height, width))
        size = self.epsilon * (1 - 2 * state.back.to(state.best.dtype))
        down = rows[number // width % height] * size[:, None]
        step = down[:, :, None] * columns[number % width][:, None]
        channel = number // (height * width) == torch.arange(channels, device=step.device)[:, None]
        moved = state.best + step[:, None] * channel.mT[:, :, None, None]
        return self.threat.project(moved, state.samples.images)


def _basis(name: str, side: int) -> Tensor:
    """Orthonormal vectors of one side, as rows ``(side, side)``: pixels or cosines (DCT-II)."""
    if name == "pixel":
        return torch.eye(side, dtype=torch.double, device="cpu")
    return cosines(side, side)
