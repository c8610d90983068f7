"""The pictures that the checks look at, the attacks made on them, and what that cost."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attacks.registry import attack
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.objectives import MARGIN
from fluoroscope.engine.predict import predict
from fluoroscope.engine.run import Keep
from fluoroscope.engine.stream import Step
from fluoroscope.engine.threats import L2, Linf, Threat
from fluoroscope.errors import FluoroscopeError, NoGradientError
from fluoroscope.evaluation.check import Check, by_share, ending
from fluoroscope.evaluation.plan import Plan
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.randomised import EOT, is_random
from fluoroscope.notices import collected

ANSWERS = 5
"""Times the same pictures are shown to see whether the answers differ, as AutoAttack does."""
STEPS = 20
WHITE_BOX_STEPS = 100
NUDGE = 1e-4
NUDGE_FLOAT32 = 1e-3
"""The smallest that rounding does not drown."""


class CancelledError(Exception):
    """Somebody does not want to wait."""


class Bench:
    """The pictures that are looked at, the attacks made on them, and what that cost."""

    plan: Plan | None = None
    """Of the run whose number is to be trusted, where there is one."""
    threat: Threat | None = None
    """Of that run."""
    held: Tensor | None = None
    """``(N,)`` booleans on the CPU, the pictures that the run left."""

    def __init__(
        self,
        model: Classifier,
        images: Tensor,
        classes: Tensor,
        ball: Linf | L2 | None,
        seed: int,
        batch_size: int,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.model, self.images, self.classes, self.ball = model, images, classes, ball
        self.seed, self.batch_size, self.cancelled = seed, batch_size, cancelled
        self.count = len(images)
        self.keys = randomness.keys(seed, torch.arange(self.count, device=images.device))
        self.forwards = self.backwards = 0
        self._charged = (0, 0)

    def charged(self, check: Check) -> Check:
        """With what was spent since the last one."""
        before, self._charged = self._charged, (self.forwards, self.backwards)
        return replace(
            check, forwards=self.forwards - before[0], backwards=self.backwards - before[1]
        )

    @cached_property
    def is_random(self) -> bool:
        """Whether the network draws anew for each answer."""
        self.add(ANSWERS * self.count, plain=True)
        return is_random(self.model.plain, self.images, ANSWERS)

    @cached_property
    def draws(self) -> bool:
        """Whether it is random, bare or within an expectation."""
        return isinstance(self.model.plain, EOT) or self.is_random

    @cached_property
    def logits(self) -> Tensor:
        """At the clean pictures, ``(N, classes)`` in float64."""
        return self.ask(self.images).logits.double()

    @cached_property
    def clean(self) -> Answer:
        """Lead of the class and its gradient at the pictures."""
        return self.ask(self.images, gradient=True)

    @cached_property
    def no_gradient(self) -> bool:
        """Whether nothing comes back through the network."""
        try:
            self.clean  # noqa: B018 - asks the network
        except NoGradientError:
            return True
        return False

    @cached_property
    def path(self) -> "Path":
        """Gradient ascent from the pictures themselves, whoever is fooled on the way."""
        objective = torch.zeros(STEPS + 1, self.count, dtype=torch.double, device="cpu")
        misclassified = torch.zeros(STEPS + 1, self.count, dtype=torch.bool, device="cpu")

        def see(step: Step) -> None:
            assert step.answer.objective is not None
            at = step.numbers.cpu(), step.indices.cpu()
            objective[at] = step.answer.objective.double().cpu()
            misclassified[at] = step.reached.cpu()

        self.run("bim", keep="last", on_step=see, steps=STEPS)
        return Path(objective, misclassified)

    @cached_property
    def white_box(self) -> tuple[Tensor, Tensor]:
        """What Auto-PGD did.

        After how many steps on the cross-entropy each picture was misclassified, ``(N,)``, and who
        survives against it and against the same on the difference of logits ratio.
        """
        when = torch.full((self.count,), torch.inf, dtype=torch.float32, device="cpu")

        def see(step: Step) -> None:
            when[step.indices[step.reached].cpu()] = step.numbers[step.reached].float().cpu()

        return when, self.left_by_both(None, WHITE_BOX_STEPS, see)

    def left_by_both(
        self, ball: Threat | None, steps: int, on_step: Callable[[Step], None] | None = None
    ) -> Tensor:
        """Who survives Auto-PGD on the cross-entropy, then on the difference of ratios."""
        first = self.run("apgd", ball, on_step=on_step, steps=steps)
        left = (~first.success).nonzero().squeeze(1)
        second = self.run("apgd", ball, rows=left, steps=steps, loss="dlr")
        return left[~second.success]

    @property
    def left(self) -> Tensor:
        """The pictures that no white-box attack fooled."""
        return torch.arange(self.count, device="cpu") if self.no_gradient else self.white_box[1]

    def of_those_left(
        self, name: str, fooled: int, what: str, mend: str, evidence: dict[str, Any]
    ) -> Check:
        """What another attack made of the pictures that are left, of which it ``fooled`` some."""
        left = len(self.left)
        if self.no_gradient:
            words = f"Of {self.count} pictures, on which no white-box attack can be made, {what}"
        elif not left:
            words = f"Auto-PGD left none of the {self.count} pictures to another attack"
        else:
            words = f"Of the {left} of {self.count} pictures that Auto-PGD left, {what}"
        status = by_share(fooled, self.count)
        found = {"pictures": self.count, "left": left, **evidence}
        return Check(name, status, words + ending(status, mend), found)

    def reach(self) -> float:
        """How far the ball lets every pixel value move at once."""
        assert self.ball is not None
        eps = float(self.ball.eps)
        return eps if self.ball.name == "linf" else eps / float(self.images[0].numel() ** 0.5)

    def in_double(self) -> tuple[Classifier, float]:
        """The plain network in double precision if it can be had, and a nudge that fits."""
        plain = self.model.plain
        if self.images.device.type == "mps":  # has no float64
            return plain, NUDGE_FLOAT32
        try:
            twin = plain.to(dtype=torch.float64)
            evaluate(twin, self.images[:1].double())
        except (RuntimeError, TypeError, FluoroscopeError):
            # A network with numbers of another precision written into it, or one that cannot be
            # copied; the check goes on in the one that it has.
            return plain, NUDGE_FLOAT32
        self.add(1, plain=True)
        return twin, NUDGE

    def ask(
        self, images: Tensor, *, model: Classifier | None = None, gradient: bool = False
    ) -> Answer:
        """The lead of each picture's class at images of all of them."""
        self.stop()
        answers = [
            evaluate(model or self.model, part, classes, MARGIN, gradient=gradient)
            for part, classes in zip(
                images.split(self.batch_size), self.classes.split(self.batch_size), strict=True
            )
        ]
        for answer in answers:
            self.add(len(answer.logits) * (2 if answer.mended else 1), gradient=gradient)
        none = torch.zeros(0, dtype=torch.long, device=images.device)

        def counts(name: str) -> Tensor:
            found = [(getattr(answer, name), len(answer.logits)) for answer in answers]
            return torch.cat([none.new_zeros(n) if each is None else each for each, n in found])

        return Answer(
            torch.cat([a.logits for a in answers]),
            torch.cat([a.objective for a in answers if a.objective is not None]),
            torch.cat([a.gradient for a in answers if a.gradient is not None])
            if gradient
            else None,
            not_finite=counts("not_finite"),
            lost=counts("lost"),
        )

    @cached_property
    def alone(self) -> Tensor:
        """The logits of each clean picture shown by itself, ``(N, classes)`` in float64."""
        self.add(self.count)
        return torch.cat(
            [evaluate(self.model, each).logits for each in self.images.split(1)]
        ).double()

    def lead(self, images: Tensor, *, model: Classifier | None = None) -> Tensor:
        """How far the class of each picture is ahead at such images, ``(N,)``."""
        lead = self.ask(images, model=model).objective
        assert lead is not None
        return lead

    def right(self, rows: Tensor, images: Tensor, *, model: Classifier | None = None) -> Tensor:
        """Which images of these rows the plain network classifies correctly, ``(n,)`` booleans."""
        if not len(rows):
            return torch.zeros(0, dtype=torch.bool, device="cpu")
        self.stop()
        plain = (model or self.model).plain
        self.forwards += len(rows) * plain.passes
        read = predict(plain, images, batch_size=self.batch_size).winners
        return read == self.classes[rows].cpu()

    def run(
        self,
        name: str,
        ball: Threat | None = None,
        *,
        model: Classifier | None = None,
        rows: Tensor | None = None,
        keep: Keep = "first",
        restarts: int = 1,
        on_step: Callable[[Step], None] | None = None,
        **parameters: Any,
    ) -> "Found":
        """Attack the pictures, or those rows of them, within the ball or another one."""
        ball = ball or self.ball
        assert ball is not None
        rows = torch.arange(self.count, device="cpu") if rows is None else rows
        if not len(rows):
            return Found(
                torch.zeros(0, dtype=torch.bool, device="cpu"),
                *(torch.zeros(0, dtype=torch.float32, device="cpu") for _ in range(3)),
            )
        method = attack(name, eps=ball.eps, norm=ball.name, **parameters)
        with collected():  # what an attack warns of, the checks say
            result = method(
                model or self.model,
                self.images[rows],
                self.classes[rows],
                keep=keep,
                restarts=restarts,
                batch_size=self.batch_size,
                seed=self.seed,
                numbers=rows,
                on_step=on_step,
                cancelled=self.cancelled,
            )
        self.stop()
        self.forwards += int(result.forwards.sum())
        self.backwards += int(result.backwards.sum())
        return Found(result.success, result.forwards, result.distance, result.images)

    def add(self, images: int, *, gradient: bool = False, plain: bool = False) -> None:
        """Count the passes of so many images."""
        passes = images * (self.model.plain if plain else self.model).passes
        self.forwards += passes
        self.backwards += passes if gradient else 0

    def stop(self) -> None:
        """Raise if nobody waits any more."""
        if self.cancelled is not None and self.cancelled():
            raise CancelledError


@dataclass(frozen=True)
class Found:
    """What an attack made of some pictures."""

    success: Tensor
    forwards: Tensor
    distance: Tensor
    images: Tensor


@dataclass(frozen=True)
class Path:
    """A search step by step."""

    objective: Tensor
    """``(steps + 1, N)``, what was raised."""
    misclassified: Tensor
    """``(steps + 1, N)`` booleans."""


def ball_of(threat: Threat, images: Tensor) -> Linf | L2 | None:
    """Where the attacks of the checks look; ``None`` where the threat gives no bound."""
    eps = float(threat.eps)
    if not 0 < eps < float("inf"):
        return None
    if threat.name == "linf":
        return Linf(min(eps, 1.0))
    # The longest difference in the ball: of an L1 or L0 one, few values that move all the way.
    longest = {"l2": eps, "l1": min(eps, eps**0.5), "l0": (eps * images.shape[1]) ** 0.5}
    return L2(min(longest[threat.name], images[0].numel() ** 0.5))


def whole_box(ball: Linf | L2 | None, images: Tensor) -> Linf | L2:
    """The smallest ball of that norm, Linf where there is none, that holds the whole box."""
    return L2(images[0].numel() ** 0.5) if isinstance(ball, L2) else Linf(1.0)
