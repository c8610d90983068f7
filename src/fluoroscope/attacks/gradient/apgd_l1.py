"""Auto-PGD in L1: sparse steps whose width follows the sparsity of the best point.

``x <- P(x + step * s)``, where ``s`` holds the signs of the gradient's ``k`` steepest values over
their number, and ``P`` projects onto ball and box at once (Croce and Hein 2021, "Mind the box:
l1-APGD for sparse adversarial attacks on image classifiers", 2103.01208).

At each checkpoint ``k`` becomes the number of values that the best point changes, over 1.5. Where
that number has fallen below 0.95 of that at the last checkpoint, the step is ``eps`` again and the
search goes on from the best point; where it has not, the step is divided by 1.5, down to
``eps / 10``. There is no momentum.

As in the paper and in AutoAttack the search comes from afar: 0.3 of the steps in a ball of
``3 eps``, 0.3 in one of ``2 eps``, the rest in that of ``eps``, each from the best point of the
last, projected. A checkpoint comes every 0.04 of the steps in a ball, at least one. Deviations:

* In the first ball ``k`` begins at 0.2 of all values, in the others it follows from the point they
  begin at. The paper says so of a single ball; the authors' programme, in several, lets the first
  ``k`` follow from the start, Gaussian noise projected onto the ball. In small balls that is so
  sparse that the search cannot spread: on digits with ``eps`` 1.5 it fooled 15 of 98, with 0.2 24.
* With so few steps that 0.3 of them are none, the wide balls are left out. (The programme rounds
  up.)
* Of values with the same slope at the edge of the ``k``, all move, as in the programme.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Samples, put, take
from fluoroscope.engine.threats import onto_l1_balls
from fluoroscope.engine.vectors import chosen, column

RADII = (3.0, 2.0, 1.0)
SHARE = 0.3
CHECKPOINTS = 0.04
FIRST = 0.2
SPARSER = 1.5
FEWER = 0.95
SHORTER = 1.5
SHORTEST = 0.1


@dataclass(frozen=True)
class L1State:
    """Where ``n`` searches are; values are of the loss, which is raised."""

    original: Tensor
    """``(n, C, H, W)``"""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    classes: Tensor
    """``(n,)``"""
    towards: Tensor
    """``(n,)``, 1 where the class is wanted, -1 where it is to be left."""
    ball: Tensor
    """``(n,)``, which of the balls the search is in."""
    left: Tensor
    """``(n,)``, steps that are left in it."""
    step_size: Tensor
    """``(n,)``, in L1."""
    width: Tensor
    """``(n,)``, how many values a step moves, not rounded."""
    changed: Tensor
    """``(n,)``, how many values the best point had changed at the last checkpoint."""
    best_value: Tensor
    """``(n,)``, the highest in this ball."""
    best_images: Tensor
    """``(n, C, H, W)``, where it was found."""
    best_gradient: Tensor
    """``(n, C, H, W)``, the loss's gradient there."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True)
class SparseAscent:
    """The search within ``eps`` and a number of ``steps``, for :class:`.apgd.APGD`."""

    eps: float
    steps: int

    def start(self, samples: Samples) -> L1State:
        """At noise projected onto the ball of ``eps``, in the widest ball."""
        images = samples.images
        noise = randomness.normal(samples.keys, 0, tuple(images.shape[1:])).to(images.dtype)
        zero = torch.zeros_like(samples.classes)
        state = L1State(
            original=images,
            images=onto_l1_balls(images + noise, images, self.eps),
            classes=samples.classes,
            towards=samples.towards,
            ball=zero,
            left=zero,
            step_size=torch.zeros_like(images[:, 0, 0, 0]),
            width=torch.zeros_like(images[:, 0, 0, 0]),
            changed=torch.zeros_like(images[:, 0, 0, 0]),
            best_value=torch.zeros_like(samples.towards, dtype=torch.double),
            best_images=images,
            best_gradient=torch.zeros_like(images),
            done=torch.zeros_like(zero, dtype=torch.bool),
        )
        first = next(number for number, count in enumerate(self._steps) if count)
        state = self._entered(state, zero + first)
        size = torch.full_like(state.width, images[0].numel())
        return replace(state, width=FIRST * size, changed=size)

    def tell(self, state: L1State, answer: Answer) -> L1State:
        """Note the best point; then a step, or on to the next ball."""
        assert answer.objective is not None
        gradient = answer.gradient
        gradient = torch.zeros_like(state.images) if gradient is None else gradient
        better = answer.objective > state.best_value
        state = replace(
            state,
            best_value=torch.where(better, answer.objective, state.best_value),
            best_images=chosen(better, state.images, state.best_images),
            best_gradient=chosen(better, gradient, state.best_gradient),
        )
        over, last = state.left == 0, state.ball == len(RADII) - 1
        stepped = replace(self._stepped(state, gradient), done=over & last)
        rows = (over & ~last).nonzero().squeeze(1)
        if not len(rows):
            return stepped
        leaving = take(state, rows)
        from_best = replace(leaving, images=leaving.best_images)
        return put(stepped, rows, self._entered(from_best, leaving.ball + 1))

    @cached_property
    def _steps(self) -> tuple[int, int, int]:
        """How many steps are made in each ball."""
        wide = int(SHARE * self.steps + 1e-9)
        return wide, wide, self.steps - 2 * wide

    def _entered(self, state: L1State, ball: Tensor) -> L1State:
        """At the beginning of the search in the balls of these numbers ``(n,)``."""
        radius = self._radius(state, ball)
        images = onto_l1_balls(state.images, state.original, radius)
        changed = _changed(images, state.original)
        return replace(
            state,
            images=images,
            ball=ball,
            left=torch.tensor(self._steps, device=ball.device)[ball],
            step_size=radius,
            width=changed / SPARSER,
            changed=changed,
            best_value=torch.full_like(state.best_value, -torch.inf),
        )

    def _radius(self, state: L1State, ball: Tensor) -> Tensor:
        return (
            self.eps
            * torch.tensor(RADII, dtype=torch.float32, device="cpu").to(state.original)[ball]
        )

    def _stepped(self, state: L1State, gradient: Tensor) -> L1State:
        """Set sparsity and step size at a checkpoint, and step."""
        radius = self._radius(state, state.ball)
        steps = torch.tensor(self._steps, device=state.ball.device)[state.ball]
        made, between = steps - state.left, (CHECKPOINTS * steps).long().clamp(min=1)
        at = (made > 0) & (made % between == 0)
        changed = _changed(state.best_images, state.original)
        fewer = at & (changed < FEWER * state.changed)
        shorter = (state.step_size / SHORTER).maximum(SHORTEST * radius)
        state = replace(
            state,
            step_size=torch.where(fewer, radius, torch.where(at, shorter, state.step_size)),
            width=torch.where(at, changed / SPARSER, state.width),
            changed=torch.where(at, changed, state.changed),
        )
        here = chosen(fewer, state.best_images, state.images)
        along = _steepest(chosen(fewer, state.best_gradient, gradient), state.width)
        moved = here + column(state.step_size) * along
        return replace(
            state,
            images=onto_l1_balls(moved, state.original, radius),
            left=(state.left - 1).clamp(min=0),
        )


def _steepest(gradient: Tensor, width: Tensor) -> Tensor:
    """The signs of the ``width`` ``(n,)`` steepest values, rounded up, over their number."""
    size = gradient.flatten(1).abs()
    count = width.ceil().long().clamp(1, size.shape[1])
    least = size.sort(1, descending=True).values.gather(1, count[:, None] - 1)
    signs = gradient.sign() * (size >= least).view_as(gradient)
    number = signs.abs().flatten(1).sum(1).clamp(min=1)
    return signs / column(number)


def _changed(images: Tensor, original: Tensor) -> Tensor:
    """How many values of each image are not the original's, ``(n,)``."""
    return (images != original).flatten(1).sum(1).to(images.dtype)
