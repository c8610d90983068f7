"""Classes given by a user, as the index tensor that objectives want."""

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.errors import UnknownLabelError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.labels import find_class
from fluoroscope.models.matching import match
from fluoroscope.words import count as counted

Given = Tensor | NDArray[Any] | Sequence[int | str]
"""One class for each sample: indices, names or booleans, or a row of zeros and a single one."""
Classes = int | str | Given
"""One class for all samples, or one for each: labels, unique prefixes or indices."""


def as_classes(model: Classifier, classes: Classes, images: Tensor) -> Tensor:
    """The class of each of the images ``(N, C, H, W)``, ``(N,)`` int64 on the network's device.

    Raises:
        UnknownLabelError: a class the network does not have, or another number of them.
    """
    found = class_values(classes, len(images), names_of(model, images), model.name)
    return found.to(model.device)


def names_of(model: Classifier, images: Tensor) -> tuple[str, ...]:
    """The names of the network's classes, which it is asked for at the first of the images."""
    if not model.knows_classes:
        evaluate(model, images[:1].to(model.device, model.dtype), look=False)
    return model.labels


def class_values(
    classes: object,
    count: int,
    labels: Sequence[str],
    name: str = "the network",
    *,
    whole: bool = False,
) -> Tensor:
    """What is given for ``count`` samples as indices ``(N,)`` of these labels, int64 on the CPU.

    Whole numbers, names, NumPy's numbers and strings, booleans where there are two classes, and
    one-hot rows ``(N, classes)``; as a tensor, array or sequence, or one for all.

    Args:
        classes: what is given.
        count: for how many samples.
        labels: of the network's classes.
        name: of the network, in messages.
        whole: take names for a class only as those of data are, not by their beginning.

    Raises:
        UnknownLabelError: another number of them, other kinds, or classes that there are not.
    """
    given = _values(classes, len(labels))
    if not isinstance(given, list):
        given = [given] * count
    if len(given) != count:
        raise UnknownLabelError(
            f"{counted(len(given), 'class', 'classes')} for {counted(count, 'image')}; expected "
            "one each"
        )
    kinds = {_kind(value) for value in given}
    if len(kinds) > 1:
        raise UnknownLabelError(
            f"classes are {' and '.join(sorted(kinds))} mixed; expected one kind: all indices or "
            "all names"
        )
    if kinds == {"booleans"} and len(labels) != 2:
        raise UnknownLabelError(
            f"classes are booleans, which tell two apart, and {name} has {len(labels)}; expected "
            f"indices from 0 to {len(labels) - 1} or names"
        )
    # Many samples share few classes.
    distinct = list(dict.fromkeys(given))
    if whole and kinds == {"names"}:
        found = match(distinct, labels, of="the labels", network=name, ordered=False)
        if found.refusal is not None:
            raise UnknownLabelError(f"{found.refusal}; expected names of the network's classes")
        known = dict(zip(distinct, found.numbers, strict=True))
    elif whole:
        known = {value: within(int(value), len(labels), name) for value in distinct}
    else:
        known = {value: find_class(value, labels) for value in distinct}
    return torch.tensor([known[value] for value in given], dtype=torch.int64, device="cpu")


def within(label: int, count: int, name: str) -> int:
    """The label of data, if a network of this name and so many classes has it.

    Raises:
        UnknownLabelError: it does not.
    """
    if not 0 <= label < count:
        raise UnknownLabelError(
            f"the data has the label {label}, and {name} has {count} classes; expected 0 to "
            f"{count - 1}: choose data of the network's classes"
        )
    return label


def _kind(value: int | str) -> str:
    return {str: "names", bool: "booleans"}.get(type(value), "indices")


def _values(classes: Any, count: int) -> list[Any] | int | str:
    """Python's own whole numbers, booleans and strings: one, or a list of them."""
    if isinstance(classes, Tensor):
        classes = classes.detach().cpu()
        shape, kind = tuple(classes.shape), str(classes.dtype)
    elif isinstance(classes, str | bytes | dict | set) or not hasattr(classes, "__iter__"):
        return _one(classes)
    else:
        found = classes if isinstance(classes, np.ndarray) else list(classes)
        try:
            array = np.asarray(found)
        except (ValueError, TypeError):  # rows of unequal length
            array = np.asarray([None])
        shape, kind = array.shape, str(array.dtype)
        if not (len(shape) == 2 and array.dtype.kind in "biuf"):
            if len(shape) != 1 and shape != ():
                raise _unusable(kind, shape)
            # One by one: an array of a mixture would make strings of the numbers.
            each = found.tolist() if isinstance(found, np.ndarray) else found
            return [_one(value) for value in each] if isinstance(each, list) else _one(each)
        classes = torch.from_numpy(array.copy())
    if len(shape) == 2 and shape[1] == count and _one_hot(classes):
        return list(classes.to(torch.float64).argmax(1).tolist())
    if len(shape) > 1 or classes.is_complex() or classes.is_floating_point():
        raise _unusable(kind, shape)
    values: list[Any] | int = classes.tolist()
    return values


def _one(value: Any) -> int | str:
    if isinstance(value, Tensor):
        if value.dim():
            raise _unusable(str(value.dtype), tuple(value.shape))
        value = value.item()
    if isinstance(value, str | bool | np.bool_):
        return str(value) if isinstance(value, str) else bool(value)
    try:
        return index(value)
    except TypeError:
        shown = repr(value) if isinstance(value, float) else f"a {type(value).__name__}"
        raise UnknownLabelError(
            f"a class is {shown}; expected a whole number, a name or a boolean"
        ) from None


def _one_hot(rows: Tensor) -> bool:
    """Whether each row ``(N, K)`` holds zeros and a single one."""
    ones, zeros = rows == 1, rows == 0
    return bool((ones | zeros).all()) and bool((ones.sum(1) == 1).all())


def _unusable(kind: str, shape: tuple[int, ...]) -> UnknownLabelError:
    return UnknownLabelError(
        f"classes are {kind} of shape {shape}; expected whole numbers or names (N,), one for each "
        "image, or one-hot rows (N, classes)"
    )
