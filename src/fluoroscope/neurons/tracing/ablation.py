"""What a network answers without units of a layer, exactly: its passes from the layer on.

The effect of a unit on a number is what is lost without it, ``v(x) - v(x without the unit)``; on
the probability of a class it is the prediction difference of Robnik-Sikonja and Kononenko (2008),
by which Dong et al. (1708.05493) trace decisions. Above 0 the unit speaks for the class.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.memory import fewer_at_once
from fluoroscope.engine.objectives import LOGIT, MARGIN, PROBABILITY, log_probabilities_given
from fluoroscope.engine.threads import suitable_threads
from fluoroscope.engine.vectors import wide
from fluoroscope.errors import InvalidParameterError, ModelOutputError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.rest import Rest
from fluoroscope.neurons.reading.units import Units
from fluoroscope.words import count

MEASURES = ("margin", "logit", "probability")
"""The numbers that effects are on, in the order of their columns."""
Measure = Callable[[Tensor], Tensor]
"""What is asked of logits ``(B, classes)``: ``(B, ...)``."""
Share = Callable[[float], None]
"""Told how much of the work is done, from 0 to 1."""
# So many numbers of the layer at once, and so many copies, where nobody says how many: what fits
# into a processor's cache goes fastest.
_NUMBERS, _COPIES = 2**20, 256
# Pictures at once of those whose mean stands in a unit's place.
_PICTURES = 32


@dataclass(frozen=True)
class Put:
    """What stands in a removed unit's place."""

    value: Tensor
    """``(K,)``, one number for each unit, at all of its places."""
    name: str
    """In words."""


def as_put(
    model: Classifier, units: Units, put: str | float | Tensor | Put,
    pictures: ImageSet | Tensor | None = None,
) -> Put:  # fmt: skip
    """What stands in a removed unit's place, of what a user gives.

    Args:
        model: the network.
        units: those of the layer.
        put: ``"zero"``; ``"mean"``, of each unit over the places of ``pictures``; a number; or one
            for each unit ``(K,)``.
        pictures: of ``"mean"``: ``(N, C, H, W)`` in ``[0, 1]``, or a data set.

    Raises:
        InvalidParameterError: none of these.
    """
    if isinstance(put, Put):
        return put
    if put == "mean":
        if pictures is None or not len(pictures):
            raise InvalidParameterError(
                "put is 'mean', and no pictures were given; expected some to take it over"
            )
        means = mean_of(model, units, pictures)
        return Put(means, f"its mean over {count(len(pictures), 'picture')}")
    if put == "zero":
        put = 0.0
    if isinstance(put, int | float) and not isinstance(put, bool):
        if not abs(put) <= torch.finfo(torch.float32).max:
            raise InvalidParameterError(
                f"put is {put!r:.20}; expected finite numbers, such as 32 bits hold"
            )
        filled = torch.full((units.count,), float(put), dtype=torch.float32, device=model.device)
        found = Put(filled, f"{put:g}")
    elif isinstance(put, Tensor) and put.shape == (units.count,) and put.is_floating_point():
        found = Put(put.detach().to(model.device), "a number of its own")
    else:
        given = f"a tensor {tuple(put.shape)}" if isinstance(put, Tensor) else repr(put)
        raise InvalidParameterError(
            f"put is {given}; expected zero, mean, a number, or a float tensor ({units.count},) "
            "with one for each unit"
        )
    if not bool(found.value.isfinite().all()):
        raise InvalidParameterError(
            "put is a tensor with NaN or infinite numbers; expected finite numbers"
        )
    return found


def mean_of(model: Classifier, units: Units, pictures: ImageSet | Tensor) -> Tensor:
    """The mean of each unit ``(K,)`` over all places of some pictures."""
    if isinstance(pictures, ImageSet):
        batches = (batch.images for batch in pictures.batches(_PICTURES, fit=model.preprocessing))
    else:
        batches = (model.fit(part) for part in pictures.split(_PICTURES))
    total, many = torch.zeros(units.count, dtype=torch.float64, device="cpu"), 0
    for images in batches:
        images = images.to(model.device, model.dtype)
        read = evaluate(model, images, layer=units.layer, call=units.call, look=False).activation
        assert read is not None
        total += units.places(read).mean(2).double().sum(0).cpu()
        many += len(images)
    return (total / many).to(model.device, torch.float32)


class Ablation:
    """A picture, and what a network answers without units of a layer.

    Args:
        model: the network.
        image: the picture ``(1, C, H, W)``, as the network sees it, on its device.
        units: those of the layer.
        put: what stands in their place; see :func:`as_put`.
        batch_size: copies at once; by default what suits the layer. It is halved when memory runs
            out.
        rest: the network from the layer on, if there is one already.

    Raises:
        InvalidParameterError: the layer gives out something else for this picture.
        ModelOutputError: logits that are NaN or infinite.
    """

    def __init__(
        self, model: Classifier, image: Tensor, units: Units, put: Put, *,
        batch_size: int | None = None, rest: Rest | None = None,
    ) -> None:  # fmt: skip
        self.model, self.units, self.put = model, units, put
        self.image = image
        self.rest = rest or Rest(model, units.layer, units.call)
        with suitable_threads(image):
            self.activation, logits = self.rest.see(image)
        """What the layer gives out ``(1, ...)``."""
        if tuple(self.activation.shape[1:]) != units.shape:
            raise InvalidParameterError(
                f"the layer {units.layer!r} gives out {tuple(self.activation.shape[1:])} for this "
                f"picture, and {units.shape} for others; expected pictures of one size"
            )
        self.logits = checked(model, logits)
        """Of the whole network ``(1, classes)``, in the widest type of the device."""
        numbers = self.activation[0].numel()
        self.batch_size = batch_size or max(1, min(_COPIES, _NUMBERS // numbers))
        self.passes = 0
        """Copies that went through the rest of the network so far."""

    def without(self, gone: Tensor, measure: Measure, on_share: Share | None = None) -> Tensor:
        """What ``measure`` makes of the logits ``(B, classes)`` of copies without some units.

        ``gone`` is ``(B, K)``, true at what each copy is without; the answers are joined.
        """
        gone = gone.to(self.activation.device)

        def copies(start: int, end: int) -> Tensor:
            return self.units.removed(self.activation, gone[start:end], self.put.value)

        return self._batched(len(gone), copies, measure, on_share)

    def without_each(
        self, measure: Measure, *, also: Tensor | None = None, among: Tensor | None = None,
        on_share: Share | None = None,
    ) -> Tensor:  # fmt: skip
        """The same without one unit at a time, and always without those that ``also`` names.

        ``also`` is ``(K,)``, bool; ``among`` holds the numbers of the units to try, by default all.
        """
        device, many = self.activation.device, self.units.count
        tried = torch.arange(many, device=device) if among is None else among.to(device)
        base, put = self.activation, self.put.value.to(self.activation)
        if also is not None:
            base = self.units.removed(base, also[None].to(device), put)

        def copies(start: int, end: int) -> Tensor:
            part = tried[start:end]
            found = base.expand(len(part), *base.shape[1:]).clone()
            own = found.movedim(self.units.axis, 1)
            own[torch.arange(len(part), device=device), part] = put[part].view(
                -1, *[1] * (own.dim() - 2)
            )
            return found

        return self._batched(len(tried), copies, measure, on_share)

    def _batched(
        self, many: int, copies: Callable[[int, int], Tensor], measure: Measure,
        on_share: Share | None,
    ) -> Tensor:  # fmt: skip
        found: list[Tensor] = []
        done = 0
        with torch.inference_mode(False), torch.no_grad(), self.rest.held():
            while done < many:
                end = min(done + self.batch_size, many)
                try:
                    logits = self.rest(copies(done, end), spare=True)
                    found.append(measure(checked(self.model, logits)))
                except Exception as problem:
                    self.batch_size = fewer_at_once(problem, end - done)
                    continue
                self.passes += end - done
                done = end
                if on_share is not None:
                    on_share(done / many)
        return torch.cat(found)


def checked(model: Classifier, logits: Tensor) -> Tensor:
    """Logits in the widest type of the device, if they are finite.

    Raises:
        ModelOutputError: they are not.
    """
    # One number tells of all, but for a sum that overflows.
    if not math.isfinite(logits.sum()) and not bool(logits.isfinite().all()):
        raise ModelOutputError(
            f"{model.name} returned NaN or infinite logits without some units; expected finite "
            "numbers: choose another layer, or what stands in a unit's place (put)"
        )
    return logits.to(wide(logits))


def class_numbers(model: Classifier, wanted: int) -> Measure:
    """Margin, logit and probability of a class, ``(B, 3)``: the columns are :data:`MEASURES`."""

    def measure(logits: Tensor) -> Tensor:
        classes = torch.full((len(logits),), wanted, dtype=torch.long, device=logits.device)
        with log_probabilities_given(model.log_probabilities):
            found = [each(logits, classes) for each in (MARGIN, LOGIT, PROBABILITY)]
        return torch.stack(found, 1)

    return measure


def pair_margin(pair: tuple[int, int]) -> Measure:
    """How far the first class of a pair leads over the second, ``(B, 1)``."""
    return lambda logits: (logits[:, pair[0]] - logits[:, pair[1]])[:, None]


def single_effects(
    ablation: Ablation, measure: Measure, on_share: Share | None = None, *,
    among: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """What each unit does to some numbers, ``(K, R)``, exact: every unit is removed; or those
    whose numbers ``among`` holds.
    """
    without = ablation.without_each(measure, among=among, on_share=on_share)
    return measure(ablation.logits) - without


def rivals_of(logits: Tensor, wanted: int) -> Tensor:
    """The strongest other class in each row of logits ``(B, classes)``, ``(B,)``."""
    others = logits.clone()
    others[:, wanted] = -torch.inf
    return others.argmax(1)
