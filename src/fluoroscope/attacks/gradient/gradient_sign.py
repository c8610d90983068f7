"""Attacks along the gradient with a fixed step: FGSM, R+FGSM, BIM and PGD.

* FGSM: ``x + eps * sign(g)`` (Goodfellow, Shlens, Szegedy 2015).
* R+FGSM: ``x + alpha * sign(noise)`` first, then one step with what is left of ``eps`` (Tramèr et
  al. 2018); ``alpha = eps / 2``.
* BIM: small steps, clipped to the ball after each (Kurakin, Goodfellow, Bengio 2017). Towards the
  least likely class it is their iterative least-likely-class method.
* PGD: the same from a random point of the ball (Madry et al. 2018); in L2 along the normalised
  gradient.

All raise the cross-entropy of the true class, which is lowering its log-probability, or raise the
log-probability of the wanted one. Unlike in the first papers every image is clamped to ``[0, 1]``.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from torch import Tensor, nn

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.gradient.ascent import AscentState, Direction, GradientAscent
from fluoroscope.attacks.result import AttackResult
from fluoroscope.engine import randomness
from fluoroscope.engine.bounds import as_number
from fluoroscope.engine.classes import Classes
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Linf, Threat, bounds_of
from fluoroscope.models.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class FixedStep(Method):
    """What they share: from somewhere in the ball, steps that are planned before the first."""

    threat: Threat

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        super().__post_init__()
        if bounds_of(self.threat) is None:
            self._ascent  # noqa: B018 - an impossible step is said at once

    def start(self, samples: Samples) -> AscentState:
        """At the image."""
        return self._ascent.start(samples)

    def ask(self, state: AscentState) -> Query:
        """The present images."""
        return self._ascent.ask(state)

    def tell(self, state: AscentState, answer: Answer) -> AscentState:
        """One step."""
        return self._ascent.tell(state, answer)

    @cached_property
    def _ascent(self) -> GradientAscent:
        return self._steps(1, as_number(self.threat.eps))

    def _steps(self, count: int, size: float) -> GradientAscent:
        direction: Direction = "sign" if self.threat.name == "linf" else "normalized"
        return GradientAscent(steps=count, step_size=size, direction=direction, threat=self.threat)


@dataclass(frozen=True, kw_only=True)
class FGSM(FixedStep):
    """The fast gradient sign method: one step of ``eps``; in L2 along the normalised gradient."""

    paper: ClassVar[str] = "Goodfellow, Shlens, Szegedy 2015 (1412.6572)"


@dataclass(frozen=True, kw_only=True)
class RFGSM(FixedStep):
    """FGSM after a random signed step that takes the share ``alpha`` of ``eps``."""

    alpha: float = 0.5

    paper: ClassVar[str] = "Tramèr et al. 2018 (1705.07204)"
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    def __post_init__(self) -> None:
        self._expect(0, "alpha", high=1)
        super().__post_init__()

    def start(self, samples: Samples) -> AscentState:
        """A random sign for every pixel value."""
        state = super().start(samples)
        noise = randomness.uniform(samples.keys, 0, tuple(samples.images.shape[1:]))
        size = self.alpha * as_number(self.threat.eps)
        moved = samples.images + size * (noise - 0.5).sign().to(samples.images.dtype)
        return replace(state, images=self.threat.project(moved, samples.images))

    @cached_property
    def _ascent(self) -> GradientAscent:
        return self._steps(1, (1 - self.alpha) * as_number(self.threat.eps))


@dataclass(frozen=True, kw_only=True)
class BIM(FixedStep):
    """The basic iterative method, from the image itself.

    ``step_size`` is by default ``2.5 * eps / steps``, with which every point of the ball can be
    reached and crossed.
    """

    steps: int = 10
    step_size: float | str | None = None

    paper: ClassVar[str] = "Kurakin, Goodfellow, Bengio 2017 (1607.02533)"
    reach: ClassVar[float] = 2.5
    """How far all steps of the usual size lead together, in units of ``eps``."""

    def __post_init__(self) -> None:
        self._expect(1, "steps")
        super().__post_init__()

    @cached_property
    def _ascent(self) -> GradientAscent:
        size = self.step_size
        if size is None:
            size = self.reach * as_number(self.threat.eps) / self.steps
        return self._steps(self.steps, as_number(size, "step_size"))


@dataclass(frozen=True, kw_only=True)
class PGD(BIM):
    """Projected gradient descent: the same from a random point of the ball."""

    steps: int = 40

    paper: ClassVar[str] = "Madry et al. 2018 (1706.06083)"

    def start(self, samples: Samples) -> AscentState:
        """At a random point of the ball."""
        state = super().start(samples)
        return replace(state, images=self.threat.random(samples.keys, samples.images))


def fgsm(
    model: Classifier | nn.Module,
    images: Tensor,
    classes: Classes,
    eps: float | str,
    *,
    targeted: bool = False,
    batch_size: int = 64,
) -> AttackResult:
    """One signed step of ``eps`` away from the given classes, or towards them if ``targeted``.

    Every image is stepped, those misclassified already included, and kept whether it succeeds or
    not.

    Args:
        model: the network under study.
        images: ``(N, C, H, W)`` or one ``(C, H, W)``, in ``[0, 1]``.
        classes: the true class of each sample, or the wanted one if ``targeted``.
        eps: change of every pixel value, such as ``0.25`` or ``"8/255"``.
        targeted: towards the classes instead of away from them.
        batch_size: images evaluated at once.

    Raises:
        InvalidImagesError, UnknownLabelError, InvalidParameterError: what was given is unusable.
        NoGradientError: the logits do not depend differentiably on the pixels.
    """
    attack = FGSM(threat=Linf(eps))
    return attack(model, images, classes, targeted=targeted, keep="last", batch_size=batch_size)
