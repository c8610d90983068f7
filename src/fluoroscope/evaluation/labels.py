"""Labels of a data set as the classes of a network: by name where both have names."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fluoroscope.errors import UnknownLabelError
from fluoroscope.models.classifier import Classifier


def class_numbers(model: Classifier, names: Sequence[str] | None) -> Tensor | None:
    """For each class of the data ``(K,)`` the network's number for it; ``None`` if they agree.

    Raises:
        UnknownLabelError: fewer or other classes, and names that do not tell which is which.
    """
    if names is None or [_plain(name) for name in names] == [_plain(n) for n in model.labels]:
        return None
    known: dict[str, list[int]] = {}
    for number, label in enumerate(model.labels):
        for name in {_plain(name) for name in (label, *label.split(","))}:
            known.setdefault(name, []).append(number)
    found = [known.get(_plain(name), []) for name in names]
    if all(len(numbers) == 1 for numbers in found) and len(names) == len({n[0] for n in found}):
        return torch.tensor(found).squeeze(1)
    if len(names) == model.num_classes:
        return None  # Other words for as many classes: they go by their numbers.
    lost = next(name for name, numbers in zip(names, found, strict=True) if len(numbers) != 1)
    raise UnknownLabelError(
        f"the data has {len(names)} classes and {model.name} has {model.num_classes}, and their "
        f"names do not match: {lost!r} is not one of the network's. Name the network's classes in "
        "the data's words (labels), or choose data of its classes"
    )


def checked(model: Classifier, labels: Tensor) -> Tensor:
    """The labels ``(N,)``, if the network has such classes.

    Raises:
        UnknownLabelError: a number it does not have.
    """
    outside = labels[(labels < 0) | (labels >= model.num_classes)]
    if len(outside):
        raise UnknownLabelError(
            f"the data has the label {int(outside[0])}, and {model.name} has {model.num_classes} "
            f"classes; expected 0 to {model.num_classes - 1}: choose data of the network's classes"
        )
    return labels


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
