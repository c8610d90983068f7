"""JSMA, the Jacobian saliency map attack: the pair of pixel values that helps most, repeatedly.

Papernot et al. 2016. With ``F_t`` the logit of the wanted class, a pair ``(p, q)`` of pixel values
has ``alpha = dF_t/dx_p + dF_t/dx_q`` and ``beta``, the same sum for all other logits together;

    of the pairs with ``alpha > 0`` and ``beta < 0`` the one with the largest ``-alpha * beta``

moves by ``theta``; for a negative ``theta`` the signs are turned. Values at the end of the box take
no part. The search ends at a success, when no such pair is left, or when ``gamma`` of the values
have been moved (a value that is moved twice, which a ``theta`` below 1 allows, counts twice).

``outputs="probabilities"`` takes probabilities for the logits, which Carlini and Wagner (2017) call
JSMA-F: ``beta`` is then ``-alpha``, and the two values count at which the wanted probability rises
most. On digits, towards the label plus 1, it needs fewer values and reaches more: 14 of 14 pictures
with 24 pixels in the median, against 10 of 14 with 50 on logits.

The defaults are the field's: ``theta`` 1 as in the paper, ``gamma`` 0.1 (the paper 0.145). A value
is that of one channel, so in colour pictures a pair may be two channels of one pixel; distances and
``eps`` are in L0, which counts pixel positions, and a search is over once it has changed more.

The paper only goes towards a wanted class. Away from a class this goes towards another one, as is
usual: the strongest other at the clean image, and with restarts the next strongest. Any
misclassification is a success. (ART draws that class; torchattacks takes the label plus 1.) With
ten classes ``restarts=9`` keeps the closest of all nine.

All ``d^2`` pairs are searched without looking at each: the best pair has no value that two others
beat in both derivatives. What remains is a handful, found by one sort.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import MARGIN
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import L0, Threat
from fluoroscope.errors import InvalidParameterError

_NO_BOUND = L0(inf)
# So many pairs are compared at once; more only where hardly any value beats another.
_PAIRS = 2**24


@dataclass(frozen=True)
class JSMAState:
    """Where ``n`` searches are."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    target: Tensor
    """``(n,)``, the class that is led to; -1 before the clean image was seen."""
    rank: Tensor
    """``(n,)``, how many stronger classes were targets before."""
    updates: Tensor
    """``(n,)``, pairs moved."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class JSMA(Method):
    """The Jacobian saliency map attack: pairs of pixel values, moved by ``theta`` each.

    ``gamma`` is the share of the pixel values that may be moved, ``outputs`` what the network's
    derivatives are taken of.
    """

    threat: Threat = _NO_BOUND
    theta: float = 1.0
    gamma: float = 0.1
    outputs: Literal["logits", "probabilities"] = "logits"

    paper: ClassVar[str] = "Papernot et al. 2016 (1511.07528)"
    norms: ClassVar[tuple[str, ...]] = ("l0",)
    cost: ClassVar[str] = "1 forward, 2 backward"
    minimum_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(-1, "theta", high=1)
        if self.theta == 0:
            raise InvalidParameterError("theta is 0; expected a change from -1 to 1, but not 0")
        self._expect(0, "gamma", high=1)
        if self.outputs not in ("logits", "probabilities"):
            raise InvalidParameterError(
                f"outputs is {self.outputs!r}; expected logits or probabilities"
            )

    def start(self, samples: Samples) -> JSMAState:
        """At the images.

        Raises:
            InvalidParameterError: ``gamma`` is less than a pair of these images' values.
        """
        if self._pairs(samples.images) < 1:
            size = samples.images[0].numel()
            raise InvalidParameterError(
                f"gamma is {self.gamma}: not a pair of {size} pixel values; expected at least "
                f"{2 / size:.2g}"
            )
        count = torch.zeros_like(samples.classes)
        return JSMAState(
            samples=samples,
            images=samples.images,
            target=torch.where(samples.towards > 0, samples.classes, -1),
            rank=samples.restart,
            updates=count,
            done=torch.zeros_like(count, dtype=torch.bool),
        )

    def ask(self, state: JSMAState) -> Query:
        """The present images; the slopes of the target's logit and of all others' sum."""

        def both(logits: Tensor, _: Tensor) -> Tensor:
            target = _target(state, logits.detach())[:, None]
            numbers = logits if self.outputs == "logits" else logits.softmax(1)
            own = numbers.gather(1, target).squeeze(1)
            return torch.stack([own, numbers.scatter(1, target, 0).sum(1)], 1)

        wanted = state.updates < self._pairs(state.images)
        return Query(
            state.images,
            gradient=False,
            objective=MARGIN.towards(state.samples.towards),
            classes=state.samples.classes,
            several=both if bool(wanted.any()) else None,
            several_wanted=wanted,
        )

    def tell(self, state: JSMAState, answer: Answer) -> JSMAState:
        """Move the best pair; done at a success, or without one, or when enough were moved."""
        done = is_reached(answer, state.samples.classes, state.samples.towards)
        done = done | (state.updates >= self._pairs(state.images))
        if answer.jacobian is None:
            return replace(state, done=done)
        here = state.images.flatten(1)
        gain, loss = (answer.jacobian.flatten(2) * (1 if self.theta > 0 else -1)).unbind(1)
        free = here < 1 if self.theta > 0 else here > 0
        pair, found = best_pair(gain.where(free, -inf), -loss.where(free, inf))
        moved = here.scatter_add(1, pair, torch.full_like(here[:, :2], self.theta)).clamp(0, 1)
        images = torch.where(found[:, None], moved, here).view_as(state.images)
        farther = self.threat.distance(images - state.samples.images) > float(self.threat.eps)
        return replace(
            state,
            images=images,
            target=_target(state, answer.logits),
            updates=state.updates + 1,
            done=done | ~found | farther,
        )

    def _pairs(self, images: Tensor) -> int:
        return int(self.gamma * images[0].numel() / 2)


def best_pair(gain: Tensor, fall: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``(gain_p + gain_q) * (fall_p + fall_q)`` is largest, both sums being above 0.

    Args:
        gain: ``(n, d)``, by how much the wanted logit rises with each value; -inf for those that
            take no part.
        fall: ``(n, d)``, by how much the sum of the others falls.

    Returns:
        The pairs ``(n, 2)``, and whether there is one ``(n,)``.
    """
    # In order of gain, whoever comes before has no less of it: a value that falls short of two of
    # those in `fall` cannot be missed in a pair, for one of them would do as well or better.
    gain, order = (gain / _peak(gain)).sort(1, descending=True)
    fall = (fall / _peak(fall)).gather(1, order)
    first = _before(fall.cummax(1).values)
    second = _before(torch.minimum(fall, first).cummax(1).values)
    kept = fall > second
    width = max(int(kept.sum(1).max()), 2)
    places = torch.arange(gain.shape[1], 0, -1, device=gain.device)
    chosen = torch.where(kept, places, 0).topk(width, dim=1).indices
    left = kept.gather(1, chosen)
    gain = gain.gather(1, chosen).where(left, -inf)
    fall = fall.gather(1, chosen).where(left, -inf)
    numbers = torch.arange(width, device=gain.device)
    value = torch.full_like(gain[:, 0], -1)
    pair = chosen[:, :2]
    for part in numbers.split(max(_PAIRS // gain.numel(), 1)):
        rise = gain[:, part, None] + gain[:, None]
        drop = fall[:, part, None] + fall[:, None]
        valid = (rise > 0) & (drop > 0) & (numbers[part, None] != numbers)
        best, place = torch.where(valid, rise * drop, -1).flatten(1).max(1)
        ends = torch.stack([part[place // width], place % width], 1)
        pair = torch.where((best > value)[:, None], chosen.gather(1, ends), pair)
        value = value.maximum(best)
    return order.gather(1, pair), value >= 0


def _peak(values: Tensor) -> Tensor:
    """The largest finite size of each row, so that no product underflows."""
    size = values.abs().where(values.isfinite(), 0).amax(1, keepdim=True)
    return torch.where(size > 0, size, 1)


def _before(values: Tensor) -> Tensor:
    """Each row one place later, after -inf."""
    return torch.cat([torch.full_like(values[:, :1], -inf), values[:, :-1]], 1)


def _target(state: JSMAState, logits: Tensor) -> Tensor:
    """The class each search goes to; where it is not known yet, by the clean image's logits."""
    if bool((state.target >= 0).all()):
        return state.target
    others = logits.scatter(1, state.samples.classes[:, None], -inf)
    ranked = others.argsort(dim=1, descending=True, stable=True)
    strongest = ranked.gather(1, (state.rank % (logits.shape[1] - 1))[:, None]).squeeze(1)
    return torch.where(state.target < 0, strongest, state.target)
