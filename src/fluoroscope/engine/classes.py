"""Classes given by a user, as the index tensor that objectives want."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.errors import UnknownLabelError
from fluoroscope.models.classifier import Classifier

Classes = int | str | Sequence[int | str] | Tensor
"""One class for all samples or one for each: labels, unique prefixes or indices."""


def as_classes(model: Classifier, classes: Classes, images: Tensor) -> Tensor:
    """The class of each of the images ``(N, C, H, W)``, ``(N,)`` int64 on the network's device.

    Raises:
        UnknownLabelError: a class the network does not have, or another number of them.
    """
    count = len(images)
    if not model.knows_classes:
        evaluate(model, images[:1].to(model.device, model.dtype))
    if isinstance(classes, int | str):
        return torch.full((count,), model.find_class(classes), device=model.device)
    if isinstance(classes, Tensor):
        if classes.is_floating_point() or classes.dim() > 1:
            raise UnknownLabelError(
                f"classes are {classes.dtype} of shape {tuple(classes.shape)}; "
                f"expected {count} integer(s)"
            )
        given: list[int | str] = classes.reshape(-1).tolist()
        if classes.dim() == 0:
            given = given * count
    else:
        given = list(classes)
    if len(given) != count:
        raise UnknownLabelError(f"{len(given)} class(es) for {count} image(s); expected one each")
    found = [model.find_class(c if isinstance(c, str) else int(c)) for c in given]
    return torch.tensor(found, device=model.device)
