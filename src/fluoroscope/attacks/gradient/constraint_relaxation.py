"""The constraint-relaxation attack: towards a few classes, now outside the ball and now inside it.

A search that stays in the ball stops at the first wall it meets. This one may look over it: in the
first third of a cycle the ball is larger, by the share ``scale`` of its radius; in the second third
it is as large as it is; in the last it is smaller by as much, and noise fills the difference, so
that the next cycle begins somewhere else. The scale is 0.5 at first and halves with every cycle,
down to 0.05 ("constraint relaxation", AAAI 2025; written from a description of the method alone).

* Ten steps of gradient ascent on the cross-entropy come first, and the ``targets`` classes that
  score highest where they end are tried one after the other.
* A search is at most ``steps`` steps on the difference of two logits, in cycles of thirty.
* After the second third of a cycle a search is given up whose smallest margin inside the ball is
  too large for the scale; one that ended below 0.05 is made again, at most ``repeats`` times, from
  another start.

What the description leaves open, and where this differs:

* Margins are shares of the sample's margin at its clean image, so nothing depends on the scale of
  the logits. Given up is what is above 0.3 times the scale.
* Steps are signed, of twice the radius where the ball is larger and of the radius elsewhere, each
  0.8 times the last, and half as long in every later cycle. The ascent on the cross-entropy begins
  at the clean image's neighbour in a random corner of the ball with a step of twice the radius, and
  each is 0.75 times the last. Small steps found half as much on ``digits-robust``.
* A point outside the ball is seen a second time, moved into the ball, only where it is
  misclassified: what is closer to the image rarely is if that is not.
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
from fluoroscope.engine.objectives import CROSS_ENTROPY, MARGIN, Objective
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat
from fluoroscope.engine.vectors import chosen, column, lengths, units

ASCENT = 10
"""Steps on the cross-entropy."""
THIRD = 10
CYCLE = 3 * THIRD
LARGEST, SMALLEST = 0.5, 0.05
"""By which share of its radius the ball changes in the first cycle, and in the last ones."""
HOPELESS = 0.3
"""Above so many times the scale, as a share of the clean margin, a search is given up."""
AGAIN = 0.05
"""Below this share it is made again."""


@dataclass(frozen=True)
class RelaxationState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``"""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    ahead: Tensor
    """``(n, C, H, W)``, where the search goes on after a look into the ball."""
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
    looking: Tensor
    """``(n,)`` booleans: a look into the ball, which leads nowhere."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class ConstraintRelaxation(Method):
    """Ascent on the lead of a few classes in a ball that is now larger and now smaller.

    A sample far from the border costs ``12 + 20 * targets`` forward and nearly as many backward
    passes; one that is close to it up to ``repeats + 1`` searches of ``steps`` for each target.
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
        """At the clean images."""
        images, none = samples.images, torch.zeros_like(samples.classes)
        no = torch.zeros_like(none, dtype=torch.bool)
        unknown = torch.full_like(samples.towards, torch.inf, dtype=torch.double)
        return RelaxationState(
            original=images, images=images, ahead=images, ascended=images,
            classes=samples.classes, towards=samples.towards, keys=samples.keys,
            clean=unknown, targets=none[:, None].repeat(1, self.targets), count=none + 1,
            number=none - 2, repeat=none, updates=none, least=unknown, looking=no, done=no,
        )  # fmt: skip

    def ask(self, state: RelaxationState) -> Query:
        """The present images; clean ones, the last of a search and looks lead nowhere."""
        wanted = (state.number > -2) & ~state.looking & (state.updates < self._length(state))
        target = state.targets.gather(1, state.number.clamp(min=0)[:, None]).squeeze(1)
        return Query(state.images, wanted, _loss(state), target)

    def tell(self, state: RelaxationState, answer: Answer) -> RelaxationState:
        """Note the margin; then make a step, look into the ball, or begin another search."""
        margin = MARGIN(answer.logits.double(), state.classes) * -state.towards
        before = state.number == -2
        clean = torch.where(before, margin.abs().clamp(min=1e-12), state.clean)
        # Steps made are counted when they are: the one that led here was made before.
        at, scale = (state.updates - 1) % CYCLE, _scale(state.updates - 1)
        searching, looked = state.number >= 0, state.looking
        outside = searching & ~looked & (state.updates > 0) & (at < THIRD)
        share = torch.where(searching & ~outside, margin / clean, torch.inf)
        least = torch.minimum(state.least, share)
        hopeless = searching & ~looked & (at == 2 * THIRD - 1) & (least > HOPELESS * scale)
        over = before | (~looked & (hopeless | (state.updates >= self._length(state))))
        look = outside & (margin <= 0) & ~over
        ahead = state.ahead
        if answer.gradient is not None:
            ahead = chosen(looked | over, ahead, self._moved(state, answer.gradient))
        inside = _within(self.threat, state.images, state.original, torch.ones_like(clean))
        state = replace(
            state,
            images=chosen(look, inside, chosen(over, state.images, ahead)),
            ahead=ahead,
            clean=clean,
            least=least,
            looking=look,
            updates=state.updates + (~over & ~look),
        )
        return self._begun(state, over, answer.logits) if bool(over.any()) else state

    def _length(self, state: RelaxationState) -> Tensor:
        """Steps of the search under way, ``(n,)``."""
        return torch.where(state.number < 0, ASCENT, self.steps)

    def _begun(self, state: RelaxationState, over: Tensor, logits: Tensor) -> RelaxationState:
        """Where a search is over ``(n,)`` the next one begins, or none is left."""
        named = over & (state.number == -1)
        if bool(named.any()):
            state = self._named(state, named, logits)
        again = over & (state.number >= 0) & (state.least < AGAIN) & (state.repeat < self.repeats)
        number = state.number + (over & ~again)
        repeat = torch.where(over, torch.where(again, state.repeat + 1, 0), state.repeat)
        begun = replace(
            state,
            number=number,
            repeat=repeat,
            updates=state.updates.masked_fill(over, 0),
            least=state.least.masked_fill(over, torch.inf),
            done=number >= state.count,
        )
        # The first search of a target begins where the ascent ended.
        drawn = (number < 0) | (repeat > 0)
        start = chosen(drawn, self._drawn(begun), state.ascended)
        return replace(begun, images=chosen(over, start, state.images))

    def _named(self, state: RelaxationState, rows: Tensor, logits: Tensor) -> RelaxationState:
        """With the targets of those whose ascent has ended: the strongest other classes."""
        most = min(self.targets, logits.shape[1] - 1)
        others = logits.scatter(1, state.classes[:, None], -torch.inf)
        targets, wanted = state.targets.clone(), state.towards > 0
        targets[rows, :most] = others.topk(most, dim=1).indices[rows]
        return replace(
            state,
            targets=targets,
            count=torch.where(rows, torch.where(wanted, 1, most), state.count),
            ascended=chosen(rows, state.images, state.ascended),
        )

    def _moved(self, state: RelaxationState, gradient: Tensor) -> Tensor:
        """One step further, in the ball of its third of the cycle."""
        ascending, at = state.number < 0, state.updates % CYCLE
        third, scale = at // THIRD, _scale(state.updates)
        size = torch.where(third == 0, 2.0, 1.0) * 0.8 ** (at % THIRD)
        size = size * 0.5 ** (state.updates // CYCLE)
        size = torch.where(ascending, 2 * 0.75**state.updates, size)
        radius = torch.where(third == 0, 1 + scale, torch.where(third == 1, 1.0, 1 - scale))
        radius = radius.masked_fill(ascending, 1.0)
        eps = as_number(self.threat.eps)
        along = gradient.sign() if self.threat.name == "linf" else units(gradient)
        moved = state.images + column(eps * size).to(along) * along
        moved = _within(self.threat, moved, state.original, radius)
        noisy = ~ascending & (third == 2)
        if bool(noisy.any()):
            noise = self._noise(state, 1 + state.updates)
            moved = moved + column((eps * scale).where(noisy, 0.0)).to(noise) * noise
            # The numbers may round beyond the ball.
            moved = _within(self.threat, moved, state.original, torch.ones_like(scale))
        return moved

    def _drawn(self, state: RelaxationState) -> Tensor:
        """A random corner of the ball, in L2 a point on its sphere; in the box."""
        noise = self._noise(state, torch.zeros_like(state.updates))
        noise = noise.sign() if self.threat.name == "linf" else noise
        moved = state.original + as_number(self.threat.eps) * noise
        return self.threat.project(moved, state.original)

    def _noise(self, state: RelaxationState, draw: Tensor) -> Tensor:
        """Uniform in the cube of half side 1; in L2 any direction of length 1."""
        shape = tuple(state.images.shape[1:])
        search = (state.number + 1) * (self.repeats + 1) + state.repeat
        keys = randomness.keys(0, state.keys, search)
        if self.threat.name == "linf":
            return (2 * randomness.uniform(keys, draw, shape) - 1).to(state.images)
        noise = randomness.normal(keys, draw, shape)
        return (noise / column(lengths(noise))).to(state.images)


def _scale(updates: Tensor) -> Tensor:
    """By which share of its radius the ball changes at that step, ``(n,)``."""
    return (LARGEST * 0.5 ** (updates.clamp(min=0) // CYCLE).double()).clamp(min=SMALLEST)


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
    """In the ascent the cross-entropy of the class, then the target's lead over it.

    Where the class is the wanted one it is turned round, then the class's own lead.
    """
    classes, towards, ascending = state.classes, state.towards, state.number < 0

    def function(logits: Tensor, target: Tensor) -> Tensor:
        entropy = CROSS_ENTROPY(logits, classes) * -towards.to(logits)
        own, other = (logits.gather(1, c[:, None]).squeeze(1) for c in (classes, target))
        lead = torch.where(towards > 0, MARGIN(logits, classes), other - own)
        return torch.where(ascending, entropy, lead)

    return Objective("cross-entropy, or lead", function)
