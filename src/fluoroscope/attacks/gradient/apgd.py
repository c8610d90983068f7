"""Auto-PGD: projected gradient ascent that halves its own step, without a parameter to tune.

``z = P(x_k + step * d(gradient))``, ``x_{k+1} = P(x_k + a (z - x_k) + (1 - a)(x_k - x_{k-1}))``,
where ``a = 0.75`` (1 in the first step), ``d`` is the sign in Linf and the unit vector in L2, and
``step = 2 eps`` at first (Croce and Hein 2020, "Reliable evaluation of adversarial robustness with
an ensemble of diverse parameter-free attacks", 2003.01690).

At checkpoints the step is halved, and the search goes on from its best point, if (1) the loss rose
in no more than 0.75 of the window's steps, or (2) the step was not halved at the last checkpoint
and the best loss has not grown since. Where the paper's text and its authors' programme differ
(whole windows from ``0.22 steps``, each shorter by ``0.03 steps`` down to ``0.06 steps``; "no more
than"; no condition 2 at the first checkpoint) this is the programme, which made the published
figures. Deviations:

* The first step is a rise if it raises the loss; the programme compares it with 0.
* L2 projects into the box first and then into the ball, as everywhere here: the programme clips
  last, and so loses length that it may use.
* The gradient at the last point is not computed: nobody needs it.

In L1 the steps are sparse and another rule sets their size: see :mod:`.apgd_l1`.

The targets of :class:`APGDT` may be ranked as in MALT (Melamed, Yehudai and Vardi 2024, "MALT
powers up adversarial attacks", 2407.02240): by how far the border to a class would be if the
network went on as straight as it begins, ``(z_y - z_t) / ||grad(z_y - z_t)||``, instead of by
``z_t`` alone. Theirs is the Euclidean norm throughout; this takes the dual one of the threat
model's, which is what makes the quotient a distance in that norm.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.gradient.apgd_l1 import L1State, SparseAscent
from fluoroscope.attacks.minimum_norm import planes
from fluoroscope.engine import randomness
from fluoroscope.engine.bounds import as_number
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import CROSS_ENTROPY, DLR, Objective, targeted_dlr
from fluoroscope.engine.stream import Query, Samples, put, take
from fluoroscope.engine.threats import Threat
from fluoroscope.engine.vectors import chosen, column, units
from fluoroscope.errors import InvalidParameterError

MOMENTUM = 0.75
RHO = 0.75
LOSSES = {"ce": CROSS_ENTROPY, "dlr": DLR}


@dataclass(frozen=True)
class APGDState:
    """Where ``n`` searches are; values are of the loss, which is raised."""

    original: Tensor
    """``(n, C, H, W)``"""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    previous: Tensor
    """``(n, C, H, W)``, where the last step began."""
    classes: Tensor
    """``(n,)``"""
    towards: Tensor
    """``(n,)``, 1 where the class is wanted, -1 where it is to be left."""
    updates: Tensor
    """``(n,)``, steps made."""
    step_size: Tensor
    """``(n,)``, in pixel values (Linf) or as Euclidean length (L2)."""
    value: Tensor
    """``(n,)``, at the last point."""
    best_value: Tensor
    """``(n,)``, the highest so far."""
    best_images: Tensor
    """``(n, C, H, W)``, where it was found."""
    best_gradient: Tensor
    """``(n, C, H, W)``, the loss's gradient there."""
    rises: Tensor
    """``(n,)``, steps since the last checkpoint that raised the loss."""
    window: Tensor
    """``(n,)``, steps from the last checkpoint to the next."""
    checkpoint: Tensor
    """``(n,)``, the number of steps at which the next one comes."""
    checked_value: Tensor
    """``(n,)``, the best value at the last checkpoint; -inf before the first."""
    halved: Tensor
    """``(n,)`` booleans: the last checkpoint halved the step."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class APGD(Method):
    """Auto-PGD on the cross-entropy (``ce``) or the difference of logits ratio (``dlr``).

    A run takes ``steps + 1`` forward and ``steps`` backward passes from a random start; in L1 up to
    two forward passes more, and it looks outside the ball on its way.
    """

    threat: Threat
    steps: int = 100
    loss: Literal["ce", "dlr"] = "ce"

    paper: ClassVar[str] = "Croce, Hein 2020 (2003.01690), 2021 (L1, 2103.01208)"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "steps")
        if self.loss not in LOSSES:
            raise InvalidParameterError(
                f"loss is {self.loss!r}; expected {' or '.join(LOSSES)} (APGDT for targeted DLR)"
            )

    @property
    def probes(self) -> bool:
        """In L1 the search leaves the ball on its way."""
        return self.threat.name == "l1"

    def start(self, samples: Samples) -> APGDState | L1State:
        """At a random point on the surface of the ball, clamped to the box."""
        if self.threat.name == "l1":
            return self._sparse.start(samples)
        eps = as_number(self.threat.eps)
        images = samples.images
        start = self.threat.project(images + eps * self._random(samples), images)
        unknown = torch.full_like(samples.towards, -torch.inf, dtype=torch.double)
        none = torch.zeros_like(samples.classes)
        no = torch.zeros_like(samples.classes, dtype=torch.bool)
        window = none + max(int(0.22 * self.steps), 1)
        return APGDState(
            original=images,
            images=start,
            previous=start,
            classes=samples.classes,
            towards=samples.towards,
            updates=none,
            step_size=torch.full_like(samples.towards, 2 * eps, dtype=images.dtype),
            value=-unknown,
            best_value=unknown,
            best_images=start,
            best_gradient=torch.zeros_like(start),
            rises=none,
            window=window,
            checkpoint=window,
            checked_value=unknown,
            halved=no,
            done=no,
        )

    def ask(self, state: APGDState | L1State) -> Query:
        """The present images; after the last step nobody needs their gradient."""
        wanted = state.left > 0 if isinstance(state, L1State) else state.updates < self.steps
        return Query(state.images, wanted, LOSSES[self.loss].towards(-state.towards), state.classes)

    def tell(self, state: APGDState | L1State, answer: Answer) -> APGDState | L1State:
        """Note the best point, look at the step size at a checkpoint, and step."""
        if isinstance(state, L1State):
            return self._sparse.tell(state, answer)
        done = state.updates >= self.steps
        if answer.gradient is None:
            return replace(state, done=done)
        assert answer.objective is not None
        state = _noted(replace(state, done=done), answer.objective, answer.gradient)
        gradient = answer.gradient
        at = state.updates == state.checkpoint
        if bool(at.any()):
            state, gradient = self._checked(state, gradient, at)
        return self._moved(state, gradient)

    @cached_property
    def _sparse(self) -> SparseAscent:
        return SparseAscent(as_number(self.threat.eps), self.steps)

    def _checked(self, state: APGDState, gradient: Tensor, at: Tensor) -> tuple[APGDState, Tensor]:
        """Halve the step and return to the best point where it helps, and set the next window."""
        stuck = ~state.halved & (state.best_value <= state.checked_value)
        halve = at & (stuck | (state.rises <= RHO * state.window))
        shorter = (state.window - max(int(0.03 * self.steps), 1)).clamp(
            min=max(int(0.06 * self.steps), 1)
        )
        state = replace(
            state,
            images=chosen(halve, state.best_images, state.images),
            step_size=torch.where(halve, state.step_size / 2, state.step_size),
            rises=state.rises.masked_fill(at, 0),
            window=torch.where(at, shorter, state.window),
            checkpoint=torch.where(at, state.updates + shorter, state.checkpoint),
            checked_value=torch.where(at, state.best_value, state.checked_value),
            halved=torch.where(at, halve, state.halved),
        )
        return state, chosen(halve, state.best_gradient, gradient)

    def _moved(self, state: APGDState, gradient: Tensor) -> APGDState:
        here, original = state.images, state.original
        size = column(state.step_size)
        ahead = self.threat.project(here + size * self._along(gradient), original).sub_(here)
        # The first step has no momentum: its last one is zero.
        share = column(torch.where(state.updates == 0, 1.0, MOMENTUM).to(here))
        last = (here - state.previous).mul_(1 - share)
        moved = ahead.mul_(share).add_(here).add_(last)
        return replace(
            state,
            images=self.threat.project(moved, original),
            previous=here,
            updates=state.updates + 1,
        )

    def _random(self, samples: Samples) -> Tensor:
        """Noise of norm 1."""
        shape = tuple(samples.images.shape[1:])
        if self.threat.name == "linf":
            noise = 2 * randomness.uniform(samples.keys, 0, shape) - 1
        else:
            noise = randomness.normal(samples.keys, 0, shape)
        return (noise / column(self.threat.distance(noise))).to(samples.images.dtype)

    def _along(self, gradient: Tensor) -> Tensor:
        if self.threat.name == "linf":
            return gradient.sign()
        return units(gradient)


@dataclass(frozen=True)
class APGDTState:
    """Where ``n`` series of searches are."""

    samples: Samples
    search: APGDState | L1State
    """The search under way."""
    left: Tensor
    """``(n,)``, the class each search leaves."""
    targets: Tensor
    """``(n, targets)``, the classes to try, the most promising first."""
    distances: Tensor
    """``(n, targets)``, to their borders if the network were linear, where they are ranked so."""
    count: Tensor
    """``(n,)``, how many of them there are."""
    number: Tensor
    """``(n,)``, which is under way; below 0 while the clean image is looked at."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class APGDT(Method):
    """Auto-PGD on the targeted difference of logits ratio, towards one class after the other.

    First it looks at the clean image. The targets are its ``targets`` highest-scoring
    wrong classes, each with a run of ``steps`` and a random start of its own; any misclassification
    is success. If called ``targeted`` there is one run, towards the wanted class.

    With ``candidates`` the targets are those of so many highest-scoring classes whose borders are
    nearest in the linearised network, the nearest first, as in MALT; it looks at the clean image
    once for each, forward and back.
    """

    threat: Threat
    steps: int = 100
    targets: int = 9
    candidates: int | None = None

    paper: ClassVar[str] = APGD.paper
    norms: ClassVar[tuple[str, ...]] = APGD.norms

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "steps", "targets")
        if self.candidates is not None and self.candidates < self.targets:
            raise InvalidParameterError(
                f"candidates is {self.candidates} and targets {self.targets}; expected as many "
                "candidates or more, for the targets are chosen among them"
            )

    @property
    def probes(self) -> bool:
        """As the single search does."""
        return self._search().probes

    def start(self, samples: Samples) -> APGDTState:
        """Before the clean image; until its logits are known any other class stands in."""
        other = (samples.classes == 0).long()
        wanted = samples.towards > 0
        target = torch.where(wanted, samples.classes, other)
        targets = target[:, None].repeat(1, self.candidates or self.targets)
        return APGDTState(
            samples=samples,
            search=self._search().start(samples),
            left=torch.where(wanted, other, samples.classes),
            targets=targets,
            distances=torch.full_like(targets, torch.inf, dtype=torch.double),
            count=torch.ones_like(target),
            number=torch.full_like(target, -1),
            done=torch.zeros_like(wanted),
        )

    def ask(self, state: APGDTState) -> Query:
        """The clean image, or that of the search under way."""
        looking = state.number < 0
        # Looks are counted downwards from -1, and each is at one candidate.
        at = torch.where(looking, -1 - state.number, state.number)
        target = state.targets.gather(1, at[:, None]).squeeze(1)
        images, loss = state.search.images, targeted_dlr(state.left)
        wanted = ~looking & self._search().ask(state.search).gradient
        if bool(looking.any()):
            images = chosen(looking, state.samples.images, images)
            if self.candidates is not None:
                wanted = wanted | looking
                loss = _lead_where(looking, state.left, loss)
                target = torch.where(state.number == -1, -1, target)
        return Query(images, wanted, loss, target)

    def tell(self, state: APGDTState, answer: Answer) -> APGDTState:
        """Rank the targets, make a step, or begin towards the next target."""
        search = self._search().tell(state.search, answer)
        looking = state.number < 0
        looked = looking
        if bool(looking.any()):
            state = self._named(state, answer.logits)
            if self.candidates is not None:
                state, looked = self._ranked(state, answer)
        over = looked | (~looking & search.done)
        number = torch.where(looking, torch.where(looked, 0, state.number - 1), state.number + over)
        done = number >= state.count
        rows = (over & ~done).nonzero().squeeze(1)
        if len(rows):
            samples = take(state.samples, rows)
            own = replace(samples, keys=randomness.keys(0, samples.keys, number[rows]))
            search = put(search, rows, self._search().start(own))
        return replace(state, search=search, number=number, done=done)

    def _named(self, state: APGDTState, logits: Tensor) -> APGDTState:
        """After a first look: the highest-scoring other classes."""
        first, wanted = state.number == -1, state.samples.towards > 0
        others = logits.scatter(1, state.samples.classes[:, None], -torch.inf)
        most = min(state.targets.shape[1], logits.shape[1] - 1)
        found = others.topk(most, dim=1).indices
        targets = state.targets.clone()
        rows = first & ~wanted
        targets[rows, :most] = found[rows]
        return replace(
            state,
            left=torch.where(first & wanted, found[:, 0], state.left),
            targets=targets,
            count=torch.where(rows, min(most, self.targets), state.count),
        )

    def _ranked(self, state: APGDTState, answer: Answer) -> tuple[APGDTState, Tensor]:
        """After each look: how far its border is; after the last one, the nearest first.

        Also who has looked at all candidates, ``(n,)``.
        """
        assert answer.objective is not None
        assert answer.gradient is not None
        lead, gradient = answer.objective.double(), answer.gradient
        distance = planes.distances(lead[:, None], gradient[:, None], self.threat.name)
        looking = state.number < 0
        at = torch.where(looking, -1 - state.number, 0)[:, None]
        distances = torch.where(
            looking[:, None], state.distances.scatter(1, at, distance), state.distances
        )
        most = min(state.targets.shape[1], answer.logits.shape[1] - 1)
        looked = looking & ((at.squeeze(1) + 1 >= most) | (state.samples.towards > 0))
        order = distances.argsort(dim=1, stable=True)
        targets = torch.where(looked[:, None], state.targets.gather(1, order), state.targets)
        return replace(state, targets=targets, distances=distances), looked

    def _search(self) -> APGD:
        return APGD(threat=self.threat, steps=self.steps)


def _lead_where(looking: Tensor, left: Tensor, loss: Objective) -> Objective:
    """How far a class leads over the classes ``left`` ``(n,)`` where it is looked at, else a loss.

    The class -1 is the strongest other one.
    """

    def function(logits: Tensor, classes: Tensor) -> Tensor:
        strongest = logits.scatter(1, left[:, None], -torch.inf).argmax(1)
        classes = torch.where(classes < 0, strongest, classes)
        own, other = (logits.gather(1, c[:, None]).squeeze(1) for c in (left, classes))
        return torch.where(looking, other - own, loss(logits, classes))

    return Objective("lead, or " + loss.name, function)


def _noted(state: APGDState, value: Tensor, gradient: Tensor) -> APGDState:
    """The state with the loss at its images."""
    better = value > state.best_value
    return replace(
        state,
        value=value,
        rises=state.rises + (value > state.value),
        best_value=torch.maximum(value, state.best_value),
        best_images=chosen(better, state.images, state.best_images),
        best_gradient=chosen(better, gradient, state.best_gradient),
    )
