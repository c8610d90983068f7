"""Where a network's features are read: what its last layers of weights are given.

The features of the papers are the penultimate layer's, so what the layer that makes the logits is
given. It is found in a trace of one pass; a network that makes its logits outside of any layer
that Python sees has none, and its layers are listed.
"""

import torch
from torch import Tensor, nn

from fluoroscope.engine.inside import Place
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.tracing import uses_and_logits, weighted
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import find_layer
from fluoroscope.words import some

_LISTED = 12


def feature_places(
    model: Classifier,
    images: Tensor,
    layer: str | tuple[str, ...] | None = None,
    *,
    many: int = 1,
) -> tuple[Place, ...]:
    """What the last layers of weights are given, the very last first; or what named ones give out.

    Args:
        model: the network.
        images: ``(N, C, H, W)`` of the size to trace it with.
        layer: one by name, or several, in place of those.
        many: how many of the last layers.

    Raises:
        InvalidParameterError: no such layer, or none that can be found.
    """
    if layer is not None:
        names = (layer,) if isinstance(layer, str) else tuple(layer)
        for name in names:
            find_layer(model, name)
        return tuple(Place(name) for name in names)
    uses, _ = uses_and_logits(model, (images.shape[2], images.shape[3]))
    heavy, classes = weighted(uses), model.num_classes
    # Of a convolution that makes the logits, one channel for each class.
    if not heavy or heavy[-1].output.dim() < 2 or heavy[-1].output.shape[1] != classes:
        found = list(
            dict.fromkeys(use.name for use in reversed(uses) if use.output.dim() in (2, 4))
        )
        raise InvalidParameterError(
            f"no feature layer of {model.name} was found, for its logits come from no layer of "
            f"weights that can be seen; expected layer='NAME', one of {some(found, _LISTED)}"
            if found
            else f"no feature layer of {model.name} was found, for none of its layers can be seen "
            "from Python; expected cosine=0, orthogonality=0 and gradient_penalty=0, which need "
            "none"
        )
    seen = dict.fromkeys(Place(use.name, given=True) for use in reversed(heavy))
    return tuple(seen)[:many]


def last_linear(model: Classifier, images: Tensor) -> Place:
    """What the linear layer is given that makes the logits, with nothing behind it.

    Raises:
        InvalidParameterError: there is none.
    """
    uses, logits = uses_and_logits(model, (images.shape[2], images.shape[3]))
    last = uses[-1] if uses else None
    if last is None or not isinstance(last.layer, nn.Linear) or not _is(last.output, logits):
        raise InvalidParameterError(
            f"gradient_penalty was given, and {model.name} does not end in a linear layer that "
            "makes its logits; expected gradient_penalty=0"
        )
    return Place(last.name, given=True)


def _is(output: Tensor, logits: Tensor) -> bool:
    return output.shape == logits.shape and torch.equal(output.to(logits.dtype), logits)


def as_rows(outputs: Tensor) -> Tensor:
    """Features ``(N, D)`` of what was read at a place ``(N, ...)``."""
    return outputs.flatten(1)
