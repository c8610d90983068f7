"""Cheap stand-ins for the exact effects of units, and how well they agree with them.

* ``activation``: a unit's largest change, whatever follows: what favourite pictures go by.
* ``activation-x-gradient``: ``sum_p (a_p - put) dm/da_p``, the effect to first order.
* ``relevance``: activation × the modified gradient of layer-wise relevance propagation; the shares
  of all units add up to the margin.
* ``conductance`` (Dhamdhere, Sundararajan, Yan 2018, 1805.12233): how much of the margin's change
  from a baseline to the picture flows through a unit, ``sum_p ∫ dm/da_p (da_p/dα) dα``; as
  Shrikumar, Su, Kundaje (2018, 1807.09946) compute it, from the layer's changes along the path.

``m`` is the margin of the class, and ``p`` goes over a unit's places.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.attribution.baselines import Given, as_baseline
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.memory import fewer_at_once
from fluoroscope.engine.objectives import MARGIN
from fluoroscope.engine.stream import Samples
from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.neurons.answers.relevance import LRP_WAY, LayerReader
from fluoroscope.neurons.tracing.ablation import Ablation, rivals_of

APPROXIMATIONS = ("activation", "activation-x-gradient", "relevance", "conductance")
"""By name, the cheapest first."""
STEPS = 32
"""Of the path from the baseline to the picture."""
TOP = 10
"""So many of the strongest units are compared, but not more than a quarter of all."""
# What relevance or conductance may miss of what they promise before it is said.
_MISSED = 0.05


@dataclass(frozen=True)
class Approximated:
    """What was found, and what a reader of it should know."""

    values: dict[str, Tensor]
    """``(K,)`` float64 by name."""
    notes: list[str]


def approximate(
    ablation: Ablation, wanted: int, names: tuple[str, ...] = APPROXIMATIONS, *,
    steps: int = STEPS, baseline: Given = "black",
) -> Approximated:  # fmt: skip
    """Approximations of what units do to the margin of a class, by name.

    Args:
        ablation: the picture.
        wanted: the class.
        names: of :data:`APPROXIMATIONS`.
        steps: of the path of ``conductance``.
        baseline: where that path begins; see :mod:`.attribution.baselines`.

    Raises:
        InvalidParameterError: no such approximation, or no step.
    """
    unknown = [name for name in names if name not in APPROXIMATIONS]
    if unknown:
        raise InvalidParameterError(
            f"approximations hold {unknown[0]!r}; expected of {', '.join(APPROXIMATIONS)}"
        )
    if steps < 1:
        raise InvalidParameterError(f"steps is {steps}; expected 1 or more")
    made = _Approximating(ablation, wanted, steps, baseline)
    found: dict[str, Tensor] = {}
    for name in names:
        try:
            found[name] = getattr(made, name.replace("-", "_"))()
        except FluoroscopeError as problem:  # rules do not reach, or no gradient gets there
            made.notes.append(f"{name} is left out: {problem}")
    return Approximated(found, made.notes)


class _Approximating:
    def __init__(self, ablation: Ablation, wanted: int, steps: int, baseline: Given) -> None:
        self.ablation, self.steps, self.baseline = ablation, steps, baseline
        self.classes = torch.tensor([wanted], dtype=torch.long, device=ablation.image.device)
        self.notes: list[str] = []

    def activation(self) -> Tensor:
        places = self._change()
        return places.abs().amax(2)[0].double()

    def activation_x_gradient(self) -> Tensor:
        slope = self._answer(self.ablation.model, self.ablation.image).activation_gradient
        assert slope is not None
        return (self._change() * self._places(slope)).sum(2)[0]

    def relevance(self) -> Tensor:
        image, units = self.ablation.image, self.ablation.units
        reader = LayerReader(self.ablation.model, image, units.layer, call=units.call, way=LRP_WAY)
        self.notes += reader.notes
        rivals = rivals_of(self.ablation.logits, int(self.classes))
        found = reader.read(image, torch.stack([self.classes, rivals], 1))
        self._missed("relevance", float(found.values.sum()), float(found.total), "the margin")
        return found.values[0].double()

    def conductance(self) -> Tensor:
        image, model = self.ablation.image, self.ablation.model
        zero = torch.zeros(1, dtype=torch.long, device=image.device)
        given = as_baseline(self.baseline)
        given.check(image)
        start = given.of(Samples(image, zero, zero, zero, randomness.keys(0, zero), zero))
        shares = torch.linspace(0, 1, self.steps + 1, dtype=image.dtype, device=image.device)
        path = start + shares[:, None, None, None] * (image - start)
        total = torch.zeros(self.ablation.units.count, dtype=torch.float64, device=image.device)
        last: tuple[Tensor, Tensor] | None = None
        values: list[float] = []
        for answer in self._along(model, path):
            assert answer.activation is not None
            assert answer.activation_gradient is not None
            assert answer.objective is not None
            values += answer.objective.tolist()
            read, slope = (
                self._places(each) for each in (answer.activation, answer.activation_gradient)
            )
            if last is not None:
                read, slope = torch.cat([last[0], read]), torch.cat([last[1], slope])
            total += ((slope[1:] + slope[:-1]) / 2 * (read[1:] - read[:-1])).sum((0, 2))
            last = read[-1:], slope[-1:]
        self._missed(
            "conductance", float(total.sum()), values[-1] - values[0],
            "the margin's change from the baseline",
        )  # fmt: skip
        return total

    def _along(self, model: Classifier, path: Tensor) -> "list[Answer]":
        found, done, size = [], 0, min(len(path), self.ablation.batch_size)
        while done < len(path):
            part = path[done : done + size]
            try:
                found.append(self._answer(model, part))
            except Exception as problem:
                size = fewer_at_once(problem, len(part))
                continue
            done += len(part)
        return found

    def _answer(self, model: Classifier, images: Tensor) -> Answer:
        """At the layer; the use is always named, so that the graph begins at the pixels, as rules
        for the layer that meets the picture are only for that."""
        units, rest = self.ablation.units, self.ablation.rest
        call = rest.calls - 1 if units.call is None else units.call
        return evaluate(
            model, images, self.classes.expand(len(images)), MARGIN, gradient=True,
            layer=units.layer, call=call, look=False,
        )  # fmt: skip

    def _places(self, output: Tensor) -> Tensor:
        return self.ablation.units.places(output).double()

    def _change(self) -> Tensor:
        """What a unit loses at each of its places when it is removed, ``(1, K, P)``."""
        put = self.ablation.put.value.double()
        return self._places(self.ablation.activation) - put[None, :, None]

    def _missed(self, name: str, found: float, wanted: float, what: str) -> None:
        off = abs(found - wanted) / max(abs(wanted), 1e-12)
        if off > _MISSED:
            self.notes.append(
                f"{name}: the units' shares add up to {found:.3g}, and {what} is {wanted:.3g}; the "
                "rest goes past this layer, or is lost on the way"
            )


def rank_correlation(one: Tensor, other: Tensor) -> float | None:
    """Spearman's rank correlation of two ``(K,)``; ``None`` where one of them is constant."""
    first, second = (each - each.mean() for each in map(_ranks, (one, other)))
    size = float(first.norm() * second.norm())
    return float(first @ second) / size if size > 0 else None


def _ranks(values: Tensor) -> Tensor:
    """Ranks ``(K,)`` from 1, the mean of theirs for equal values."""
    _, which, many = values.unique(return_inverse=True, return_counts=True)
    last = many.cumsum(0).double()
    found: Tensor = (last - (many - 1) / 2)[which]
    return found


def top_of(units: int) -> int:
    """How many of a layer's strongest units are compared: at random a quarter agree at the most."""
    return max(1, min(TOP, units // 4))


def top_agreement(one: Tensor, other: Tensor, top: int = TOP) -> float:
    """The share of the ``top`` highest of one ``(K,)`` that are among the highest of another."""
    many = min(top, len(one))
    highest = [set(each.argsort(descending=True, stable=True)[:many].tolist())
               for each in (one, other)]  # fmt: skip
    return len(highest[0] & highest[1]) / many
