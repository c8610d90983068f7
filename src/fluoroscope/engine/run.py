"""Searches run to their end: what each sample keeps, and what it cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.stream import (
    DEFAULT_BATCH,
    Attack,
    Budget,
    S,
    Samples,
    Step,
    feed,
    is_reached,
    stream,
)
from fluoroscope.engine.threats import Threat
from fluoroscope.models.classifier import Classifier

Keep = Literal["first", "nearest", "best", "last"]
"""``first`` stops a sample at its first success; the others spend the whole budget and keep the
closest success, the point with the highest objective (a success before any other), or the end."""


@dataclass(frozen=True)
class Outcome:
    """What a search made of ``N`` samples, and what it cost."""

    images: Tensor
    """``(N, C, H, W)``; with ``first`` and ``nearest`` the clean image where nothing was found."""
    logits: Tensor
    """``(N, classes)`` at those images."""
    success: Tensor
    """``(N,)`` booleans: within the threat model, and read as wanted."""
    at_start: Tensor
    """``(N,)`` booleans: the clean image was read so already; nothing was searched."""
    distance: Tensor
    """``(N,)`` from the clean image, in the norm of the threat model."""
    forwards: Tensor
    """``(N,)``, images of the sample that went through the network, the clean one included."""
    backwards: Tensor
    """``(N,)``, gradients computed for the sample."""


def run(
    model: Classifier,
    attack: Attack[S],
    images: Tensor,
    classes: Tensor,
    threat: Threat,
    *,
    targeted: bool = False,
    keep: Keep = "first",
    restarts: int = 1,
    batch_size: int = DEFAULT_BATCH,
    budget: Budget | None = None,
    confidence: float = 0.0,
    seed: int = 0,
    on_step: Callable[[Step], None] | None = None,
) -> Outcome:
    """Look at the clean images, then search from those that are not yet read as wanted.

    Args:
        model: the network under study.
        attack: the search.
        images: ``(N, C, H, W)`` in ``[0, 1]`` on the network's device, in its precision.
        classes: ``(N,)``, the true class of each, or the wanted one if ``targeted``.
        threat: which images count as success; distances are in its norm.
        targeted: towards the classes instead of away from them.
        keep: what each sample keeps.
        restarts: how often a search that found nothing is begun anew.
        batch_size: images evaluated at once.
        budget: what one sample may cost, and the whole may take.
        confidence: the lead in logits from which an image counts as read as wanted.
        seed: for everything random; a sample's draws depend on it and the sample's number alone.
        on_step: called with every step.
    """
    samples = list(feed(images, classes, targeted=targeted, seed=seed))
    towards = torch.cat([one.towards for one in samples])
    clean = torch.cat([evaluate(model, part).logits for part in images.split(batch_size)])
    best = _Best(
        images, clean, is_reached(Answer(clean), classes, towards, confidence), threat, keep
    )

    def found(answer: Answer, asked: Samples, at: Tensor) -> Tensor:
        return is_reached(answer, asked.classes, asked.towards, confidence) & threat.allows(
            at, asked.images
        )

    until = found if keep == "first" else None
    over = best.at_start & (keep != "last")
    going = [one for one, skip in zip(samples, over.tolist(), strict=True) if not skip]
    for step in stream(
        model, attack, going, until=until, restarts=restarts, batch_size=batch_size,
        budget=budget, seed=seed,
    ):  # fmt: skip
        rows = step.indices
        success = is_reached(step.answer, classes[rows], towards[rows], confidence)
        success &= threat.allows(step.images, images[rows])
        best.offer(step, success)
        if on_step is not None:
            on_step(step)
    return best.outcome()


class _Best:
    """The point each sample keeps so far."""

    def __init__(
        self, images: Tensor, logits: Tensor, reached: Tensor, threat: Threat, keep: Keep
    ) -> None:
        self.at_start = reached
        self._clean = images
        self._images, self._logits, self._success = images.clone(), logits.clone(), reached.clone()
        self._rank = torch.full(
            (len(images),), -torch.inf, dtype=torch.double, device=images.device
        )
        self._forwards = torch.ones(len(images), dtype=torch.long, device=images.device)
        self._backwards = torch.zeros_like(self._forwards)
        self._threat, self._keep = threat, keep

    def offer(self, step: Step, success: Tensor) -> None:
        rows = step.indices
        self._forwards[rows] = step.forwards + 1
        self._backwards[rows] = step.backwards
        rank = self._ranks(step, success)
        better = rank > self._rank[rows]
        kept = rows[better]
        self._rank[kept] = rank[better]
        self._images[kept] = step.images[better]
        self._logits[kept] = step.answer.logits[better]
        self._success[kept] = success[better]

    def _ranks(self, step: Step, success: Tensor) -> Tensor:
        nowhere = torch.full_like(step.forwards, -torch.inf, dtype=torch.double)
        match self._keep:
            case "last":
                return step.forwards.double()
            case "best":
                assert step.answer.objective is not None
                # A success before any other: squeezed into (-1, 1), then lifted by 2.
                value = step.answer.objective.double()
                allowed = self._threat.allows(step.images, self._clean[step.indices])
                squeezed = value / (1 + value.abs()) + 2 * success
                return torch.where(allowed, squeezed, nowhere)
            case _:
                away = step.images - self._clean[step.indices]
                return torch.where(success, -self._threat.distance(away).double(), nowhere)

    def outcome(self) -> Outcome:
        return Outcome(
            images=self._images,
            logits=self._logits,
            success=self._success,
            at_start=self.at_start,
            distance=self._threat.distance(self._images - self._clean),
            forwards=self._forwards,
            backwards=self._backwards,
        )
