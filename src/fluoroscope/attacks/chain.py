"""Attacks one after the other, ``a | b``: the second attacks what the first left.

Cheap attacks first, strong ones on the few that hold: a picture costs no more than it takes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from fluoroscope.attacks.attack import AttackResult, Method, as_plain
from fluoroscope.attacks.each import within_each
from fluoroscope.engine.classes import Classes
from fluoroscope.engine.mask import Mask, as_mask
from fluoroscope.engine.stream import Budget
from fluoroscope.engine.threats import Threat, bounds_of
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier


@dataclass(frozen=True, kw_only=True)
class Chain(Method):
    """Several attacks under one threat model; each gets the samples that no earlier one fooled.

    Raises:
        InvalidParameterError: threat models that differ.
    """

    attacks: tuple[Method, ...]
    threat: Threat = field(init=False)

    paper: ClassVar[str] = "a combination"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0", "none")

    def __post_init__(self) -> None:
        first, *others = self.attacks
        for other in others:
            if other.threat != first.threat:
                raise InvalidParameterError(
                    f"{type(first).__name__} has the threat model {first.threat} and "
                    f"{type(other).__name__} has {other.threat}; expected one for all: a success "
                    "of the one would be none of the other"
                )
        object.__setattr__(self, "threat", first.threat)

    @property
    def _links(self) -> tuple[Method, ...]:
        return self.attacks

    def __call__(
        self,
        model: Classifier | nn.Module,
        images: Tensor,
        classes: Classes,
        *,
        budget: Budget | None = None,
        numbers: Tensor | None = None,
        mask: Mask | None = None,
        cancelled: Callable[[], bool] | None = None,
        **options: Any,
    ) -> AttackResult:
        """Attack images; see :meth:`Method.__call__`.

        Passes are added up. The seconds of a budget are shared, its passes are for each attack.
        """
        model = as_classifier(model)
        if bounds_of(self.threat) is not None:
            return within_each(
                self, as_classifier(model), images, classes,
                budget=budget, numbers=numbers, mask=mask, cancelled=cancelled, **options,
            )  # fmt: skip
        end = (
            None if budget is None or budget.seconds is None else time.monotonic() + budget.seconds
        )
        options |= {"cancelled": cancelled}
        first, *others = self.attacks
        result = first(model, images, classes, numbers=numbers, budget=budget, mask=mask, **options)
        free = None if mask is None else as_mask(mask, result.originals)
        for attack in others:
            left = (~result.success).nonzero().squeeze(1)
            late = end is not None and time.monotonic() >= end
            if not len(left) or late or (cancelled is not None and cancelled()):
                break
            if budget is not None and end is not None:
                budget = replace(budget, seconds=end - time.monotonic())
            found = attack(
                model,
                result.originals[left],
                result.classes[left],
                numbers=result.numbers[left],
                budget=budget,
                mask=None if free is None else free[left],
                **options,
            )
            result = _joined(result, found, left)
        return replace(result, record=result.record | self.stated | {"notes": [*result.notes]})

    def within(self, threat: Threat) -> "Chain":
        """The same attacks under another threat model."""
        return Chain(attacks=tuple(attack.within(threat) for attack in self.attacks))

    @property
    def stated(self) -> dict[str, Any]:
        """Their names and parameters as plain values, for records."""
        named = " | ".join(type(attack).__name__ for attack in self.attacks)
        return {"attack": named, "parameters": as_plain(self.attacks)}


def _joined(before: AttackResult, after: AttackResult, rows: Tensor) -> AttackResult:
    """The results of all, with what came after for those rows."""
    taken = {
        name: getattr(before, name).index_copy(0, rows, getattr(after, name))
        for name in ("images", "logits", "success", "finished", "distance")
    }
    spent = {
        name: getattr(before, name).index_add(0, rows, getattr(after, name))
        for name in ("forwards", "backwards")
    }
    notes = tuple(dict.fromkeys((*before.notes, *after.notes)))
    return replace(before, **taken, **spent, notes=notes)
