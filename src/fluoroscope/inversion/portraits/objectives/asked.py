"""Which portraits are asked for: of classes, or of a goal that speaks of none."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fluoroscope.engine.classes import class_values
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.objectives.goal import Goal
from fluoroscope.models.classifier import Classifier

NO_CLASS = -1
"""The class of a portrait of none."""


def classes_asked(
    model: Classifier,
    classes: int | str | Sequence[int | str] | None,
    goal: Goal,
    count: int,
) -> Tensor:
    """The class of each portrait, ``(N,)`` on the CPU; :data:`NO_CLASS` of ``count`` of none.

    Raises:
        UnknownLabelError: a class that the network does not have.
        InvalidParameterError: no class for a goal that speaks of one.
    """
    if classes is None:
        if goal.of_class:
            raise InvalidParameterError(
                f"classes is None, and the goal, {goal}, speaks of a portrait's class; expected "
                "classes, or a goal that speaks of none, such as channel('NAME OF A LAYER', 0)"
            )
        return torch.full((count,), NO_CLASS, dtype=torch.long, device="cpu")
    asked = [classes] if isinstance(classes, int | str) else list(classes)
    if not asked:
        raise InvalidParameterError("classes is empty; expected one class or more")
    return class_values(asked, len(asked), model.labels, model.name)
