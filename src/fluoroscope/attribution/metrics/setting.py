"""What a metric asks a network: pictures and classes, and one loop that keeps its batches full."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from fluoroscope.attribution.classes import Targets, as_targets, objective_of, unmistakable
from fluoroscope.attribution.metrics.maps import Maps, as_maps
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.first_look import first_look
from fluoroscope.engine.memory import fewer_at_once
from fluoroscope.engine.objectives import Objective
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.stream import Samples, feed
from fluoroscope.engine.vectors import wide
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures.checks import check_images

Explain = Callable[[Classifier, Tensor, Any], Maps]
"""A method that can be run again: network, images ``(N, C, H, W)`` and classes give maps. Classes
come as a tensor ``(N,)``, or as a list of ``N`` pairs: both as ``fs.attribute`` takes them."""
Read = Literal["probability", "logit"]
"""What is read of an answer: of a pair of classes the sigmoid of the difference of their logits,
or that difference."""
Make = Callable[[Tensor, Tensor], Tensor]
"""Pictures ``(n, C, H, W)`` for the rows ``(n,)`` of the setting and the numbers ``(n,)`` of their
probes; asked again where memory ran out."""


@dataclass(frozen=True, eq=False)
class Setting:
    """A network, pictures at its size and their classes, checked; made by :meth:`of`."""

    model: Classifier
    images: Tensor
    """``(N, C, H, W)`` in ``[0, 1]``, on the network's device, in its precision."""
    classes: Tensor
    """``(N,)``, or pairs ``(N, 2)``: the first rather than the second."""
    numbers: Tensor
    """``(N,)``, which pictures of their data set these are: what is drawn belongs to the number."""
    seed: int = 0
    batch_size: int = 64
    explain: Explain | None = None

    @classmethod
    def of(
        cls,
        model: Classifier | nn.Module,
        images: Tensor,
        classes: Targets,
        *,
        seed: int = 0,
        numbers: Tensor | None = None,
        batch_size: int = 64,
        explain: Explain | None = None,
    ) -> Self:
        """What several metrics are to ask.

        Args:
            model: the network under study.
            images: ``(N, C, H, W)`` or one ``(C, H, W)`` in ``[0, 1]``, of the maps' size.
            classes: a class for each or one for all; or pairs, of which the first is explained
                rather than the second: a tuple for all, or one for each.
            seed: for everything random.
            numbers: ``(N,)``, which pictures of their data set these are; by default 0 and up. A
                picture of the same number scores the same in any company.
            batch_size: pictures evaluated at once.
            explain: the method itself, for the metrics that run it again.

        Raises:
            InvalidImagesError, UnknownLabelError, InvalidParameterError: what was given is
                unusable.
        """
        model = as_classifier(model)
        batch = check_images(images, model.channels).to(model.device, model.dtype)
        if numbers is None:
            numbers = torch.arange(len(batch), device="cpu")
        if numbers.shape != (len(batch),) or numbers.is_floating_point():
            raise InvalidParameterError(
                f"numbers have shape {tuple(numbers.shape)}; expected a whole number for each of "
                f"{len(batch)} pictures"
            )
        wanted = as_targets(model, classes, batch)
        first_look(model, batch)  # at the pictures themselves, not at what is made of them
        return cls(
            model, batch, wanted, numbers.to(batch.device, torch.int64),
            randomness.as_seed(seed), check_batch_size(batch_size), explain,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    @property
    def samples(self) -> Samples:
        """The pictures as methods see them: a baseline of noise is drawn for both alike."""
        found = feed(self.images, self.classes, seed=self.seed, numbers=self.numbers)(len(self))
        assert found is not None
        return found

    @property
    def pixels(self) -> int:
        """Pixels of a picture, whatever its channels."""
        return self.images[0, 0].numel()

    def keys(self, purpose: int) -> Tensor:
        """A key ``(N,)`` for each picture; each use of randomness has a purpose of its own."""
        return randomness.keys(self.seed, self.numbers, purpose)

    @torch.inference_mode(False)
    def ask(self, probes: int, make: Make, read: Read) -> Tensor:
        """What is read of so many pictures made of each one, ``(N, probes)`` in float64."""
        total, done, size, goal = len(self) * probes, 0, self.batch_size, self._goal(read)
        found = [torch.empty(0, dtype=wide(self.images), device=self.images.device)]
        while done < total:
            flat = torch.arange(done, min(done + size, total), device=self.images.device)
            rows = flat // probes
            try:
                answer = evaluate(self.model, make(rows, flat % probes), self.classes[rows], goal)
            except (RuntimeError, MemoryError) as problem:
                size = fewer_at_once(problem, len(flat))
                continue
            assert answer.objective is not None
            found.append(answer.objective)
            done += len(flat)
        return torch.cat(found).view(len(self), probes)

    def explained(
        self,
        *,
        model: Classifier | None = None,
        images: Tensor | None = None,
        classes: Tensor | None = None,
    ) -> Tensor:
        """Maps ``(N, C, H, W)`` of the method, where one of these takes the place of its own.

        Raises:
            InvalidParameterError: no method was given, or its maps do not fit.
        """
        if self.explain is None:
            raise InvalidParameterError(
                "explain is missing; expected a function of network, images and classes that gives "
                "maps, for this metric runs the method again"
            )
        wanted = self.classes if classes is None else classes
        pictures = self.images if images is None else images
        found = self.explain(self.model if model is None else model, pictures, unmistakable(wanted))
        return as_maps(found, pictures, "the maps of explain")

    def _goal(self, read: Read) -> Objective:
        if self.classes.dim() == 1:
            return objective_of(self.classes, read)
        lead = objective_of(self.classes)
        if read == "logit":
            return lead
        return Objective("probability", lambda logits, pair: lead(logits, pair).sigmoid())
