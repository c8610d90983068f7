"""The same pictures with a little noise: whether a unit's label survives what nobody can see.

As in Srivastava, Oikarinen and Weng (ICCV 2023, 2310.16332), who found that noise with a standard
deviation of 0.02 changes up to 28 % of the labels of deep layers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fluoroscope.data.batches import Fit
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import above_zero
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.meaning.definitions import NOISE


@dataclass(frozen=True)
class _Noise:
    """Gaussian noise, of which each picture has its own; picklable, for processes that decode."""

    fit: Fit
    sigma: float
    seed: int

    def __call__(self, image: Tensor, index: int) -> Tensor:
        fitted = self.fit.fit(image)
        key = randomness.keys(self.seed, torch.tensor([index], device="cpu"))
        drawn = randomness.normal(key, 0, tuple(fitted.shape))[0]
        return (fitted + self.sigma * drawn).clamp(0, 1)


def with_noise(
    model: Classifier | nn.Module, images: ImageSet, sigma: float = NOISE, seed: int = 0
) -> ImageSet:
    """Pictures at the size that the network takes, with Gaussian noise on them.

    Args:
        model: the network that they are for.
        images: the pictures.
        sigma: the noise's standard deviation, of pixels from 0 to 1; what leaves that range is cut.
        seed: what a picture gets depends on it and on the picture's index alone.

    Raises:
        InvalidParameterError: a standard deviation that is not above 0.
    """
    noise = _Noise(
        as_classifier(model).preprocessing, above_zero("sigma", sigma), randomness.as_seed(seed)
    )
    return images.changed(noise, f"Gaussian noise, σ = {noise.sigma:g}, seed {noise.seed}")
