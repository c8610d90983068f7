"""What a map speaks of: a class for each picture, or one class rather than another.

"Why vulture and not ostrich" is the pair ``(vulture, ostrich)``: the difference of the two numbers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fluoroscope.engine.classes import Classes, as_classes, names_of
from fluoroscope.engine.objectives import Objective, as_objective
from fluoroscope.errors import UnknownLabelError
from fluoroscope.models.classifier import Classifier

Pair = tuple[int | str, int | str]
"""A class and its rival."""
Targets = Classes | Pair | Sequence[Pair]
"""A class for all pictures or one for each; a pair for all, or one for each."""


def as_targets(model: Classifier, classes: Targets, images: Tensor) -> Tensor:
    """The class of each of the images, ``(N,)``, or its pair, ``(N, 2)``; int64, on the device.

    A tuple of two is a pair for all pictures; a list, or a tensor ``(N,)``, holds one class for
    each; a sequence of tuples, or a tensor ``(N, 2)``, one pair for each.

    Raises:
        UnknownLabelError: a class the network does not have, twice the same in a pair, or another
            number of them than of images.
    """
    pairs: list[Any] | None = None
    if isinstance(classes, tuple) and len(classes) == 2 and not isinstance(classes[0], tuple):
        pairs = [classes] * len(images)
    elif isinstance(classes, Tensor) and classes.dim() == 2 and classes.shape[1] == 2:
        if len(names_of(model, images)) == 2:
            raise UnknownLabelError(
                f"classes are a tensor {tuple(classes.shape)}, and {model.name} has two classes: "
                "its rows may be one-hot or pairs; expected indices (N,), or a list of tuples "
                "(class, rival)"
            )
        pairs = classes.tolist()
    elif isinstance(classes, list | tuple) and classes and isinstance(classes[0], tuple):
        pairs = list(classes)
    if pairs is None:
        return as_classes(model, classes, images)  # type: ignore[arg-type]
    if any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs):
        raise UnknownLabelError(
            "classes hold something other than pairs; expected (class, rival) for each picture"
        )
    found = torch.stack(
        [as_classes(model, [pair[side] for pair in pairs], images) for side in (0, 1)], 1
    )
    if bool((found[:, 0] == found[:, 1]).any()):
        raise UnknownLabelError(
            "classes hold a pair of the same class twice; expected two different ones, whose "
            "difference is to be explained"
        )
    return found


def unmistakable(targets: Tensor) -> Targets:
    """Targets ``(N,)`` or ``(N, 2)`` in a form that :func:`as_targets` takes on any network."""
    return [(one, rival) for one, rival in targets.tolist()] if targets.dim() == 2 else targets


def objective_of(targets: Tensor, objective: str | Objective = "logit") -> Objective:
    """The number that a map explains, for targets ``(N,)``, or their difference for ``(N, 2)``."""
    goal = as_objective(objective)
    if targets.dim() == 1:
        return goal
    return Objective(
        f"{goal} over the rival's",
        lambda logits, pair: goal(logits, pair[:, 0]) - goal(logits, pair[:, 1]),
    )


def target_name(model: Classifier, target: Tensor) -> str:
    """One target in words: a label, or "this rather than that"."""
    names = [model.labels[number] for number in target.reshape(-1).tolist()]
    return " rather than ".join(names)
