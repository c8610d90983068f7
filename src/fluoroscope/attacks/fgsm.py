"""The fast gradient sign method: ``x + eps * sign(gradient of the loss)``, one step.

Goodfellow, Shlens, Szegedy, "Explaining and Harnessing Adversarial Examples" (2015), section 4.
Unlike the paper the result is clamped to ``[0, 1]``, as an image has to be.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.attacks.ascent import GradientAscent
from fluoroscope.engine.classes import Classes, as_classes
from fluoroscope.engine.objectives import CROSS_ENTROPY, LOG_PROBABILITY
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.stream import run
from fluoroscope.engine.threats import Linf, as_number
from fluoroscope.models.classifier import Classifier
from fluoroscope.pictures.checks import check_images


@dataclass(frozen=True)
class AttackResult:
    """What an attack made of ``N`` images; all tensors are on the CPU."""

    images: Tensor
    """``(N, C, H, W)`` in ``[0, 1]``."""
    logits: Tensor
    """``(N, classes)`` at those images."""
    success: Tensor
    """``(N,)`` booleans: read as the target, or no longer as the given class."""
    distance: Tensor
    """``(N,)``, in the norm of the attack."""
    forwards: Tensor
    """``(N,)``, images of the sample that went through the network."""
    backwards: Tensor
    """``(N,)``, gradients computed for the sample."""


def fgsm(
    model: Classifier,
    images: Tensor,
    classes: Classes,
    eps: float | str,
    *,
    targeted: bool = False,
    batch_size: int = 64,
) -> AttackResult:
    """One signed step of ``eps`` away from the given classes, or towards them if ``targeted``.

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
    size = as_number(eps)
    batch = check_images(images, model.channels)
    wanted = as_classes(model, classes, batch)
    objective = LOG_PROBABILITY if targeted else CROSS_ENTROPY
    attack = GradientAscent(1, size, "sign", objective, Linf(size))
    parts = []
    chunk = check_batch_size(batch_size)
    for part, part_classes in zip(batch.split(chunk), wanted.split(chunk), strict=True):
        original = part.to(model.device, model.dtype)
        outcome = run(model, attack, original, part_classes)
        hit = (outcome.logits.argmax(1) == part_classes) == targeted
        distance = attack.threat.distance(outcome.images - original)
        parts.append(
            (outcome.images, outcome.logits, hit, distance, outcome.forwards, outcome.backwards)
        )
    return AttackResult(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))
