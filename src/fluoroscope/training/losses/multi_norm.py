"""Robust in several norms at once: each batch is moved within one of several balls.

``CE(f(x'), y)``, where ``x'`` raises it within a ball that is drawn for each batch, the more often
the more of its moved pictures were misclassified lately (E-AT of Croce and Hein 2022, "Adversarial
robustness against the union of multiple threat models", 2105.12508). What is robust within an L1
and an Linf ball is nearly so within those between, so these two do; and a few epochs turn a network
that is robust in one norm into one that is robust in all.

Within L1 pictures are moved by Auto-PGD's sparse steps, elsewhere by PGD; the paper's are
Auto-PGD's in all. How the running errors are made is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.attacks.gradient.apgd import APGD
from fluoroscope.attacks.gradient.gradient_sign import PGD
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError
from fluoroscope.training.losses.adversarial import AdversarialLoss, Search
from fluoroscope.training.losses.moved import MovedLoss
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.step import Moment

# The share that a batch's errors have in the running ones of its ball.
NEW = 0.1
# No ball is drawn less often: who is never drawn is never seen to be broken again.
LEAST = 0.05


@dataclass(frozen=True, kw_only=True)
class MultiNormLoss:
    """The cross-entropy of pictures moved within one of the ``threats``, drawn for each batch.

    ``by_errors``: the more often the more pictures are misclassified within it, by a running mean
    that begins at 1 for each; otherwise all alike. ``steps`` are of each search; ``ramp`` is the
    share of the training over which the radii grow.

    Raises:
        InvalidParameterError: fewer than two balls, two of one norm, or settings out of range.
    """

    threats: tuple[Threat, ...]
    steps: int = 10
    by_errors: bool = True
    ramp: float = 0.0
    method = "multi-norm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "threats", tuple(self.threats))
        names = [threat.name for threat in self.threats]
        if len(names) < 2 or len(set(names)) < len(names):
            raise InvalidParameterError(
                f"threats are of the norms {', '.join(names) or 'none'}; expected two or more, "
                "each once, such as Linf and L1"
            )
        self.within  # noqa: B018 - what cannot be is said at once

    @property
    def threat(self) -> Threat:
        """The first ball, within which a training is watched."""
        return self.threats[0]

    @property
    def within(self) -> "tuple[_OneNorm, ...]":
        """The loss within each ball alone."""
        return tuple(
            _OneNorm(threat=threat, steps=self.steps, ramp=self.ramp) for threat in self.threats
        )

    def begin(self, module: nn.Module, classes: int) -> "MultiNorm":
        return MultiNorm(self)

    def describe(self) -> dict[str, Any]:
        """The balls and the settings as plain values, for records."""
        balls = [{"norm": one.name, "eps": float(one.eps)} for one in self.threats]
        return {
            "method": self.method,
            **balls[0],
            "threats": balls,
            "ramp": self.ramp,
            "steps": self.steps,
            "by_errors": self.by_errors,
        }


class MultiNorm(Running, MovedLoss):
    """The loss in one training, with the running errors within each ball."""

    learns_clean = False

    def __init__(self, settings: MultiNormLoss) -> None:
        self.settings: MultiNormLoss = settings
        self.errors = torch.ones(len(settings.threats), dtype=torch.float64, device="cpu")
        """``(balls,)``, the share of moved pictures that were misclassified lately."""
        self.drawn = 0
        """The ball of this batch."""
        self._wrong: Tensor | None = None

    def moved(self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        self.drawn = self._draw()
        return self.settings.within[self.drawn].moved(module, images, labels, moment)

    def terms(self, clean: Tensor | None, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        self._wrong = (logits.detach().argmax(1) != labels).double().mean()
        return {"adversarial": F.cross_entropy(logits, labels)}

    def after(self, module: nn.Module, moment: Moment) -> None:
        if self._wrong is not None:
            self.errors[self.drawn].lerp_(self._wrong.cpu(), NEW)

    def tensors(self) -> dict[str, Tensor]:
        return {"errors": self.errors}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.errors = tensors["errors"].clone()

    def _draw(self) -> int:
        """By torch's generator, which is seeded for each step."""
        errors = self.errors if self.settings.by_errors else torch.ones_like(self.errors)
        return int(torch.multinomial(errors.clamp(min=LEAST * float(errors.sum())), 1))


@dataclass(frozen=True, kw_only=True)
class _OneNorm(AdversarialLoss):
    """Within one ball."""

    steps: int
    method = "multi-norm"
    learns_clean = False

    def terms(self, clean: Tensor | None, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"adversarial": F.cross_entropy(logits, labels)}

    def attack(self, share: float) -> Search:
        kind = APGD if self.threat.name == "l1" else PGD
        return kind(threat=self._threat(share), steps=self.steps)
