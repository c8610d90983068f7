"""The constraint-relaxation attack: towards a few classes, now outside the ball and now inside it.

A search that stays in the ball stops at the first wall it meets. This one may look over it: in the
first third of a cycle the ball is larger, by the share ``scale`` of its radius; in the second third
it is as large as it is; in the last it is smaller by as much, and noise fills the difference, so
that the next cycle begins somewhere else. The scale is 0.5 at first and halves with every cycle,
down to 0.05 ("constraint relaxation", AAAI 2025; written from a description of the method alone).

* Ten steps of gradient ascent on the cross-entropy come first, and the ``targets`` classes that
  score highest where they end are tried one after the other.
* A search is at most ``steps`` steps on the difference of two logits, in cycles of thirty.
* A search is given up whose margin is too large for the scale of its cycle; one that ended below
  0.05 is made again, at most ``repeats`` times, from another start.

What the description leaves open, and where this differs:

* Margins are shares of the sample's margin at its clean image, so no search towards a class depends
  on the scale of the logits.
* Given up is what is above 0.2 times the scale after the second third, where the smallest margin
  inside the ball counts; and after the first, where the present one does: what does not come near
  the border in the larger ball will not in the smaller one.
* Steps are signed, of twice the radius where the ball is larger and of the radius elsewhere, each
  0.8 times the last, and half as long in every later cycle. The ascent on the cross-entropy begins
  at the clean image's neighbour in a random corner of the ball with a step of twice the radius, and
  each is 0.75 times the last.
* What is raised in that ascent are the log-odds, which rise in the same direction, do not saturate,
  and can be compared with leads.
* Points outside the ball are not seen a second time, moved into it, but for the one with which the
  second third begins.
* In L2, our own extension, steps are along the normalised gradient, the start is anywhere on the
  sphere, and the noise a vector of length ``scale * eps`` in any direction.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.engine import randomness
from fluoroscope.engine.bounds import as_number
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import MARGIN, Objective
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat
from fluoroscope.engine.vectors import chosen, column, lengths, units

ASCENT = 10
"""Steps on the cross-entropy."""
THIRD = 10
CYCLE = 3 * THIRD
LARGEST, SMALLEST = 0.5, 0.05
"""By which share of its radius the ball changes in the first cycle, and in the last ones."""
HOPELESS = 0.2
"""Above so many times the scale, as a share of the clean margin, a search is given up."""
AGAIN = 0.05
"""Below this share it is made again."""
_TINY = torch.finfo(torch.double).tiny


@dataclass(frozen=True)
class RelaxationState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``"""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    ascended: Tensor
    """``(n, C, H, W)``, where the ascent on the cross-entropy ended."""
    classes: Tensor
    """``(n,)``"""
    towards: Tensor
    """``(n,)``, 1 where the class is wanted, -1 where it is to be left."""
    keys: Tensor
    """``(n,)``, what its random numbers are hashed from."""
    clean: Tensor
    """``(n,)``, the margin at the clean image; infinite before it was looked at."""
    targets: Tensor
    """``(n, targets)``"""
    count: Tensor
    """``(n,)``, how many of them there are."""
    number: Tensor
    """``(n,)``, which is under way, -1 in the ascent on the cross-entropy, -2 before it."""
    repeat: Tensor
    """``(n,)``, how often its search was made before."""
    updates: Tensor
    """``(n,)``, steps that this search made."""
    least: Tensor
    """``(n,)``, its smallest margin inside the ball, as a share of the clean one."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class ConstraintRelaxation(Method):
    """Ascent on the lead of a few classes in a ball that is now larger and now smaller.

    A sample far from the border costs ``13 + 11 * targets`` forward passes, the look at the clean
    image included, and ``11 + 11 * targets`` backward ones; one that is close to it up to
    ``repeats + 1`` searches of ``steps`` for each target.
    """

    threat: Threat
    targets: int = 3
    steps: int = 150
    repeats: int = 4

    paper: ClassVar[str] = "Constraint relaxation (AAAI 2025)"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "targets", "steps")
        self._expect(0, "repeats")

    @property
    def probes(self) -> bool:
        """It looks outside the ball."""
        return True

    def start(self, samples: Samples) -> RelaxationState:
        """At the clean images, in float32 at least."""
        images, none = samples.images, torch.zeros_like(samples.classes)
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        no = torch.zeros_like(none, dtype=torch.bool)
        unknown = torch.full_like(samples.towards, torch.inf, dtype=torch.double)
        return RelaxationState(
            original=images, images=images, ascended=images,
            classes=samples.classes, towards=samples.towards, keys=samples.keys,
            clean=unknown, targets=none[:, None].repeat(1, self.targets), count=none + 1,
            number=none - 2, repeat=none, updates=none, least=unknown, done=no,
        )  # fmt: skip

    def ask(self, state: RelaxationState) -> Query:
        """The present images; the last of a search lead nowhere.

        Clean ones neither, but whether they have a slope is worth a pass to who judges the search.
        """
        wanted = state.updates < self._length(state)
        target = state.targets.gather(1, state.number.clamp(min=0)[:, None]).squeeze(1)
        return Query(state.images, wanted, _loss(state), target)

    def tell(self, state: RelaxationState, answer: Answer) -> RelaxationState:
        """Note the margin; then make a step, or begin another search."""
        margin = MARGIN(answer.logits.double(), state.classes) * -state.towards
        before, searching = state.number == -2, state.number >= 0
        clean = torch.where(before, margin.abs().clamp(min=_TINY), state.clean)
        # Steps of this cycle; the first third of them led outside the ball.
        made, share = state.updates % CYCLE, margin / clean
        outside = (made > 0) & (made <= THIRD)
        least = torch.where(searching & ~outside, share.minimum(state.least), state.least)
        far = torch.where(made == THIRD, share, least) > HOPELESS * _scale(state.updates)
        hopeless = searching & far & ((made == THIRD) | (made == 2 * THIRD))
        over = before | hopeless | (state.updates >= self._length(state))
        evaluated = state.images
        if answer.gradient is not None:
            images = self._moved(state, answer.gradient)
            state = replace(state, images=images, updates=state.updates + 1)
        state = replace(state, clean=clean, least=least)
        return self._begun(state, over, evaluated, answer.logits) if bool(over.any()) else state

    def _length(self, state: RelaxationState) -> Tensor:
        """Steps of the search under way, ``(n,)``."""
        return torch.where(state.number < 0, ASCENT, self.steps)

    def _begun(
        self, state: RelaxationState, over: Tensor, ends: Tensor, logits: Tensor
    ) -> RelaxationState:
        """Where a search is over ``(n,)`` the next one begins, or none is left.

        ``ends`` and ``logits`` are the images that were evaluated, and what was said of them.
        """
        named = over & (state.number == -1)
        if bool(named.any()):
            state = self._named(state, named, ends, logits)
        again = over & (state.number >= 0) & (state.least < AGAIN) & (state.repeat < self.repeats)
        number = state.number + (over & ~again)
        repeat = torch.where(over, torch.where(again, state.repeat + 1, 0), state.repeat)
        # The first search of a target begins where the ascent ended.
        images = chosen(over, state.ascended, state.images)
        begun = replace(
            state,
            number=number,
            repeat=repeat,
            updates=state.updates.masked_fill(over, 0),
            least=state.least.masked_fill(over, torch.inf),
            done=number >= state.count,
        )
        drawn = (over & ((number < 0) | (repeat > 0))).nonzero().squeeze(1)
        if len(drawn):
            images = images.index_copy(0, drawn, self._drawn(begun, drawn))
        return replace(begun, images=images)

    def _named(
        self, state: RelaxationState, rows: Tensor, ends: Tensor, logits: Tensor
    ) -> RelaxationState:
        """With the targets of those whose ascent has ended: the strongest other classes."""
        most = min(self.targets, logits.shape[1] - 1)
        others = logits.scatter(1, state.classes[:, None], -torch.inf)
        targets, wanted = state.targets.clone(), state.towards > 0
        targets[rows, :most] = others.topk(most, dim=1).indices[rows]
        return replace(
            state,
            targets=targets,
            count=torch.where(rows, torch.where(wanted, 1, most), state.count),
            ascended=chosen(rows, ends, state.ascended),
        )

    def _moved(self, state: RelaxationState, gradient: Tensor) -> Tensor:
        """One step further, in the ball of its third of the cycle."""
        ascending, made = state.number < 0, state.updates % CYCLE
        third, scale = made // THIRD, _scale(state.updates)
        halvings, steps = (state.updates // CYCLE).double(), (made % THIRD).double()
        size = (1 + (third == 0)) * 0.8**steps * 0.5**halvings
        size = torch.where(ascending, 2 * 0.75**steps, size)
        # 1, 0 and -1 in the thirds of a cycle.
        larger = (1 - third).masked_fill(ascending, 0)
        eps = as_number(self.threat.eps)
        along = gradient.sign() if self.threat.name == "linf" else units(gradient)
        moved = state.images + column(eps * size).to(along) * along
        moved = _within(self.threat, moved, state.original, 1 + larger * scale)
        noisy = (larger < 0).nonzero().squeeze(1)
        if len(noisy):
            noise = self._noise(state, noisy, 1 + state.updates[noisy])
            shaken = moved[noisy] + column(eps * scale[noisy]).to(noise) * noise
            # The numbers may round beyond the ball.
            radii = torch.ones_like(scale[noisy])
            shaken = _within(self.threat, shaken, state.original[noisy], radii)
            moved = moved.index_copy(0, noisy, shaken)
        return moved

    def _drawn(self, state: RelaxationState, rows: Tensor) -> Tensor:
        """A random corner of the ball, in L2 a point on its sphere; in the box."""
        noise = self._noise(state, rows, torch.zeros_like(rows))
        noise = noise.sign() if self.threat.name == "linf" else noise
        original = state.original[rows]
        return self.threat.project(original + as_number(self.threat.eps) * noise, original)

    def _noise(self, state: RelaxationState, rows: Tensor, draw: Tensor) -> Tensor:
        """Uniform in the cube of half side 1; in L2 any direction of length 1."""
        shape = tuple(state.images.shape[1:])
        search = state.number[rows] * (self.repeats + 1) + state.repeat[rows]
        keys = randomness.keys(0, state.keys[rows], search + self.repeats + 1)
        if self.threat.name == "linf":
            return (2 * randomness.uniform(keys, draw, shape) - 1).to(state.images)
        noise = randomness.normal(keys, draw, shape)
        return (noise / column(lengths(noise))).to(state.images)


def _scale(updates: Tensor) -> Tensor:
    """By which share of its radius the ball changes at that step, ``(n,)``."""
    return (LARGEST * 0.5 ** (updates // CYCLE).double()).clamp(min=SMALLEST)


def _within(threat: Threat, images: Tensor, original: Tensor, radii: Tensor) -> Tensor:
    """Into the ball of so many times the radius ``(n,)``, and into the box."""
    size = column(radii * as_number(threat.eps)).to(images)
    if threat.name == "linf":
        return torch.clamp(images, original - size, original + size).clamp_(0, 1)
    boxed = images.clamp(0, 1)
    away = boxed - original
    length = column(lengths(away))
    return torch.where(length > size, original + away * (size / length), boxed)


def _loss(state: RelaxationState) -> Objective:
    """In the ascent the log-odds of all others over the class, then the target's lead over it.

    The log-odds rise where the cross-entropy does. Where the class is the wanted one they are
    turned round, and then it is its own lead over the strongest other.
    """
    classes, towards, ascending = state.classes[:, None], state.towards, state.number < 0
    sign = -towards.double()

    def of_target(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The rivals ``(n, 1)`` and their leads ``(n,)``."""
        strongest = logits.scatter(1, classes, -torch.inf).argmax(1)
        rival = torch.where(towards > 0, strongest, target)[:, None]
        lead = logits.gather(1, rival) - logits.gather(1, classes)
        return rival, lead.squeeze(1)

    def of_all(logits: Tensor) -> Tensor:
        others = logits.scatter(1, classes, -torch.inf)
        return others.logsumexp(1) - logits.gather(1, classes).squeeze(1)

    def function(logits: Tensor, target: Tensor) -> Tensor:
        lead = of_target(logits, target)[1]
        return torch.where(ascending, of_all(logits), lead) * sign.to(logits)

    def closed(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        rival, values = of_target(logits, target)
        shares = torch.zeros_like(logits).scatter_(1, rival, 1)
        if bool(ascending.any()):
            values = torch.where(ascending, of_all(logits), values)
            others = logits.scatter(1, classes, -torch.inf).softmax(1)
            shares = torch.where(ascending[:, None], others, shares)
        by = sign.to(logits)
        return values * by, shares.scatter(1, classes, -1) * by[:, None]

    return Objective("log-odds, or lead", function, closed)
