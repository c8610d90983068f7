"""An invertible network behind its preprocessing: from pictures to latents and back."""

from dataclasses import replace

import torch
from torch import Tensor

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.invertible.network import ROUNDS, Inverse, InvertibleNetwork


def invertible_in(model: Classifier, wanted_by: str) -> InvertibleNetwork:
    """The invertible network that a classifier's answers are those of.

    Raises:
        InvalidParameterError: it is another, or its answers are made of more than that.
    """
    network = model.module
    if not isinstance(network, InvertibleNetwork):
        raise InvalidParameterError(
            f"{wanted_by} needs a network's inverse, and {model.name} is a "
            f"{type(network).__name__}, which has none; expected an invertible network, such as "
            "`fluoroscope train invertible` makes"
        )
    if type(model) is not Classifier or model.outputs != "logits":
        raise InvalidParameterError(
            f"{wanted_by} needs a network's inverse, and {model.name} answers with more than its "
            "network; expected the invertible network itself"
        )
    return network


def latents_of(model: Classifier, images: Tensor) -> Tensor:
    """The latents ``(N, D)`` of images ``(N, C, H, W)`` in ``[0, 1]``, without a graph.

    Raises:
        InvalidImagesError: images of another size than the network's.
        InvalidParameterError: a network without an inverse.
    """
    network = invertible_in(model, "a latent")
    with torch.inference_mode(False), torch.no_grad(), model.held():
        return network.encode(model.preprocessing.normalize(images.clone()))


def pictures_of(model: Classifier, latents: Tensor, rounds: int = ROUNDS) -> Inverse:
    """The pictures of latents ``(N, D)``, on the scale of pixels; they may lie outside ``[0, 1]``.

    Raises:
        InvalidParameterError: a network without an inverse, or latents that are none of its.
    """
    found = invertible_in(model, "a picture of a latent").decode(latents, rounds)
    return replace(found, images=model.preprocessing.denormalize(found.images))


def bounds_of(model: Classifier) -> tuple[float, float]:
    """Between what factors ``||z - z'|| / ||x - x'||`` lies, of any two pictures ``x`` in ``[0,
    1]``: the network's own, and what the scale of the pixels adds.
    """
    low, high = invertible_in(model, "a bound of distances in the latent").lipschitz_bounds()
    scales = model.preprocessing.std or (1.0,)
    return low / max(scales), high / min(scales)
