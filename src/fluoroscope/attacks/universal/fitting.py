"""One thing that is made for many pictures: the loop that fits it, and what fitted attacks share.

The thing, a perturbation or a patch, is put into each picture of a shuffled batch; the engine gives
the gradient at those pixels, the putting-in alone is differentiated here, and an optimiser takes a
step whose size falls in a line to 0:
``E_{pictures, places} [objective(network(put(thing, picture)))]`` is raised. What comes out is an
attack that holds the thing and needs one evaluation for a picture, seen before or not.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.result import AttackResult
from fluoroscope.engine import randomness
from fluoroscope.engine.classes import Classes, as_classes
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import LOG_PROBABILITY, Objective
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.stream import Step, is_reached
from fluoroscope.engine.threats import one_bound
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import atomic_path, output_directory, remove
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures.checks import check_images
from fluoroscope.pictures.write import write_png
from fluoroscope.words import count as counted

FIT_BATCH = 32


@dataclass(frozen=True)
class FitStep:
    """What one batch taught."""

    number: int
    """Batches learnt from, this one included."""
    total: int
    """Batches in all."""
    objective: float
    """Mean of the batch, before the update."""
    success: float
    """Share of the batch that was predicted as wanted, before the update."""


class Fitted(Method, ABC):
    """An attack that holds one thing for all pictures, once ``fit`` has made it.

    Called before that, it fits itself to the very pictures it is given.
    """

    epochs: int
    step_size: float | None
    can_mask: ClassVar[bool] = False
    can_pause: ClassVar[bool] = False
    cost: ClassVar[str] = "1 forward, once fitted"

    @property
    @abstractmethod
    def made(self) -> Tensor | None:
        """What it holds, ``(C, h, w)``; ``None`` before it is fitted."""

    @abstractmethod
    def holding(self, made: Tensor) -> Self:
        """The attack that holds this."""

    @abstractmethod
    def begin(self, images: Tensor) -> Tensor:
        """What fitting begins from, for images ``(N, C, H, W)``."""

    @abstractmethod
    def put(self, made: Tensor, images: Tensor, keys: Tensor, draw: int | Tensor) -> Tensor:
        """Images ``(n, C, H, W)`` with the thing in each; differentiable in it.

        ``keys`` ``(n,)`` and the number of the draw say where, if that is drawn.
        """

    @abstractmethod
    def keep_allowed(self, made: Tensor) -> Tensor:
        """The nearest thing that is allowed."""

    @abstractmethod
    def pictures(self) -> dict[str, Tensor]:
        """What to look at, by the end of a file name: images ``(C, h, w)`` in ``[0, 1]``."""

    def objective(self, towards: Tensor) -> Objective:
        """What is raised for each picture."""
        return LOG_PROBABILITY.towards(towards)

    def optimizer(self, made: Tensor) -> torch.optim.Optimizer:
        """What takes the steps."""
        return torch.optim.Adam([made], lr=self._step_size, maximize=True)

    def along(self, slope: Tensor) -> Tensor:
        """The direction it is given, from the slope at the thing."""
        return slope

    @property
    @abstractmethod
    def usual_step_size(self) -> float:
        """The first step's, where none is given."""

    @property
    def _step_size(self) -> float:
        return self.usual_step_size if self.step_size is None else self.step_size

    def __post_init__(self) -> None:
        super().__post_init__()
        one_bound(self.threat)
        self._expect(1, "epochs")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise InvalidParameterError(f"step_size is {self.step_size}; expected more than 0")
        if self.made is not None and (not isinstance(self.made, Tensor) or self.made.dim() != 3):
            raise InvalidParameterError(
                f"{type(self).__name__} was given {type(self.made).__name__} to hold; expected a "
                "tensor (C, h, w), such as fit makes"
            )

    def fit(
        self,
        model: Classifier,
        images: Tensor,
        classes: Classes,
        *,
        targeted: bool = False,
        batch_size: int = FIT_BATCH,
        seed: int = 0,
        numbers: Tensor | None = None,
        on_batch: Callable[[FitStep], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Self:
        """Make the thing on images ``(N, C, H, W)`` in ``[0, 1]``; the attack that holds it.

        Args:
            model: the network under study.
            images: what to learn from.
            classes: the true class of each, or the wanted one, the same for all, if ``targeted``.
            targeted: towards the class instead of away from the classes.
            batch_size: images of one step.
            seed: for the order, and for where the thing is put.
            numbers: ``(N,)``, which samples of their data set these are; by default 0 and up.
            on_batch: called after every batch.
            cancelled: asked before every batch; once true, what was made so far is held.

        Raises:
            InvalidImagesError, UnknownLabelError, InvalidParameterError: unusable input.
            NoGradientError: the logits do not depend differentiably on the pixels.
        """
        images = check_images(images, model.channels).to(model.device, model.dtype)
        wanted = as_classes(model, classes, images)
        if targeted and len(wanted.unique()) > 1:
            raise InvalidParameterError(
                f"targeted towards {len(wanted.unique())} classes; one {type(self).__name__} leads "
                "all pictures to one class: expected the same class for each"
            )
        size = min(check_batch_size(batch_size), len(images))
        numbers = torch.arange(len(images), device="cpu") if numbers is None else numbers
        towards = torch.full((len(images),), 1.0 if targeted else -1.0, device=images.device)
        order, total = torch.Generator().manual_seed(seed), self.epochs * -(-len(images) // size)
        number = 0
        with torch.inference_mode(False), torch.enable_grad(), model.held():
            made = self.begin(images).clone().requires_grad_()
            optimizer = self.optimizer(made)
            for epoch in range(self.epochs):
                keys = randomness.keys(seed, numbers.to(images.device), epoch)
                for chosen in torch.randperm(len(images), generator=order, device="cpu").split(
                    size
                ):
                    if cancelled is not None and cancelled():
                        return self.holding(made.detach())
                    rows = chosen.to(images.device)
                    optimizer.param_groups[0]["lr"] = self._step_size * (1 - number / total)
                    placed = self.put(made, images[rows], keys[rows], 0)
                    answer = evaluate(
                        model, placed, wanted[rows], self.objective(towards[rows]), gradient=True
                    )
                    assert answer.gradient is not None
                    assert answer.objective is not None
                    slope = answer.gradient / len(rows)
                    (slope,) = torch.autograd.grad(placed, made, slope)
                    made.grad = self.along(slope)
                    optimizer.step()
                    made.data = self.keep_allowed(made.data)
                    number += 1
                    if on_batch is not None:
                        reached = is_reached(answer, wanted[rows], towards[rows])
                        on_batch(FitStep(
                            number, total, float(answer.objective.mean()),
                            float(reached.float().mean()),
                        ))  # fmt: skip
        return self.holding(made.detach())

    def __call__(
        self, model: Classifier | nn.Module, images: Tensor, classes: Classes, **options: Any
    ) -> AttackResult:
        """Apply it to images; fitted to them first if it has not been fitted.

        See :meth:`Method.__call__`. What fitting costs each picture is counted with the rest, and
        the result's notes say that it was made on the pictures it is judged on.
        """
        model = as_classifier(model)
        if self.made is not None:
            return super().__call__(model, images, classes, **options)
        if options.get("mask") is not None:
            self._part(options["mask"], images)  # refused before anything is made
        if options.get("budget") is not None:
            raise InvalidParameterError(
                f"budget is {options['budget']}; a {type(self).__name__} that is not fitted yet "
                "takes none: expected epochs, or fit(...) first"
            )
        images = check_images(images, model.channels)
        shared = ("targeted", "seed", "numbers", "cancelled")
        passes = 0

        def count(step: FitStep) -> None:
            nonlocal passes
            passes = -(-step.number * self.epochs // step.total)

        fitted = self.fit(
            model, images, classes, on_batch=count,
            batch_size=min(options.get("batch_size", FIT_BATCH), FIT_BATCH),
            **{name: options[name] for name in shared if name in options},
        )  # fmt: skip
        result = fitted(model, images, classes, **options)
        note = (
            f"fitted on these {counted(len(images), 'picture')} before, {passes} times forward and "
            "backward each, which is counted here; on pictures not seen it may succeed less often"
        )
        return replace(
            result,
            forwards=result.forwards + passes * model.passes,
            backwards=result.backwards + passes * model.passes,
            notes=(*result.notes, note),
            record=result.record | {"notes": [*result.record["notes"], note]},
        )

    def save_made(self, directory: str | Path, name: str) -> list[Path]:
        """Write what it holds: a tensor (safetensors) and pictures (PNG)."""
        if self.made is None:
            raise InvalidParameterError(
                f"{type(self).__name__} holds nothing yet; expected a fitted one: fit(...)"
            )
        out = output_directory(directory)
        path = out / f"{name}.safetensors"
        shown = {out / f"{name}{end}.png": image for end, image in self.pictures().items()}
        remove(*shown)  # those of another one never stand beside this
        with atomic_path(path) as draft:
            save_file({name: self.made.contiguous().cpu()}, draft)
        return [path, *(write_png(file, image) for file, image in shown.items())]


def successes(
    attack: Fitted, model: Classifier, images: Tensor, classes: Classes, **options: Any
) -> Tensor:
    """How often each picture was predicted as wanted with the thing in it, of all times it was
    asked.

    ``(N,)`` between 0 and 1: for a patch, the share of its places that succeed. Pictures that were
    predicted so before anything was put in are asked about too.
    """
    asked, reached = torch.zeros(2, len(images), dtype=torch.float32, device="cpu")

    def look(step: Step) -> None:
        rows = step.indices.cpu()
        asked[rows] += 1
        reached[rows] += step.reached.cpu()

    attack(model, images, classes, keep="last", on_step=look, **options)
    share: Tensor = reached / asked
    return share
