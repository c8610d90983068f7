"""Adversarial training: losses for `fit` that teach a network on pictures moved against it.

* `FGSMLoss`: ``alpha * CE(f(x), y) + (1 - alpha) * CE(f(x + eps * sign(g)), y)`` with the gradient
  ``g`` of the cross-entropy at ``x`` (Goodfellow, Shlens, Szegedy 2015, 1412.6572).
* `PGDLoss`: ``CE(f(x'), y)``, where PGD from a random point of the ball raises it at ``x'`` (Madry
  et al. 2018, 1706.06083).
* `TRADESLoss`: ``CE(f(x), y) + beta * KL(f(x) || f(x'))``, where PGD from beside ``x`` raises the
  divergence at ``x'`` (Zhang et al. 2019, 1901.08573).

Unlike in Goodfellow's paper pictures stay in ``[0, 1]``. ``eps`` may grow over the first share of
the steps: from a cold start at the whole of it small networks often learn to say nothing.

**Modes.** ``x'`` is sought in evaluation mode, as TRADES does, and learnt from in training mode:
dropout then does not blur the gradient that is followed, and the running statistics of batch norm
are made from pictures that are learnt from alone. Pang et al. (2021, 2010.00467) found this the
better of the two for clean accuracy, at like robustness; Madry's networks have neither layer.

**The loop.** ``x'`` comes from the attacks' own mathematics and the engine's evaluation, but not
through the engine's loop. All samples of a batch make the same number of steps, so its slots,
counts and last look at ``x'`` would buy nothing, and they cost 12 % of a training step with seven
inner steps, and 22 % with one (128 digits, 0.17 million weights, one thread).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.attacks.gradient.apgd import APGD, APGDState
from fluoroscope.attacks.gradient.apgd_l1 import L1State
from fluoroscope.attacks.gradient.ascent import AscentState, GradientAscent
from fluoroscope.attacks.gradient.gradient_sign import FGSM, PGD, FixedStep
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import Objective
from fluoroscope.engine.stream import Attack, Samples
from fluoroscope.engine.threats import Threat, one_bound
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.training.losses.moved import MovedLoss
from fluoroscope.training.trainer.step import Moment

# Standard deviation of the step from x with which TRADES begins: at x itself the divergence is
# lowest and has no slope.
BESIDE = 1e-3

Search = FixedStep | APGD
"""What moves pictures; all of a batch take the same number of steps."""


@dataclass(frozen=True, kw_only=True)
class AdversarialLoss(MovedLoss):
    """What the losses share: a ball around each picture, and a search in it.

    ``ramp`` is the share of the steps over which the radius grows from 0 to that of the ``threat``;
    the search's step grows with it.

    Raises:
        InvalidParameterError: a ball without size, no steps, or a share outside ``[0, 1]``.
    """

    threat: Threat
    ramp: float = 0.0

    method: ClassVar[str]

    def __post_init__(self) -> None:
        self._check_ball()
        self.attack(1.0)

    def _check_ball(self) -> None:
        one_bound(self.threat)
        if not 0 < float(self.threat.eps) < float("inf"):
            raise InvalidParameterError(
                f"eps is {self.threat.eps}; expected a number above 0, such as 0.3 or 8/255: "
                "within nothing there is nothing to learn against"
            )
        check_share("ramp", self.ramp)

    def moved(self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        """The images ``(N, C, H, W)`` moved against the network, as it is now."""
        return _search(self._attack_now(moment), module, images, labels, -1.0, moment)

    def attack(self, share: float) -> Search:
        """The search within this share of the whole radius."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """The method and its settings as plain values, for records."""
        settings = {name: value for name, value in vars(self).items() if name != "threat"}
        radius = {"norm": self.threat.name, "eps": float(self.threat.eps)}
        return {"method": self.method, **radius, **settings}

    def _attack_now(self, moment: Moment) -> Search:
        return self.attack(self._grown(moment))

    def _grown(self, moment: Moment) -> float:
        """The share of the whole radius at this moment."""
        return min(1.0, moment.share / self.ramp) if self.ramp else 1.0

    def _threat(self, share: float) -> Threat:
        radius: Threat = replace(self.threat, eps=float(self.threat.eps) * share)  # type: ignore[type-var]
        return radius


@dataclass(frozen=True, kw_only=True)
class FGSMLoss(AdversarialLoss):
    """Goodfellow's mixed loss: ``alpha`` of it from the clean pictures, the rest from moved ones.

    One step is cheap, but a network may learn to bend its gradient rather than to resist: look at
    it with PGD too.
    """

    alpha: float = 0.5
    method = "fgsm"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("alpha", self.alpha)

    def terms(self, clean: Tensor | None, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        assert clean is not None
        return {
            "clean": self.alpha * F.cross_entropy(clean, labels),
            "adversarial": (1 - self.alpha) * F.cross_entropy(logits, labels),
        }

    def attack(self, share: float) -> FixedStep:
        return FGSM(threat=self._threat(share))


@dataclass(frozen=True, kw_only=True)
class PGDLoss(AdversarialLoss):
    """Madry's loss: the cross-entropy of pictures moved by PGD from a random start.

    ``step_size`` is by default ``2.5 * eps / steps``.
    """

    steps: int = 7
    step_size: float | None = None
    method = "pgd"
    learns_clean = False

    def terms(self, clean: Tensor | None, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"adversarial": F.cross_entropy(logits, labels)}

    def attack(self, share: float) -> FixedStep:
        size = None if self.step_size is None else self.step_size * share
        return PGD(threat=self._threat(share), steps=self.steps, step_size=size)


@dataclass(frozen=True, kw_only=True)
class TRADESLoss(AdversarialLoss):
    """The clean cross-entropy, and ``beta`` times how far the answer moves within the ball.

    ``step_size`` is by default ``2.5 * eps / steps``.
    """

    steps: int = 10
    step_size: float | None = None
    beta: float = 6.0
    method = "trades"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.beta < float("inf"):
            raise InvalidParameterError(f"beta is {self.beta}; expected 0 or more, such as 6")

    def terms(self, clean: Tensor | None, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        assert clean is not None
        divergence = F.kl_div(
            logits.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="batchmean"
        )
        return {"clean": F.cross_entropy(clean, labels), "divergence": self.beta * divergence}

    def attack(self, share: float) -> FixedStep:
        size = None if self.step_size is None else self.step_size * share
        return _FromBeside(threat=self._threat(share), steps=self.steps, step_size=size)

    def moved(self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        attack = self._attack_now(moment)
        assert isinstance(attack, _FromBeside)
        model = _classifier(module, images)
        clean = evaluate(model, images.to(model.dtype), look=False).logits.double().log_softmax(1)
        # The objective finds the clean answer by the sample's row, which stands where classes do.
        rows = torch.arange(len(images), device=images.device)
        return _search(replace(attack, clean=clean), module, images, rows, 1.0, moment)


@dataclass(frozen=True, kw_only=True)
class _FromBeside(PGD):
    """PGD up the divergence from the clean answer, from beside the picture."""

    clean: Tensor | None = None

    def start(self, samples: Samples) -> AscentState:
        state = self._ascent.start(samples)
        noise = randomness.normal(samples.keys, 0, tuple(samples.images.shape[1:])).to(state.images)
        moved = self.threat.project(state.images + BESIDE * noise, samples.images)
        return replace(state, images=moved)

    @cached_property
    def _ascent(self) -> GradientAscent:
        return replace(super()._ascent, objective=Objective("divergence", self._divergence))

    def _divergence(self, logits: Tensor, rows: Tensor) -> Tensor:
        assert self.clean is not None
        clean = self.clean[rows].to(logits)
        return (clean.exp() * (clean - logits.log_softmax(1))).sum(1)


def _search(
    attack: Attack[Any],
    module: nn.Module,
    images: Tensor,
    classes: Tensor,
    towards: float,
    moment: Moment,
) -> Tensor:
    """Where the attack's steps lead from the images; each sample's randomness is its own."""
    model = _classifier(module, images)
    indices = moment.indices.to(images.device)
    keys = randomness.keys(moment.seed, indices, moment.epoch)
    signs = torch.full((len(images),), towards, device=images.device)
    given = images.to(model.dtype)  # of a network that computes in halves, in more than these
    state = attack.start(Samples(given, classes, signs, indices, keys, torch.zeros_like(indices)))
    with model.held():
        while True:
            query = attack.ask(state)
            # Auto-PGD in L1 goes from one ball to the next without a gradient, and keeps its best;
            # of the others nobody needs the look at where they end.
            over = state.done.all() if isinstance(state, L1State) else not query.any_gradient
            if over:
                break
            answer = evaluate(
                model, query.images, query.classes, query.objective, gradient=query.any_gradient,
                look=False,
            )  # fmt: skip
            state = attack.tell(state, answer)
    found: Tensor = state.best_images if isinstance(state, L1State | APGDState) else state.images
    return found.to(images)


def _classifier(module: nn.Module, images: Tensor) -> Classifier:
    return Classifier(module, channels=images.shape[1])


def check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InvalidParameterError(f"{name} is {value}; expected a share from 0 to 1")
