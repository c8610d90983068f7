"""FAB, the fast adaptive boundary attack: along the border, drawn back to the clean image.

Croce and Hein 2020. With ``pi`` the linearised border nearest to ``x``, ``d`` and ``d_0`` the
smallest moves within ``[0, 1]`` from ``x`` and from the clean ``x_0`` onto it,

    ``x <- clamp((1 - a) * (x + eta * d) + a * (x_0 + eta * d_0))``,
    ``a = min(||d|| / (||d|| + ||d_0||), alpha_max)``;

each success is then pulled back: ``x <- x_0 + beta * (x - x_0)``.

The targeted form looks at one other class at a time, so a step costs one pass back instead of one
for each class; it makes the whole search for each of the ``targets`` strongest classes.

Where this differs from the paper:

* The points pulled back are judged as well, and may be the closest success.
* The closing search between the closest success and the clean image is left out, as in AutoAttack.
* FAB looks at no more than ``candidates`` classes, the strongest at the present image, for each
  costs a pass back; the paper looks at all.
* The paper begins at the clean image, and restarts at a random point half as far from it as
  ``eps`` or the closest success. Here ``random_start`` says which for all restarts, and goes half
  as far as ``eps``.
* Towards a class that the user wants there is one border, to whichever class is strongest at the
  moment.

A step takes two evaluations: gradients where it starts, and the logits alone where it leads. The
gradients are asked for when no sample of the batch waits for its logits, so a sample that enters
out of turn waits once, and from then on all keep step.
"""

from dataclasses import dataclass, replace
from math import isinf
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.engine import chance
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import MARGIN, Objective, leads
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True)
class FABState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``, the clean images."""
    begin: Tensor
    """``(n, C, H, W)``, where the search for each target begins."""
    images: Tensor
    """``(n, C, H, W)``, what the network is shown next."""
    stepped: Tensor
    """``(n,)`` booleans: the image comes from a step and is to be judged; no gradient yet."""
    updates: Tensor
    """``(n,)``, steps made in the search for the present target."""
    targets: Tensor
    """``(n, T)``, the present target and those to come; -1 is the strongest rival, or no more."""
    classes: Tensor
    """``(n,)``, the class to leave or to reach."""
    towards: Tensor
    """``(n,)``, 1 to reach the class, -1 to leave it."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class _AdaptiveBoundary(Method):
    """What both forms share: the step."""

    threat: Threat
    steps: int = 100
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    random_start: bool = False

    minimum_norm: ClassVar[bool] = True
    paper: ClassVar[str] = "Croce, Hein 2020 (1907.02044)"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        if self.threat.name not in self.norms:
            raise InvalidParameterError(
                f"{type(self).__name__} has no projection for the norm {self.threat.name}; "
                "expected linf or l2"
            )
        if self.steps < 1:
            raise InvalidParameterError(f"steps is {self.steps}; expected 1 or more")
        for name in ("alpha_max", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidParameterError(
                    f"{name} is {getattr(self, name)}; expected a share from 0 to 1"
                )
        if not self.eta >= 1:
            raise InvalidParameterError(
                f"eta is {self.eta}; expected 1 (just to the border) or more"
            )
        if self.random_start and isinf(float(self.threat.eps)):
            raise InvalidParameterError(
                "random_start needs a bound to start within; give the threat a finite eps"
            )

    def start(self, samples: Samples) -> FABState:
        """At the image, or at a random point half way to the bound."""
        count = torch.zeros_like(samples.classes)
        no = torch.zeros_like(count, dtype=torch.bool)
        begin = self._random(samples) if self.random_start else samples.images
        targets = torch.full((len(count), self._searches() + 1), -1, device=count.device)
        return FABState(
            samples.images, begin, begin, no, count, targets, samples.classes, samples.towards, no
        )

    def tell(self, state: FABState, answer: Answer) -> FABState:
        """One step on, or a judgement: back from a success, and after the last step the next."""
        if not bool(state.stepped.any()):
            state = self._named(state, answer)
            images = self._step(state, *self._border(answer))
            return replace(
                state,
                images=images,
                stepped=torch.ones_like(state.stepped),
                updates=state.updates + 1,
            )
        back = state.stepped & is_reached(answer, state.classes, state.towards)
        pulled = state.original + self.beta * (state.images - state.original)
        images = torch.where(_wide(back), pulled, state.images)
        ended = state.stepped & (state.updates >= self.steps)
        coming = torch.cat([state.targets[:, 1:], torch.full_like(state.targets[:, :1], -1)], 1)
        return replace(
            state,
            images=torch.where(_wide(ended), state.begin, images),
            stepped=torch.zeros_like(state.stepped),
            updates=torch.where(ended, 0, state.updates),
            targets=torch.where(ended[:, None], coming, state.targets),
            done=ended & (coming[:, 0] < 0),
        )

    def _searches(self) -> int:
        """How many targets are tried, one after the other."""
        return 1

    def _named(self, state: FABState, answer: Answer) -> FABState:
        """The state after a first look at the logits."""
        return state

    def _border(self, answer: Answer) -> tuple[Tensor, Tensor]:
        """How far the rival of the nearest border leads ``(n,)``, and the slope of that lead."""
        raise NotImplementedError

    def _step(self, state: FABState, lead: Tensor, slopes: Tensor) -> Tensor:
        shape = state.images.shape
        x, clean, slope = (t.flatten(1) for t in (state.images, state.original, slopes))
        lead = lead.to(x.dtype)
        clean_lead = lead + (slope * (clean - x)).sum(1)
        both = to_plane(
            torch.cat([x, clean]),
            torch.cat([slope, slope]),
            torch.cat([lead, clean_lead]),
            self.threat.name,
        )
        moves = both.chunk(2)
        size, clean_size = self.threat.distance(both.view(-1, *shape[1:])).chunk(2)
        share = size / (size + clean_size).clamp(min=torch.finfo(x.dtype).tiny)
        alpha = share.clamp(max=self.alpha_max)[:, None]
        moved = (1 - alpha) * (x + self.eta * moves[0]) + alpha * (clean + self.eta * moves[1])
        return moved.clamp(0, 1).view(shape)

    def _random(self, samples: Samples) -> Tensor:
        shape = tuple(samples.images.shape[1:])
        if self.threat.name == "linf":
            noise = 2 * chance.uniform(samples.keys, 0, shape) - 1
        else:
            noise = chance.normal(samples.keys, 0, shape)
        noise = noise.to(samples.images.dtype)
        size = self.threat.distance(noise).view(-1, 1, 1, 1)
        return (samples.images + float(self.threat.eps) / 2 * noise / size).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class FAB(_AdaptiveBoundary):
    """The fast adaptive boundary attack, towards the nearest of the strongest rivals' borders.

    ``eta`` is how far a step goes for a border at the distance 1, ``alpha_max`` the largest pull of
    the clean image, ``beta`` the share of the way from it that a success is pulled back to;
    ``candidates`` how many classes are looked at, the one to leave included.
    """

    candidates: int = 10

    cost: ClassVar[str] = "1 forward, up to 9 backward"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates < 2:
            raise InvalidParameterError(
                f"candidates is {self.candidates}; expected 2 or more: the class to leave and "
                "another"
            )

    def ask(self, state: FABState) -> Query:
        """The present images; the gradients of the rivals' leads if nobody waits for judgement."""
        rivals = self.candidates - 1 if bool((state.towards < 0).any()) else 1
        return Query(
            state.images,
            gradient=False,
            objective=MARGIN.towards(state.towards),
            classes=state.classes,
            several=None if bool(state.stepped.any()) else leads(rivals, state.towards),
        )

    def _border(self, answer: Answer) -> tuple[Tensor, Tensor]:
        assert answer.several is not None
        assert answer.jacobian is not None
        size = _dual_size(answer.jacobian, self.threat.name)
        distances = torch.where(size > 0, answer.several.abs() / size, torch.inf)
        rows, rival = torch.arange(len(size), device=size.device), distances.argmin(1)
        return answer.several[rows, rival], answer.jacobian[rows, rival]


@dataclass(frozen=True, kw_only=True)
class TargetedFAB(_AdaptiveBoundary):
    """FAB with one search for each of the ``targets`` other classes strongest at its start.

    They are only other classes to flee to: any of them is a success, as any other is. Towards a
    class that the user wants there is one search.
    """

    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets < 1:
            raise InvalidParameterError(f"targets is {self.targets}; expected 1 or more")

    def ask(self, state: FABState) -> Query:
        """The present images; the gradient of the target's lead if nobody waits for judgement."""
        pairs = torch.stack([state.classes, state.targets[:, 0]], 1)
        wanted = not bool(state.stepped.any())
        return Query(state.images, wanted, _LEAD.towards(-state.towards), pairs)

    def _searches(self) -> int:
        return self.targets

    def _named(self, state: FABState, answer: Answer) -> FABState:
        new = (state.targets[:, 0] < 0) & (state.towards < 0)
        rivals = answer.logits.scatter(1, state.classes[:, None], -torch.inf)
        ranked = rivals.topk(min(self.targets, rivals.shape[1] - 1), dim=1).indices
        named = torch.full_like(state.targets, -1)
        named[:, : ranked.shape[1]] = ranked
        return replace(state, targets=torch.where(new[:, None], named, state.targets))

    def _border(self, answer: Answer) -> tuple[Tensor, Tensor]:
        assert answer.objective is not None
        assert answer.gradient is not None
        return answer.objective, answer.gradient


def to_plane(points: Tensor, slopes: Tensor, leads: Tensor, norm: str) -> Tensor:
    """The smallest moves within the box onto hyperplanes, exactly.

    Pixel value ``j`` moves by ``min(t * u_j, room_j)``, with ``u`` all 1 in Linf and ``|slopes|``
    in L2. What that gains grows with ``t`` in straight pieces, between which the pixel values
    arrive at an end of the box one after the other, in the order of ``room / u``. The gain is
    concave, so the wanted ``t`` is the largest that any of the pieces, prolonged, asks for.

    Args:
        points: ``(n, d)`` in ``[0, 1]``.
        slopes: ``(n, d)``, normals of the hyperplanes.
        leads: ``(n,)``; the hyperplane of a point is where ``leads + slopes * move`` is 0.
        norm: ``linf`` or ``l2``.

    Returns:
        ``(n, d)``; where the box does not reach the hyperplane, the move to its nearest corner.
    """
    # With a largest slope of 1 no square underflows.
    peak = slopes.abs().amax(1, keepdim=True).clamp(min=torch.finfo(slopes.dtype).tiny)
    slopes = slopes / torch.where(leads > 0, -1, 1).to(slopes)[:, None] / peak
    needed = leads.abs()[:, None] / peak
    size = slopes.abs()
    room = torch.where(slopes > 0, 1 - points, points)
    pace = torch.ones_like(size) if norm == "linf" else size
    arrival = torch.where(pace > 0, room / pace, torch.inf)
    order = arrival.argsort(1)
    gain, rate = ((size * by).gather(1, order) for by in (room, pace))
    arrived = gain.cumsum(1) - gain
    going = rate.flip(1).cumsum(1).flip(1)
    times = torch.where(going > 0, (needed - arrived) / going, 0).amax(1, keepdim=True)
    within = needed <= gain.sum(1, keepdim=True)
    return torch.where(within, torch.minimum(times * pace, room), room) * slopes.sign()


def _dual_size(slopes: Tensor, norm: str) -> Tensor:
    """Sizes ``(n, R)`` of slopes ``(n, R, C, H, W)`` in the norm dual to the threat's."""
    size: Tensor = torch.linalg.vector_norm(
        slopes.flatten(2), ord=1 if norm == "linf" else 2, dim=2
    )
    return size


def _lead(logits: Tensor, pairs: Tensor) -> Tensor:
    """By how much the second class of each pair ``(n, 2)``, or the strongest, leads over the first.

    The second is the strongest other class where it is -1.
    """
    own, target = pairs.split(1, dim=1)
    strongest = logits.scatter(1, own, -torch.inf).argmax(1, keepdim=True)
    rival = torch.where(target < 0, strongest, target)
    return (logits.gather(1, rival) - logits.gather(1, own)).squeeze(1)


_LEAD = Objective("lead", _lead)


def _wide(rows: Tensor) -> Tensor:
    return rows.view(-1, 1, 1, 1)
