"""Reading a part: pictures through the network in batches, and of each unit one number for each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.cluster import Part
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.memory import fewer_at_once
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import outputs_of, tapped
from fluoroscope.neurons.reading.reduction import Reduction
from fluoroscope.neurons.reading.store import Found, checksums
from fluoroscope.neurons.reading.units import Units, units_of
from fluoroscope.notices import collected, distinct


@dataclass(frozen=True)
class Job:
    """Everything that reading a part needs."""

    model: Classifier
    images: ImageSet
    layers: tuple[Units, ...]
    reduction: Reduction
    batch_size: int

    def begun(self, where: str, device: str | None) -> Callable[[Part], list[Found]]:
        """What reads parts on a machine of a cluster."""
        return (replace(self, model=self.model.to(device)) if device else self).read_part

    def read_part(self, part: Part) -> list[Found]:
        """What each layer says of a part, in this process alone."""
        batches = list(self.read(part.positions, workers=0))
        return [Found.joined(found) for found in zip(*batches, strict=True)]

    def read(self, positions: Sequence[int], workers: int | None = None) -> Iterator[list[Found]]:
        """What each layer says of these pictures of the set, a batch at a time."""
        batches = self.images.select(positions).batches(
            self.batch_size, fit=self.model.preprocessing, workers=workers
        )
        while True:
            with collected() as told:
                batch = next(batches, None)
                if batch is None:
                    return
                numbers, predicted, confidence = self._ask(batch.images)
            seen = {
                "predicted": predicted.numpy(),
                "confidence": confidence.numpy(),
                "picture": checksums(batch.images),
            }
            yield [Found(each.numpy(), seen, distinct(told)) for each in numbers]

    def _ask(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Numbers ``(n, K)`` of each layer, the predicted classes and how sure of them."""
        found: list[list[Tensor]] = []
        done, at_once = 0, len(images)
        while done < len(images):
            part = images[done : done + at_once]
            try:
                found.append(self._pass(part.to(self.model.device, self.model.dtype)))
            except RuntimeError as problem:
                at_once = fewer_at_once(problem, len(part))
                continue
            done += len(part)
        *numbers, logits = [torch.cat(each) for each in zip(*found, strict=True)]
        confidence, predicted = logits.softmax(1).max(1)
        return numbers, predicted, confidence.float()

    def _pass(self, images: Tensor) -> list[Tensor]:
        """Of one pass the numbers of each layer, and the logits; on the CPU."""
        model = self.model
        with ExitStack() as taps:
            kept = [taps.enter_context(tapped(model, units.layer)) for units in self.layers]
            logits = evaluate(model, images, look=False).logits
        numbers = []
        for units, found in zip(self.layers, kept, strict=True):
            outputs = outputs_of(found, units.layer, len(images), model, units.call)
            reduced = [self._reduced(units, output) for output in outputs]
            numbers.append(torch.cat(reduced)[: len(images)].cpu())
        return [*numbers, logits.cpu()]

    def _reduced(self, units: Units, output: Tensor) -> Tensor:
        """One float32 for each unit and picture; sums of half precision would lose them."""
        if output.dtype in (torch.float16, torch.bfloat16):
            output = output.float()
        shape = tuple(output.shape[1:])
        if shape != units.shape:  # pictures of another size
            other = units_of(self.model, units.layer, shape, units.call)
            if other is None or other.count != units.count:
                raise InvalidParameterError(
                    f"the layer {units.layer!r} of {self.model.name} gives out {units.shape} for "
                    f"the first picture and {shape} for another; expected as many units for all: "
                    "choose another layer, or pictures of one size"
                )
            units = other
        return self.reduction(units, output).float()
