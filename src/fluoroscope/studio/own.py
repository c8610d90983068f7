"""A network for a job alone: what hooks one would else be seen, and be met, by those beside it."""

import copy
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from torch import Tensor

from fluoroscope.errors import ModelFormatError
from fluoroscope.models.classifier import Classifier, copied

if TYPE_CHECKING:
    from collections.abc import Iterable

_origins: "WeakKeyDictionary[Classifier, Classifier]" = WeakKeyDictionary()


def own(model: Classifier, *, weights: bool = False) -> Classifier:
    """The same network in modules of its own, so that hooks on them are those of one job.

    Its tensors are the very same, and take no memory; with ``weights`` they are its own too, for
    whoever looks whether they stay as they are. A network that cannot be copied is itself.
    """
    try:
        if weights or type(model) is not Classifier:
            twin = model.to()
        else:
            module = model.module
            tensors: Iterable[Tensor] = (*module.parameters(), *module.buffers())
            twin = copy.copy(model)
            twin.module = copied(model, {id(each): each for each in tensors})
    except ModelFormatError:
        return model
    twin._found = model._found  # what is found of one is found of the other
    _origins[twin] = origin(model)
    return twin


def origin(model: Classifier) -> Classifier:
    """The network on offer that this is; of one that nobody copied itself."""
    return _origins.get(model, model)
