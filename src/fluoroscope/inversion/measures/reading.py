"""What a network says of pictures, and makes of them on the way, a batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.engine.predict import suitable_batch
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.tracing import uses_and_logits, weighted
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import Use, find_layer
from fluoroscope.words import some

# Layers of a path: as many as a table or a figure has room for.
MOST_LAYERS = 12
# Numbers of a layer that are kept of a picture: of a map with more, means of fewer places.
_NUMBERS = 4096


@dataclass(frozen=True)
class Read:
    """What a network makes of ``N`` pictures."""

    logits: Tensor
    """``(N, K)``, float64, on the CPU."""
    layers: dict[Place, Tensor]
    """``(N, D)`` of each place, float32, on the CPU."""

    @property
    def winners(self) -> Tensor:
        """``(N,)``, the class with the largest logit."""
        return self.logits.argmax(1)

    def confidence(self, classes: Tensor) -> Tensor:
        """``(N,)``, the probability of each picture's class."""
        return self.logits.softmax(1).gather(1, classes[:, None])[:, 0]


def read(
    model: Classifier,
    images: Tensor,
    places: Sequence[Place] = (),
    *,
    batch_size: int | None = None,
    places_kept: int = 1,
) -> Read:
    """Logits, and what is read at some places, of images ``(N, C, H, W)``.

    Pictures of another size than the network's own are brought to it, as any picture is.
    Of a map with rows and columns the means of ``places_kept`` × ``places_kept`` places are kept,
    or of fewer where a layer has many channels; of tokens their mean.
    """
    widths: list[int] = []

    def flat(seen: Seen) -> Tensor:
        parts = [pooled(seen.outputs[each], places_kept) for each in places]
        widths[:] = [part.shape[1] for part in parts]
        return torch.cat(parts, 1)

    asked = Inside("what layers make of it", tuple(places), flat) if places else None
    logits, found = [], []
    fits = model.input_size in (None, tuple(images.shape[-2:]))
    for part in images.split(batch_size or suitable_batch(images)):
        ready = (part if fits else model.fit(part)).to(model.device, model.dtype)
        nothing = torch.zeros(len(ready), dtype=torch.long, device=model.device)
        answer = evaluate(model, ready, nothing if places else None, asked)
        logits.append(answer.logits.double().cpu())
        if answer.terms is not None:
            found.append(answer.terms.float().cpu())
    layers = dict(zip(places, torch.cat(found).split(widths, 1), strict=True)) if places else {}
    return Read(torch.cat(logits), layers)


def pooled(output: Tensor, places: int = 1) -> Tensor:
    """What a layer gave out for ``N`` pictures as ``(N, D)``."""
    if output.dim() == 4:
        side = places
        while side > 1 and output.shape[1] * side * side > _NUMBERS:
            side //= 2
        return F.adaptive_avg_pool2d(output, side).flatten(1)
    if output.dim() == 3:  # tokens
        return output.mean(1)
    return output.flatten(1)


def penultimate(model: Classifier, size: tuple[int, int]) -> Place:
    """What the last layer with weights is given: the features that the answer is a product of.

    Raises:
        InvalidParameterError: there is none, or it is given the pixels.
    """
    uses, _ = uses_and_logits(model, size)
    heavy = weighted(uses)
    if not heavy:
        names = some([use.name for use in uses], 20) or "none, for none is seen by Python"
        raise InvalidParameterError(
            f"layer was not given, and {model.name} has no linear or convolutional layer that "
            f"gives its answer; expected the name of one to read features at: {names}"
        )
    if len(heavy) == 1:
        raise InvalidParameterError(
            f"{model.name} has one layer, {heavy[0].name!r}, whose features would be the "
            "pixels; expected a second network with layers before its last"
        )
    return Place(heavy[-1].name, given=True)


def named(model: Classifier, layer: str) -> Place:
    """A layer to read features at, by its name.

    Raises:
        InvalidParameterError: there is no such layer.
    """
    find_layer(model, layer)
    return Place(layer)


def path(model: Classifier, size: tuple[int, int]) -> tuple[Place, ...]:
    """The layers that a picture goes through, first to last, at most :data:`MOST_LAYERS` of them.

    Of layers within each other the innermost; those without effect on a picture are left out.
    """
    last: dict[str, Use] = {}
    for use in uses_and_logits(model, size)[0]:
        passes_on = any(use.output is one for one in use.given)
        idle = isinstance(use.layer, nn.Flatten | nn.Identity | nn.Dropout)
        inner = next(use.layer.children(), None) is None
        if inner and not passes_on and not idle and use.output.dim() > 1:
            last.pop(use.name, None)
            last[use.name] = use
    names = [use.name for use in last.values() if len(use.output) == (model.batch_size or 1)]
    if len(names) > MOST_LAYERS:
        picked = torch.linspace(0, len(names) - 1, MOST_LAYERS, dtype=torch.float64, device="cpu")
        names = [names[round(place)] for place in picked.tolist()]
    return tuple(Place(name) for name in names)


def noise(count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Pictures ``(N, C, H, W)`` whose every value is drawn evenly from ``[0, 1]``."""
    numbers = torch.arange(count, device="cpu")
    return randomness.uniform(randomness.keys(seed, numbers, 77), 0, shape)
