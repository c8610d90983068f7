"""Calling an attack: from a user's images and classes to a result that says what happened."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from safetensors.torch import save_file
from torch import Tensor

from fluoroscope.engine.classes import Classes, as_classes
from fluoroscope.engine.objectives import Objective
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.run import Keep, run
from fluoroscope.engine.stream import DEFAULT_BATCH, Attack, Budget, Step
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import atomic_path, output_directory
from fluoroscope.models.classifier import Classifier
from fluoroscope.pictures.checks import check_images


@dataclass(frozen=True)
class AttackResult:
    """What an attack made of ``N`` images; all tensors are on the CPU."""

    images: Tensor
    """``(N, C, H, W)`` in ``[0, 1]``; the clean image where nothing was found."""
    logits: Tensor
    """``(N, classes)`` at those images."""
    success: Tensor
    """``(N,)`` booleans: read as wanted, within the threat model."""
    at_start: Tensor
    """``(N,)`` booleans: the clean image was read so already. These are among the successes."""
    distance: Tensor
    """``(N,)`` from the clean image, in the norm of the threat model."""
    forwards: Tensor
    """``(N,)``, images of the sample that went through the network, the clean one included."""
    backwards: Tensor
    """``(N,)``, gradients computed for the sample."""
    record: dict[str, Any]
    """Attack, parameters, seed, versions and the network's content hash, as plain values."""

    def save(self, directory: str | Path) -> list[Path]:
        """Write ``attack.safetensors`` (every tensor) and ``attack.json`` (the record)."""
        out = output_directory(directory)
        tensors = {
            field.name: getattr(self, field.name).contiguous()
            for field in fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        with atomic_path(out / "attack.safetensors") as draft:
            save_file(tensors, draft)
        with atomic_path(out / "attack.json") as draft:
            draft.write_text(json.dumps(self.record, indent=1, ensure_ascii=False), "utf-8")
        return [out / "attack.safetensors", out / "attack.json"]


class Method:
    """What every attack can do once it has the mathematics of :class:`Attack`.

    Subclasses are frozen dataclasses with a ``threat``.
    """

    threat: Threat
    minimum_norm: ClassVar[bool] = False
    """Whether it looks for the closest success, rather than for any within a bound."""
    confidence: float = 0.0
    """The lead in logits from which an image counts as a success."""

    def __call__(
        self,
        model: Classifier,
        images: Tensor,
        classes: Classes,
        *,
        targeted: bool = False,
        keep: Keep | None = None,
        restarts: int = 1,
        batch_size: int = DEFAULT_BATCH,
        budget: Budget | None = None,
        seed: int = 0,
        on_step: Callable[[Step], None] | None = None,
    ) -> AttackResult:
        """Attack images ``(N, C, H, W)`` or one ``(C, H, W)`` in ``[0, 1]``.

        Args:
            model: the network under study.
            images: what to change.
            classes: the true class of each, or the wanted one if ``targeted``.
            targeted: towards the classes instead of away from them.
            keep: ``first`` leaves a sample at its first success; ``best`` spends its whole budget
                and keeps the point with the highest objective, ``nearest`` the closest success,
                ``last`` the end whatever it is. By default ``nearest`` for attacks that look for
                the closest success, and ``first`` for the others.
            restarts: how often a search that found nothing is begun anew.
            batch_size: images evaluated at once.
            budget: what one sample may cost, and the whole may take.
            seed: for everything random. A sample's chance does not depend on its neighbours.
            on_step: called with every step.

        Raises:
            InvalidImagesError, UnknownLabelError, InvalidParameterError: unusable input.
            NoGradientError: the logits do not depend differentiably on the pixels.
        """
        batch = check_images(images, model.channels).to(model.device, model.dtype)
        wanted = as_classes(model, classes, batch)
        if restarts < 1:
            raise InvalidParameterError(f"restarts is {restarts}; expected 1 or more")
        kept: Keep = keep or ("nearest" if self.minimum_norm else "first")
        outcome = run(
            model,
            cast(Attack[Any], self),
            batch,
            wanted,
            self.threat,
            targeted=targeted,
            keep=kept,
            restarts=restarts,
            batch_size=check_batch_size(batch_size),
            budget=budget,
            confidence=self.confidence,
            seed=seed,
            on_step=on_step,
        )
        record = {
            "attack": type(self).__name__,
            "parameters": {name: _plain(value) for name, value in vars(self).items()},
            "targeted": targeted,
            "keep": kept,
            "restarts": restarts,
            "batch_size": batch_size,
            "seed": seed,
            **provenance(model),
        }
        columns = {field.name: getattr(outcome, field.name).cpu() for field in fields(outcome)}
        return AttackResult(**columns, record=record)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, Objective | type):
        return {"norm": getattr(value, "name", type(value).__name__), **asdict(value)}
    return str(value) if isinstance(value, Objective) else value
