"""A network as it is learnt: behind its preprocessing, and with its layers within reach.

`fit_stream` trains a module that takes images in ``[0, 1]`` and gives out logits. A network that
wants other inputs, or answers otherwise, is trained behind a thin module that does both; layers
keep the names that they have in the network itself.
"""

import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import traced
from fluoroscope.models.names import BUILTIN
from fluoroscope.models.outputs import logits_of

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Preprocessed(nn.Module):
    """From images ``(N, C, H, W)`` in ``[0, 1]`` and of the network's size to logits
    ``(N, classes)``, as the classifier makes them; in any mode, with gradients for the weights.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.network = model.module
        self._model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits; the network's own errors are raised as they are."""
        seen = self._model.preprocessing
        output = self.network(seen.normalize(images))
        return logits_of(output, self._model.outputs, len(images), self._model.name)


def as_learner(model: Classifier) -> nn.Module:
    """What `fit_stream` trains of a network: its module, behind the preprocessing.

    A built-in one has none, and answers with a tensor of logits; it is trained as it is.
    """
    seen = model.preprocessing
    plain = seen.mean is None and seen.std is None and seen.channel_order == "rgb"
    if plain and model.name in BUILTIN and model.outputs == "logits":
        return model.module
    return Preprocessed(model)


def network_of(module: nn.Module, channels: int) -> Classifier:
    """The network that is learnt, for what finds its layers by name.

    Of a bare module that is itself, which wants images of so many channels in ``[0, 1]``.
    """
    if isinstance(module, Preprocessed):
        return module._model
    return Classifier(module, channels=channels)


def check_convolution(module: nn.Module) -> None:
    """Refuse a network that has no convolution, before anything else is done for it.

    Raises:
        InvalidParameterError: it has none.
    """
    if not any(isinstance(part, _CONVOLUTIONS) for part in module.modules()):
        raise _no_convolution(network_of(module, 3))


def last_convolution(module: nn.Module, images: Tensor) -> str:
    """The name of the convolution that ends last in a pass of the first of the images.

    Raises:
        InvalidParameterError: the network has none.
    """
    model = network_of(module, images.shape[1])
    with torch.inference_mode(False), torch.no_grad(), traced(model) as uses:
        model(images[:1].to(model.dtype))
    names = [use.name for use in uses if isinstance(use.layer, _CONVOLUTIONS)]
    if not names:
        raise _no_convolution(model)
    return names[-1]


def _no_convolution(model: Classifier) -> InvalidParameterError:
    return InvalidParameterError(
        f"layer is missing, and {model.name} has no convolution; expected the name of a layer"
    )
