"""DeepFool: step to the nearest border of the linearised network until the real one is crossed.

Moosavi-Dezfooli, Fawzi, Frossard 2016. With ``f_k`` by how much the class ``k`` leads over the one
to leave, and ``w_k`` its gradient, the step goes to the border ``argmin_k |f_k| / ||w_k||_q``:
``r = |f_k| / ||w_k||_2^2 * w_k`` in L2, ``r = |f_k| / ||w_k||_1 * sign(w_k)`` in Linf, and in L1
``|f_k| / ||w_k||_inf`` at the pixel value of the largest slope. The network is shown
``x + (1 + overshoot) * (all steps so far)``.

Where this differs from the paper:

* The paper looks at the point without the overshoot, and adds it at the end. Here the network is
  always shown the point with it, so that one evaluation says whether the border is crossed and how
  to go on; ``|f_k|`` is carried back along ``w_k`` to the point without. Taken as it is, the search
  would creep up to the border for ever smaller steps: on digits 2.2 times as many.
* After each step the image is clamped to ``[0, 1]``. A step then falls short by what pixels at the
  ends cannot do, and the next one makes up for it. (Steps that make up for it at once, as in FAB,
  trust the first gradients too far: on digits they ended 15 to 20 % further away.)
* In L1 the pixel values at an end are left out, so each step moves the steepest of the others, and
  no more than ``steps`` of them ever move: where that is too few, give more than 50.
* Of more than ``candidates`` classes only the strongest at the present image are looked at, for
  each costs a pass back; the paper looks at all.
* Towards a wanted class there is one border, to whichever class is strongest at the moment.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.minimum_norm import planes
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import MARGIN, leads
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import Threat


@dataclass(frozen=True)
class DeepFoolState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``, the clean images."""
    reached: Tensor
    """``(n, C, H, W)``, the images after all steps so far, without the overshoot."""
    classes: Tensor
    """``(n,)``, the class to leave or to reach."""
    towards: Tensor
    """``(n,)``, 1 to reach the class, -1 to leave it."""
    updates: Tensor
    """``(n,)``, steps made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class DeepFool(Method):
    """The nearest border of the linearised network, again and again.

    ``overshoot`` is how much further than to the border the image goes, as a share of the way;
    ``candidates`` how many classes are looked at, the one to leave included.
    """

    threat: Threat
    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 10

    minimum_norm: ClassVar[bool] = True
    paper: ClassVar[str] = "Moosavi-Dezfooli, Fawzi, Frossard 2016 (1511.04599)"
    cost: ClassVar[str] = "1 forward, up to 9 backward"
    norms: ClassVar[tuple[str, ...]] = ("l2", "linf", "l1")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "steps")
        self._expect(0, "overshoot")
        self._expect(2, "candidates")  # the class to leave and another

    def start(self, samples: Samples) -> DeepFoolState:
        """At the image."""
        count = torch.zeros_like(samples.classes)
        return DeepFoolState(
            samples.images,
            samples.images,
            samples.classes,
            samples.towards,
            count,
            torch.zeros_like(count, dtype=torch.bool),
        )

    def ask(self, state: DeepFoolState) -> Query:
        """The present images, and the gradients of the rivals' leads while steps are left."""
        wanted = state.updates < self.steps
        rivals = self.candidates - 1 if bool((state.towards < 0).any()) else 1
        return Query(
            self._shown(state),
            gradient=False,
            objective=MARGIN.towards(state.towards),
            classes=state.classes,
            several=leads(rivals, state.towards) if bool(wanted.any()) else None,
            several_wanted=wanted,
        )

    def tell(self, state: DeepFoolState, answer: Answer) -> DeepFoolState:
        """One step to the nearest border; done on the far side of the real one."""
        done = is_reached(answer, state.classes, state.towards) | (state.updates >= self.steps)
        if answer.several is None or answer.jacobian is None:
            return replace(state, done=done)
        slopes = answer.jacobian
        # A tie is no lead of either class, and a step of 0 would never end it: as much as rounding.
        scale = answer.logits.abs().amax(1)[:, None] + slopes.abs().flatten(2).sum(2)
        least = 16 * torch.finfo(slopes.dtype).eps * scale
        gaps = torch.maximum(answer.several.abs().to(slopes.dtype), least)
        overshot = ((self._shown(state) - state.reached)[:, None] * slopes).flatten(2).sum(2)
        if self.threat.name == "l1":
            here = state.reached[:, None]
            slopes = slopes * torch.where(slopes > 0, here < 1, here > 0)
        gap, slope = planes.nearest(gaps + overshot.clamp(min=0), slopes, self.threat.name)
        step = self._step(gap, slope.flatten(1)).view_as(slope)
        return replace(
            state,
            reached=(state.reached + step).clamp(0, 1),
            updates=state.updates + 1,
            # Without a slope there is no way on.
            done=done | ~step.flatten(1).any(1),
        )

    def _shown(self, state: DeepFoolState) -> Tensor:
        away = state.reached - state.original
        return (state.original + (1 + self.overshoot) * away).clamp(0, 1)

    def _step(self, gap: Tensor, slope: Tensor) -> Tensor:
        """The smallest moves ``(n, d)`` that gain the gap ``(n,)``, as if there were no box."""
        # With a largest slope of 1 no square underflows.
        peak = slope.abs().amax(1, keepdim=True)
        unit = torch.where(peak > 0, slope / peak, 0)
        far = torch.where(peak > 0, gap[:, None] / peak, 0)
        match self.threat.name:
            case "linf":
                return far * unit.sign() / unit.abs().sum(1, keepdim=True).clamp(min=1)
            case "l2":
                return far * unit / unit.square().sum(1, keepdim=True).clamp(min=1)
            case _:
                steepest = unit.abs().argmax(1, keepdim=True)
                return far * unit * torch.zeros_like(unit).scatter(1, steepest, 1)
