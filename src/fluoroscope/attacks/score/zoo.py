"""ZOO, zeroth order optimisation (Chen, Zhang, Sharma, Yi, Hsieh 2017): ZOO-ADAM in L2.

Carlini and Wagner's problem without gradients: minimise ``|x' - x|^2 + c * max(-margin,
-confidence)`` where ``margin`` is the lead of the wanted class (or of the best other class over the
true one) in log-probabilities, which is its lead in logits. Each step draws some coordinates,
estimates the slope of the second term in each by ``(f(x + width * e) - f(x - width * e)) / (2 *
width)``, and moves each by Adam, whose means and count of steps each coordinate has for itself.
The slope of the distance is known. ``c`` is searched for each sample: tenfold until a search
succeeds, then by halving the interval.

The defaults are those of the paper for CIFAR-10: 1000 steps (3000 for MNIST) of 128 coordinates,
9 values of ``c`` from 0.01. That is 2.3 million queries for an image, as ``2 * coordinates + 1``
queries make a step: give a ``budget``, or smaller numbers.

Where this differs: images are cut to the box instead of going through ``tanh``, which the authors'
code offers as well, and probes too: at the edge of the box a slope is taken from one side. As in
:mod:`fluoroscope.attacks.minimum_norm.carlini_wagner` a success counts for ``c`` if it falls in the
last tenth of the steps, and a search whose loss has not fallen by 1 in 10,000 over a tenth of its
steps ends. Left out are the means for large images, searching in a smaller space that grows and
drawing coordinates by importance, and Newton's method. Where few searches are under way many
coordinates are probed at once.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.adam import adam
from fluoroscope.attacks.attack import Access, Method
from fluoroscope.attacks.minimum_norm.trade_off import Progress, TradeOff
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import capped_margin
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import L2, Threat
from fluoroscope.engine.vectors import chosen, crowd
from fluoroscope.errors import InvalidParameterError

_NO_BOUND = L2(math.inf)


@dataclass(frozen=True)
class ZOOState:
    """Where ``n`` searches are."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    images: Tensor
    """``(n, C, H, W)``, the present ones."""
    coordinates: Tensor
    """``(n, k)``, those of the present step, all different."""
    slopes: Tensor
    """``(n, k)``, the objective's slope in each, as far as it is known."""
    ahead: Tensor
    """``(n,)``, the objective at the first probe of the present pair."""
    probe: Tensor
    """``(n,)``, probes of the present step made; after all of them the image itself is next."""
    queries: Tensor
    """``(n,)``, evaluations made."""
    mean: Tensor
    """``(n, D)``, Adam's running mean of the gradient."""
    square: Tensor
    """``(n, D)``, and of its square."""
    moves: Tensor
    """``(n, D)``, how often each coordinate was moved."""
    progress: Progress
    """With the present ``c``."""
    found: Tensor
    """``(n,)`` booleans: ``c`` has given a success since the loss was last looked at."""
    trade: TradeOff
    """The weight of the margin."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class ZOO(Method):
    """ZOO-ADAM: ``searches`` values of ``c``, ``steps`` moves of so many ``coordinates`` each.

    ``width`` is how far the probes lie away, ``confidence`` the lead in logits from which an image
    counts as a success.
    """

    threat: Threat = _NO_BOUND
    searches: int = 9
    steps: int = 1000
    coordinates: int = 128
    width: float = 0.0001
    c: float = 0.01
    lr: float = 0.01
    confidence: float = 0.0
    early_abort: bool = True

    can_mask: ClassVar[bool] = False
    paper: ClassVar[str] = "Chen, Zhang, Sharma, Yi, Hsieh 2017 (1708.03999)"
    access: ClassVar[Access] = "score"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    cost: ClassVar[str] = "2 * coordinates + 1 forwards"
    minimum_norm: ClassVar[bool] = True
    apart: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "searches", "steps", "coordinates")
        self._expect(0, "confidence")
        self._expect_positive("c", "lr")
        if not 0 < self.width <= 1:
            raise InvalidParameterError(f"width is {self.width}; expected above 0, at most 1")

    def start(self, samples: Samples) -> ZOOState:
        """At the images, with the first ``c``."""
        flat = torch.zeros_like(samples.images).flatten(1)
        none = torch.zeros_like(samples.classes)
        coordinates = self._draw(samples.images, samples.keys, none)
        return ZOOState(
            samples=samples,
            images=samples.images,
            coordinates=coordinates,
            slopes=torch.zeros_like(coordinates, dtype=flat.dtype),
            ahead=torch.zeros_like(none, dtype=torch.double),
            probe=none,
            queries=none,
            mean=flat,
            square=flat,
            moves=flat,
            progress=Progress.begin(samples.images),
            found=none > 0,
            trade=TradeOff.begin(samples.images, self.c),
            done=none > 0,
        )

    def ask_within(self, state: ZOOState, room: int) -> Query:
        """So many pairs of probes of each sample, or the one next image."""
        every = 2 * state.coordinates.shape[1]
        left = (every - state.probe).clamp(0, room)
        pairs = torch.where(state.probe % 2 == 0, left // 2, 0)
        owners, before = crowd((2 * pairs).clamp(min=1))
        probe = state.probe[owners] + before
        coordinate, here = self._present(state, owners, probe)
        side = torch.where(probe < every, 1 - 2 * (probe % 2), 0)
        there = (here + self.width * side[:, None]).clamp(0, 1)
        images = state.images.flatten(1)[owners].scatter(1, coordinate, there)
        return Query(
            images.view(-1, *state.images.shape[1:]),
            False,
            capped_margin(state.samples.towards[owners], self.confidence),
            state.samples.classes[owners],
            owners=owners if len(owners) > len(pairs) else None,
        )

    def tell_all(self, state: ZOOState, query: Query, answer: Answer) -> ZOOState:
        """Note slopes; after the last one move; after the look at the image judge ``c``."""
        assert answer.objective is not None
        value, owners = answer.objective.to(state.ahead.dtype), query.whose
        count = owners.bincount(minlength=len(state.done))
        every = 2 * state.coordinates.shape[1]
        first, probe = count.cumsum(0) - count, state.probe[owners] + crowd(count)[1]
        second = ((probe % 2 == 1) & (probe < every)).nonzero().squeeze(1)
        if len(second):
            own, at = owners[second], probe[second]
            # The one before it, in the same row of probes or in the last.
            ahead = torch.where(count[own] > 1, value[second - 1], state.ahead[own])
            _, here = self._present(state, own, at)
            span = (here + self.width).clamp(0, 1) - (here - self.width).clamp(0, 1)
            slope = ((ahead - value[second])[:, None] / span).to(state.slopes.dtype).squeeze(1)
            slopes = state.slopes.index_put((own, at // 2), slope)
            state = replace(state, slopes=slopes)
        after = state.probe + count
        ready = after == every
        if bool(ready.any()):
            state = self._move(state, ready)
        looked = after > every
        state = replace(
            state,
            ahead=value[first],
            probe=torch.where(looked, 0, after),
            queries=state.queries + count,
        )
        return self._judge(state, _of(answer, first), looked) if bool(looked.any()) else state

    def _draw(self, images: Tensor, keys: Tensor, draw: Tensor) -> Tensor:
        ranks = randomness.uniform(keys, draw, (images[0].numel(),))
        return ranks.topk(min(self.coordinates, ranks.shape[1]), dim=1).indices

    def _present(self, state: ZOOState, owners: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        """The coordinate of each probe ``(m,)``, and the image's value there, ``(m, 1)``."""
        place = (probe // 2).clamp(max=state.coordinates.shape[1] - 1)
        coordinate = state.coordinates[owners, place][:, None]
        return coordinate, state.images.flatten(1)[owners[:, None], coordinate]

    def _move(self, state: ZOOState, ready: Tensor) -> ZOOState:
        """One step of Adam in the coordinates of those that are ready."""
        picked = state.coordinates
        flat, original = state.images.flatten(1), state.samples.images.flatten(1)
        here = flat.gather(1, picked)
        gradient = 2 * (here - original.gather(1, picked)) - state.trade.c[:, None] * state.slopes
        moves = state.moves.gather(1, picked) + 1
        along, mean, square = adam(
            gradient, state.mean.gather(1, picked), state.square.gather(1, picked), moves
        )
        there = here - self.lr * along

        def changed(values: Tensor, new: Tensor) -> Tensor:
            return torch.where(ready[:, None], values.scatter(1, picked, new), values)

        return replace(
            state,
            images=changed(flat, there.clamp(0, 1)).view_as(state.images),
            mean=changed(state.mean, mean),
            square=changed(state.square, square),
            moves=changed(state.moves, moves),
        )

    def _judge(self, state: ZOOState, answer: Answer, looked: Tensor) -> ZOOState:
        """After a step: whether the search for this ``c`` is over, and the next coordinates."""
        assert answer.objective is not None
        away = state.images - state.samples.images
        c = state.trade.c
        loss = away.square().flatten(1).sum(1) - c * answer.objective.to(c.dtype)
        reached = is_reached(answer, state.samples.classes, state.samples.towards, self.confidence)
        tenth = max(1, self.steps // 10)
        found = reached | (state.found & (state.progress.step % tenth != 0))
        progress, over = state.progress.after(loss, self.steps, self.early_abort, looked)
        fresh = looked.nonzero().squeeze(1)
        drawn = self._draw(state.images[fresh], state.samples.keys[fresh], state.queries[fresh])
        moved = replace(
            state,
            coordinates=state.coordinates.index_copy(0, fresh, drawn),
            progress=progress,
            found=torch.where(looked, found, state.found),
        )
        return self._next_c(moved, over) if bool(over.any()) else moved

    def _next_c(self, state: ZOOState, over: Tensor) -> ZOOState:
        trade, fresh = state.trade.following(over, state.found), over[:, None]
        return replace(
            state,
            images=chosen(over, state.samples.images, state.images),
            mean=torch.where(fresh, 0, state.mean),
            square=torch.where(fresh, 0, state.square),
            moves=torch.where(fresh, 0, state.moves),
            progress=state.progress.anew(over),
            found=state.found & ~over,
            trade=trade,
            done=trade.search >= self.searches,
        )


def _of(answer: Answer, rows: Tensor) -> Answer:
    """The answer at some of the images."""
    assert answer.objective is not None
    return Answer(answer.logits[rows], answer.objective[rows])
