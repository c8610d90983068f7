"""Structural similarity of pictures: alike in brightness, contrast and pattern, place by place.

Wang, Bovik, Sheikh and Simoncelli 2004, with a Gaussian window of 11 pixels and a standard
deviation of 1.5: ``(2 m m' + a)(2 c + b) / ((m² + m'² + a)(v + v' + b))``, with means, variances
and the covariance within a window, ``a = .01²`` and ``b = .03²`` for values in ``[0, 1]``, and the
mean over all windows that lie inside the picture. 1 is the same picture.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d

_MEAN, _SPREAD = 0.01**2, 0.03**2
_SIGMA, _REACH = 1.5, 5


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Of each image ``(N, C, H, W)`` in ``[0, 1]`` to its partner, ``(N,)``."""
    return _similarity(images, _moments(images), others, _moments(others))


def ssim_matrix(images: Tensor, others: Tensor) -> Tensor:
    """Of each image ``(N, C, H, W)`` in ``[0, 1]`` to every other ``(M, C, H, W)``, ``(N, M)``."""
    theirs = _moments(others)
    rows = [_similarity(one, _moments(one), others, theirs) for one in images.split(1)]
    return torch.cat(rows).view(len(images), len(others))


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance within each window."""
    mean = _local(images)
    return mean, _local(images.square()) - mean.square()


def _similarity(
    images: Tensor, own: tuple[Tensor, Tensor], others: Tensor, theirs: tuple[Tensor, Tensor]
) -> Tensor:
    (mean, vary), (other, varies) = own, theirs
    together = _local(images * others) - mean * other
    light = (2 * mean * other + _MEAN) / (mean.square() + other.square() + _MEAN)
    return (light * (2 * together + _SPREAD) / (vary + varies + _SPREAD)).mean((1, 2, 3))


def _local(images: Tensor) -> Tensor:
    """The weighted mean of each window; in a picture with a side below 11 windows are smaller."""
    reach = min(_REACH, (min(images.shape[2:]) - 1) // 2)
    steps = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    weights = (-0.5 * (steps / _SIGMA) ** 2).exp()
    weights = weights / weights.sum()
    planes = images.flatten(0, 1)[:, None]
    means = conv2d(conv2d(planes, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))
    return means.view(*images.shape[:2], *means.shape[2:])
