"""Gradients estimated from the logits alone: NES and SPSA.

A step asks about ``samples`` images around the present one, in pairs ``x + width * u`` and
``x - width * u`` with random directions ``u`` (antithetic pairs). Their objectives give the
estimate ``mean of (f(x + width * u) - f(x - width * u)) / (2 * width) * u``, along which ``x`` then
moves and is projected; one more query says what the network makes of it.

* NES (Ilyas, Engstrom, Athalye, Lin 2018): ``u`` normal, the objective the log-probability; the
  estimate goes into a running mean, and the step is its sign.
* SPSA (Uesato, O'Donoghue, van den Oord, Kohli 2018): ``u`` of 1 and -1, the objective the margin;
  the step is Adam's.

The probes lie up to ``width`` outside the threat model and are no finds: only the images between
the steps are. Where few searches are under way many pairs are asked about at once. No probe lies
outside the box: a pixel at its edge moves on one side only, which halves its estimate. Signs and
Adam do not see that, NES in L2 does. With ``grid=8`` the ``width`` must be at least 1/255, or
rounding undoes the probes.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.adam import adam
from fluoroscope.attacks.attack import Access, Method
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY, MARGIN, Objective
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat
from fluoroscope.engine.vectors import column, crowd
from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True)
class EstimateState:
    """Where ``n`` searches are."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    images: Tensor
    """``(n, C, H, W)``, the present ones."""
    direction: Tensor
    """``(n, C, H, W)``, along which the present pair of probes lies."""
    ahead: Tensor
    """``(n,)``, the objective at its first probe."""
    total: Tensor
    """``(n, C, H, W)``, the pairs' differences times their directions, added up."""
    mean: Tensor
    """``(n, C, H, W)``, the running mean of the estimates."""
    square: Tensor
    """``(n, C, H, W)``, and of their squares (SPSA)."""
    probe: Tensor
    """``(n,)``, probes of the present step made; after ``samples`` the image itself is next."""
    steps: Tensor
    """``(n,)``, steps made."""
    queries: Tensor
    """``(n,)``, evaluations made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class Pairs(Query):
    """What is asked, and the directions of those pairs of which both probes are."""

    of: Tensor
    """``(p,)``, whose each pair is."""
    directions: Tensor
    """``(p, C, H, W)``"""


@dataclass(frozen=True, kw_only=True)
class FiniteDifferences(Method):
    """Steps along estimated gradients: ``samples`` probes and a look at the result in each step.

    No step is begun that ``queries`` would cut short. ``width`` is how far the probes lie away.
    """

    threat: Threat
    queries: int = 10_000
    samples: int
    width: float
    lr: float = 0.01

    access: ClassVar[Access] = "score"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    cost: ClassVar[str] = "samples + 1 forwards"
    objective: ClassVar[Objective]
    apart: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 2 or self.samples % 2:
            raise InvalidParameterError(
                f"samples is {self.samples}; expected an even number of 2 or more: they go in pairs"
            )
        if self.queries < self.samples + 1:
            raise InvalidParameterError(
                f"queries is {self.queries}; expected at least samples + 1 = {self.samples + 1}, "
                "which one step takes"
            )
        for name in ("width", "lr"):
            if not 0 < getattr(self, name) <= 1:
                raise InvalidParameterError(
                    f"{name} is {getattr(self, name)}; expected above 0, at most 1"
                )

    @property
    def probes(self) -> bool:
        """Its probes lie around the image."""
        return True

    def start(self, samples: Samples) -> EstimateState:
        """At the images."""
        zero, none = torch.zeros_like(samples.images), torch.zeros_like(samples.classes)
        return EstimateState(
            samples=samples,
            images=samples.images,
            direction=self._direction(samples.images, samples.keys, none),
            ahead=torch.zeros_like(none, dtype=torch.double),
            total=zero,
            mean=zero,
            square=zero,
            probe=none,
            steps=none,
            queries=none,
            done=none > 0,
        )

    def ask_within(self, state: EstimateState, room: int) -> Pairs:
        """So many pairs of probes of each sample, or the one next image."""
        left = (self.samples - state.probe).clamp(0, room)
        pairs = torch.where(state.probe % 2 == 0, left // 2, 0)
        of, number = crowd(pairs)
        directions, later = state.direction[of], _rows(number > 0)
        if len(later):
            own = of[later]
            drawn = self._direction(
                state.images[own], state.samples.keys[own], state.queries[own] + 2 * number[later]
            )
            directions = directions.index_copy(0, later, drawn)
        owners, before = crowd((2 * pairs).clamp(min=1))
        probe = state.probe[owners] + before
        along = state.direction[owners]
        together = _rows(pairs[owners] > 0)
        if len(together):
            along = along.index_copy(0, together, directions.repeat_interleave(2, 0))
        side = torch.where(probe < self.samples, 1 - 2 * (probe % 2), 0)
        samples = state.samples
        return Pairs(
            (state.images[owners] + self.width * column(side) * along).clamp_(0, 1),
            False,
            self.objective.towards(samples.towards[owners]),
            samples.classes[owners],
            owners=owners if len(owners) > len(pairs) else None,
            aside=probe < self.samples,
            of=of,
            directions=directions,
        )

    def tell_all(self, state: EstimateState, query: Query, answer: Answer) -> EstimateState:
        """Add up pairs; after the last one move; after the look at the image begin again."""
        assert answer.objective is not None
        assert isinstance(query, Pairs)
        value, owners = answer.objective.to(state.ahead.dtype), query.whose
        count = owners.bincount(minlength=len(state.done))
        probe, queries, paired = state.probe + count, state.queries + count, count > 1
        first = value[count.cumsum(0) - count]
        looked = probe > self.samples
        second = (probe % 2 == 0) & ~looked & ~paired
        if bool(second.any()):
            rise = torch.where(second, state.ahead - first, 0).to(state.images.dtype)
            state = replace(state, total=state.total + column(rise) * state.direction)
        if len(query.of):
            ahead, behind = value[paired[owners]].view(-1, 2).unbind(1)
            rises = column((ahead - behind).to(state.images.dtype)) * query.directions
            state = replace(state, total=state.total.index_add(0, query.of, rises))
        ready = probe == self.samples
        if bool(ready.any()):
            state = self._step(state, ready)
        fresh = _rows(((second | paired) & ~ready) | looked)
        direction = state.direction
        if len(fresh):
            drawn = self._direction(state.images[fresh], state.samples.keys[fresh], queries[fresh])
            direction = direction.index_copy(0, fresh, drawn)
        return replace(
            state,
            direction=direction,
            ahead=first,
            probe=torch.where(looked, 0, probe),
            queries=queries,
            done=looked & (queries + self.samples + 1 > self.queries),
        )

    def _step(self, state: EstimateState, ready: Tensor) -> EstimateState:
        """Move those that are ready along their estimate."""
        estimate = state.total / (self.samples * self.width)  # half as many pairs, twice the width
        moved = self._move(replace(state, total=estimate, steps=state.steps + 1))
        chosen = column(ready)
        images = self.threat.project(moved.images, state.samples.images)
        return replace(
            state,
            images=torch.where(chosen, images, state.images),
            total=torch.where(chosen, 0, state.total),
            mean=torch.where(chosen, moved.mean, state.mean),
            square=torch.where(chosen, moved.square, state.square),
            steps=torch.where(ready, moved.steps, state.steps),
        )

    def _direction(self, like: Tensor, keys: Tensor, draw: Tensor) -> Tensor:
        """A random direction for each image."""
        raise NotImplementedError

    def _move(self, state: EstimateState) -> EstimateState:
        """The images after a step, before projection; the estimate lies in ``total``."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class NES(FiniteDifferences):
    """Natural evolution strategies: normal directions, momentum, steps along the sign.

    The defaults are those of the paper and of the authors' code: 50 samples, width 0.001 (its
    sigma), steps of 0.01, a momentum of 0.9 and 10,000 queries. The code also halves the step when
    the last of five losses is above the first; that is left out. In L2, which the paper does not
    treat, the step goes along the mean and is as long as one along its sign.
    """

    samples: int = 50
    width: float = 0.001
    momentum: float = 0.9

    paper: ClassVar[str] = "Ilyas, Engstrom, Athalye, Lin 2018 (1804.08598)"
    objective: ClassVar[Objective] = LOG_PROBABILITY

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise InvalidParameterError(f"momentum is {self.momentum}; expected 0 to below 1")

    def _direction(self, like: Tensor, keys: Tensor, draw: Tensor) -> Tensor:
        return randomness.normal(keys, draw, tuple(like.shape[1:])).to(like.dtype)

    def _move(self, state: EstimateState) -> EstimateState:
        mean = self.momentum * state.mean + (1 - self.momentum) * state.total
        if self.threat.name == "linf":
            step = mean.sign()
        else:
            # Divided by its root mean square, in double precision so that squares do not vanish.
            size = mean.double().flatten(1).square().mean(1).sqrt()
            step = (mean / column(size)).nan_to_num().to(mean.dtype)
        return replace(state, images=state.images + self.lr * step, mean=mean)


@dataclass(frozen=True, kw_only=True)
class SPSA(FiniteDifferences):
    """Simultaneous perturbation: directions of 1 and -1, steps by Adam.

    Width (the paper's delta) and ``lr`` are 0.01 as in the paper, which takes up to 8192 samples
    for a step; 128 is the default of the authors' code. L2 is not in the paper: only the
    projection is another.
    """

    samples: int = 128
    width: float = 0.01

    paper: ClassVar[str] = "Uesato, O'Donoghue, van den Oord, Kohli 2018 (1802.05666)"
    objective: ClassVar[Objective] = MARGIN

    def _direction(self, like: Tensor, keys: Tensor, draw: Tensor) -> Tensor:
        drawn = randomness.uniform(keys, draw, tuple(like.shape[1:]))
        return (drawn < 0.5).to(like.dtype) * 2 - 1

    def _move(self, state: EstimateState) -> EstimateState:
        step, mean, square = adam(state.total, state.mean, state.square, column(state.steps))
        return replace(state, images=state.images + self.lr * step, mean=mean, square=square)


def _rows(chosen: Tensor) -> Tensor:
    return chosen.nonzero().squeeze(1)
