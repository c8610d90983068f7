"""Metrics that run a method again: on a moved picture, for another class, on random weights.

- Max-sensitivity, Yeh et al. 2019 (1901.09392), definition 3.1: the largest
  ``|Φ(x') - Φ(x)| / |Φ(x)|`` for ``x'`` in a small ball; as in the authors' code the length of the
  map itself is below, not that of the picture.
- Random logit, Sixt, Granz, Landgraf 2020 (1912.09818): how alike the maps of two
  classes are.
- Parameter randomisation, Adebayo et al. 2018 (1810.03292): how alike the map of the network with
  random weights is. It tells maps that owe nothing to training; it does not rank the others
  (Binder et al. 2023, 2211.12486).
- Entropy rise, Hedström et al. 2024 (2401.06465), efficient MPRT.
"""

import torch
from torch import Tensor

from fluoroscope.attribution.metrics.maps import Maps, as_maps
from fluoroscope.attribution.metrics.purposes import Purpose
from fluoroscope.attribution.metrics.setting import Setting
from fluoroscope.attribution.metrics.similarity import Kind, entropy_rise, similarity
from fluoroscope.attribution.metrics.subsets import Scores
from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.vectors import lengths, wide
from fluoroscope.errors import InvalidParameterError
from fluoroscope.gradients.randomised import with_random_weights
from fluoroscope.models.classifier import Classifier


def max_sensitivity(setting: Setting, *, samples: int = 10, radius: float = 0.02) -> Scores:
    """The largest relative change of the map over so many points within ``radius`` of a pixel.

    The points are uniform in the ball, and within ``[0, 1]``. Infinite where a map of zeros
    changes.
    """
    samples = whole_number("samples", samples)
    if not 0 < radius <= 1:
        raise InvalidParameterError(f"radius is {radius}; expected more than 0, at most 1")
    keys, images = setting.keys(Purpose.BALL), setting.images

    def scores(maps: Maps) -> Tensor:
        values = as_maps(maps, images)
        length = lengths(values.to(wide(values)))
        worst = torch.zeros_like(length)
        for number in range(samples):
            drawn = randomness.uniform(keys, number, tuple(images.shape[1:])).to(images)
            moved = (images + radius * (2 * drawn - 1)).clamp(0, 1)
            found = setting.explained(images=moved)
            if found.shape != values.shape:
                raise InvalidParameterError(
                    f"explain gives maps of shape {tuple(found.shape)} and those given have "
                    f"{tuple(values.shape)}; expected the method that made them"
                )
            worst = torch.maximum(worst, lengths(found.to(length) - values))
        return torch.where(worst == 0, worst, worst / length).double().cpu()

    return scores


def random_logit(setting: Setting, *, kind: Kind = "spearman") -> Scores:
    """How alike the map is to that of another class, which is drawn for each picture.

    Of a pair the first class becomes another; where there is no third, the pair is turned round.
    """
    others = setting.explained(classes=_other(setting))
    return lambda maps: similarity(as_maps(maps, setting.images), others, kind)


def parameter_randomisation(
    setting: Setting, *, kind: Kind = "spearman-abs", randomised: Classifier | None = None
) -> Scores:
    """How alike the map is to that of the network with random weights."""
    others = _of_random_weights(setting, randomised)
    return lambda maps: similarity(as_maps(maps, setting.images), others, kind)


def entropy_rise_of_randomisation(
    setting: Setting, *, bins: int = 100, randomised: Classifier | None = None
) -> Scores:
    """By what share the map's entropy rises when the weights become random: efficient MPRT."""
    others = _of_random_weights(setting, randomised)
    return lambda maps: entropy_rise(as_maps(maps, setting.images), others, bins)


def denoised(setting: Setting, *, samples: int = 50, sigma: float = 0.1) -> Tensor:
    """The mean of the method's maps ``(N, C, H, W)`` of noisy copies of the pictures.

    What smooth MPRT (Hedström et al. 2024, 2401.06465) compares in place of the maps themselves:
    noise in a map is no sign that it depends on the weights. ``sigma`` is a share of each
    picture's range of values; pixels stay within ``[0, 1]``.
    """
    images, keys = setting.images, setting.keys(Purpose.NOISE)
    if not 0 <= sigma < float("inf"):
        raise InvalidParameterError(f"sigma is {sigma}; expected a number of 0 or more")
    span = images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)
    total: Tensor | None = None
    for number in range(whole_number("samples", samples)):
        drawn = randomness.normal(keys, number, tuple(images.shape[1:])).to(images)
        noisy = (images + sigma * span * drawn).clamp(0, 1)
        found = setting.explained(images=noisy)
        found = found.to(wide(found))
        total = found if total is None else total + found
    assert total is not None
    return total / samples


def _of_random_weights(setting: Setting, randomised: Classifier | None) -> Tensor:
    twin = randomised or with_random_weights(
        setting.model, setting.images, seed=setting.seed, batch_size=setting.batch_size
    )
    return setting.explained(model=twin)


def _other(setting: Setting) -> Tensor:
    many, given = setting.model.num_classes, setting.classes
    if many < 2:
        raise InvalidParameterError(
            f"{setting.model.name} has one class; expected another one to compare maps with"
        )
    keys, pairs = setting.keys(Purpose.OTHER_CLASS), given.dim() == 2
    if pairs and many == 2:
        return given.flip(1)
    # Drawn among those that are left, each past the ones that are taken.
    taken = given.sort(1).values if pairs else given[:, None]
    drawn = randomness.integers(keys, 0, many - taken.shape[1])[:, 0]
    for each in taken.unbind(1):
        drawn = drawn + (drawn >= each)
    return torch.stack([drawn, given[:, 1]], 1) if pairs else drawn
