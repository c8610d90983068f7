"""Spatially transformed pictures (stAdv): every pixel is read from a little beside its place.

Xiao, Zhu, Li, He, Liu, Song (2018): ``x'(p) = x(p + f(p))``, sampled bilinearly, where the flow
``f`` lowers ``max(-margin, -confidence) + tau * sum_{p, q neighbours} |f(p) - f(q)|``: neighbours
are to move alike. No pixel value is bounded; what is seen is a warp.

Where this differs: steps of Adam in place of L-BFGS, whose line search does not go with a batch in
which every picture is at another step; ``step_size`` is in pixels. A search ends at its first
success unless ``keep`` says otherwise, while the paper's goes on until it has converged; so the
flow is mostly shorter here. Each pair of neighbours counts once (in the paper's sum twice).

``tau`` is 0.005, not the paper's 0.05. The margin does not grow with the picture, the sum does: in
a MobileNet at 128 pixels the flows that reach a wanted class have a sum of 1,000 to 2,000, which at
0.05 costs 50 to 100, while the margin to be won is about 9. So the loss was lowest near the picture
itself, and 1 of 16 arrived where at 0.005 all do.

The pixels' gradient comes from the network once for each step; from there to the flow it is the
derivative of the sampling alone.
"""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.adam import adam
from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.spatial.warping import places, sample
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import capped_margin
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat, Unbounded
from fluoroscope.engine.vectors import column

_SMALL = 1e-8


@dataclass(frozen=True)
class StAdvState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``"""
    flow: Tensor
    """``(n, 2, H, W)``, rows and columns in pixels."""
    mean: Tensor
    """``(n, 2, H, W)``, Adam's running mean of the gradient."""
    square: Tensor
    """``(n, 2, H, W)``, and of its square."""
    updates: Tensor
    """``(n,)``, steps made."""
    classes: Tensor
    """``(n,)``"""
    towards: Tensor
    """``(n,)``, 1 where the class is wanted, -1 where it is to be left."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class StAdv(Method):
    """A smooth flow of the pixels: ``steps`` of Adam, each of about ``step_size`` pixels.

    ``tau`` weighs the smoothness; ``confidence`` is the lead in logits that is looked for.
    """

    threat: Threat = field(default_factory=Unbounded)
    steps: int = 100
    step_size: float = 0.05
    tau: float = 0.005
    confidence: float = 0.0

    paper: ClassVar[str] = "Xiao, Zhu, Li, He, Liu, Song 2018 (1801.02612)"
    norms: ClassVar[tuple[str, ...]] = ("none",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "steps")
        self._expect(0, "tau", "confidence")
        self._expect_positive("step_size")

    def start(self, samples: Samples) -> StAdvState:
        """With no flow."""
        still = torch.zeros_like(samples.images[:, :1]).repeat(1, 2, 1, 1)
        count = torch.zeros_like(samples.classes)
        return StAdvState(
            samples.images, still, still, still, count,
            samples.classes, samples.towards, count > 0,
        )  # fmt: skip

    def ask(self, state: StAdvState) -> Query:
        """The pictures along their flow; after the last step nobody needs their gradient."""
        capped = capped_margin(state.towards, self.confidence)
        images = self.threat.project(flowed(state.original, state.flow), state.original)
        return Query(images, state.updates < self.steps, capped, state.classes)

    def tell(self, state: StAdvState, answer: Answer) -> StAdvState:
        """One step of Adam along the flow's gradient."""
        done = state.updates >= self.steps
        if answer.gradient is None:
            return replace(state, done=done)
        slope = flow_gradient(state.original, state.flow, answer.gradient, self.tau)
        updates = state.updates + 1
        along, mean, square = adam(slope, state.mean, state.square, column(updates))
        flow = state.flow + self.step_size * along
        return replace(state, flow=flow, mean=mean, square=square, updates=updates, done=done)


def flowed(images: Tensor, flow: Tensor) -> Tensor:
    """Images ``(n, C, H, W)`` read ``flow`` ``(n, 2, H, W)`` pixels (down, right) from each place.

    Beyond the picture lie its outermost pixels again.
    """
    return sample(images, places(images) + flow, "border")


def flow_gradient(images: Tensor, flow: Tensor, gradient: Tensor, tau: float) -> Tensor:
    """The slope at the flow of a number with that gradient at the pixels, less ``tau`` roughness.

    All are ``(n, ., H, W)``.
    """
    with torch.enable_grad():
        flow = flow.detach().requires_grad_()
        value = (flowed(images, flow) * gradient).sum() - tau * roughness(flow).sum()
        (slope,) = torch.autograd.grad(value, flow)
    return slope


def roughness(flow: Tensor) -> Tensor:
    """How far neighbours (below and beside) move apart, added up, ``(n,)``."""
    down, right = (flow.diff(dim=axis).square().sum(1) for axis in (2, 3))
    # A length has no slope at 0, where all begin.
    lengths = [(part + _SMALL).sqrt() - math.sqrt(_SMALL) for part in (down, right)]
    return lengths[0].flatten(1).sum(1) + lengths[1].flatten(1).sum(1)
