"""An attack within a bound of its own for each image.

Images that share a bound are attacked together, as one call with that bound alone would: what is
random depends on a sample's number, so no result depends on who came with it.
"""

import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from fluoroscope.engine.classes import Classes, as_classes
from fluoroscope.engine.mask import Mask, as_mask
from fluoroscope.engine.stream import Budget, Step
from fluoroscope.engine.threats import Threat, bounds_of
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count


class Recorded(Protocol):
    """A result: a dataclass of tensors, samples first, and what is to be said of them."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def record(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=Recorded)
R_co = TypeVar("R_co", bound=Recorded, covariant=True)


class Bounded(Protocol[R_co]):
    """An attack with a threat model; see :class:`.Method`."""

    @property
    def threat(self) -> Threat: ...

    @property
    def stated(self) -> dict[str, Any]: ...

    def within(self, threat: Threat) -> Callable[..., R_co]: ...


def within_each(
    method: Bounded[R],
    model: Classifier,
    images: Tensor,
    classes: Classes,
    *,
    budget: Budget | None = None,
    numbers: Tensor | None = None,
    mask: Mask | None = None,
    on_step: Callable[[Step], None] | None = None,
    **options: Any,
) -> R:
    """Attack images ``(N, C, H, W)``, each within its own of the threat model's ``N`` bounds.

    The arguments are those of :meth:`.Method.__call__`.

    Raises:
        InvalidParameterError: another number of bounds than of images.
    """
    batch = check_images(images, model.channels)
    bounds = bounds_of(method.threat) or ()
    if len(bounds) != len(batch):
        raise InvalidParameterError(
            f"eps has {count(len(bounds), 'bound')} for {count(len(batch), 'image')}; expected one "
            "each"
        )
    wanted = as_classes(model, classes, batch)
    numbers = torch.arange(len(batch), device="cpu") if numbers is None else numbers
    free = None if mask is None else as_mask(mask, batch)
    end = None if budget is None or budget.seconds is None else time.monotonic() + budget.seconds
    made: list[R] = []
    order: list[Tensor] = []
    for bound in dict.fromkeys(bounds):
        found = [row for row, each in enumerate(bounds) if each == bound]
        rows = torch.tensor(found, device="cpu")
        if budget is not None and end is not None:
            budget = replace(budget, seconds=max(end - time.monotonic(), 1e-6))
        seen = None if on_step is None else _among(rows, on_step)
        alone = method.within(type(method.threat)(bound))  # type: ignore[call-arg]
        made.append(
            alone(
                model, batch[rows], wanted[rows.to(wanted.device)], budget=budget,
                numbers=numbers[rows], mask=None if free is None else free[rows], on_step=seen,
                **options,
            )
        )  # fmt: skip
        order.append(rows)
    back = torch.cat(order).argsort()
    notes = tuple(dict.fromkeys(note for result in made for note in result.notes))
    joined: dict[str, Any] = {
        field.name: torch.cat([getattr(result, field.name) for result in made])[back]
        for field in fields(made[0])
        if isinstance(getattr(made[0], field.name), Tensor)
    }
    stated = {**method.stated, "notes": [*notes]}
    return replace(made[0], **joined, notes=notes, record=made[0].record | stated)


def _among(rows: Tensor, on_step: Callable[[Step], None]) -> Callable[[Step], None]:
    """For those who watch, steps that name the images of the whole batch."""

    def told(step: Step) -> None:
        on_step(replace(step, indices=rows.to(step.indices.device)[step.indices]))

    return told
