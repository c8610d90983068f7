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
* A step is the smallest one within ``[0, 1]`` (``planes.to_plane``): the other pixel values make up
  for those that reach an end. In L1 this is indispensable, for without ends a single one would do
  it all.
* Of more than ``candidates`` classes only the strongest at the present image are looked at, for
  each costs a pass back; the paper looks at all.
* Towards a wanted class there is one border, to whichever class is strongest at the moment.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks import planes
from fluoroscope.attacks.attack import Method
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import MARGIN, leads
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True)
class DeepFoolState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``, the clean images."""
    moved: Tensor
    """``(n, C, H, W)``, all steps so far, without the overshoot."""
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
    norms: ClassVar[tuple[str, ...]] = planes.NORMS

    def __post_init__(self) -> None:
        if self.threat.name not in self.norms:
            raise InvalidParameterError(
                f"DeepFool has no step for the norm {self.threat.name}; "
                f"expected {', '.join(self.norms)}"
            )
        if self.steps < 1:
            raise InvalidParameterError(f"steps is {self.steps}; expected 1 or more")
        if not self.overshoot >= 0:
            raise InvalidParameterError(f"overshoot is {self.overshoot}; expected at least 0")
        if self.candidates < 2:
            raise InvalidParameterError(
                f"candidates is {self.candidates}; expected 2 or more: the class to leave and "
                "another"
            )

    def start(self, samples: Samples) -> DeepFoolState:
        """At the image."""
        count = torch.zeros_like(samples.classes)
        return DeepFoolState(
            samples.images,
            torch.zeros_like(samples.images),
            samples.classes,
            samples.towards,
            count,
            torch.zeros_like(count, dtype=torch.bool),
        )

    def ask(self, state: DeepFoolState) -> Query:
        """The present images, and the gradients of the rivals' leads while steps are left."""
        wanted = bool((state.updates < self.steps).any())
        rivals = self.candidates - 1 if bool((state.towards < 0).any()) else 1
        return Query(
            self._shown(state),
            gradient=False,
            objective=MARGIN.towards(state.towards),
            classes=state.classes,
            several=leads(rivals, state.towards) if wanted else None,
        )

    def tell(self, state: DeepFoolState, answer: Answer) -> DeepFoolState:
        """One step to the nearest border; done on the far side of the real one."""
        done = is_reached(answer, state.classes, state.towards) | (state.updates >= self.steps)
        if answer.several is None or answer.jacobian is None:
            return replace(state, done=done)
        # A tie is no lead of either class, and a step of 0 would never end it.
        least = 16 * torch.finfo(answer.logits.dtype).eps * answer.logits.abs().amax(1)
        gaps = torch.maximum(answer.several.abs(), least[:, None]).to(state.moved.dtype)
        reached = state.original + state.moved
        overshot = ((self._shown(state) - reached)[:, None] * answer.jacobian).flatten(2).sum(2)
        lead, slopes = planes.nearest(
            -(gaps + overshot.clamp(min=0)), answer.jacobian, self.threat.name
        )
        step = planes.to_plane(reached.flatten(1), slopes.flatten(1), lead, self.threat.name)
        return replace(
            state,
            moved=state.moved + step.view_as(reached),
            updates=state.updates + 1,
            # Without a slope, or with all that have one at the end of the box, there is no way on.
            done=done | ~step.any(1),
        )

    def _shown(self, state: DeepFoolState) -> Tensor:
        return (state.original + (1 + self.overshoot) * state.moved).clamp(0, 1)
