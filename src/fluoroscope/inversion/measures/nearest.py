"""Whether made pictures are training pictures given back: distances as ratios to a test set's own.

The nearest training picture of a made one lies somewhere in any case, so a distance says nothing by
itself. Divided by how near test pictures of the class mostly lie to training pictures, 1 is what
an honest new picture has, and 0 is a copy.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.inversion.measures.distances import nearest
from fluoroscope.pictures.ssim import ssim

# By similarity of structure the nearest is looked for among so many that are nearest in pixels.
CANDIDATES = 8
# With fewer test pictures of a class their median says little, and that of all is taken.
_FEWEST = 5


@dataclass(frozen=True)
class Nearness:
    """Of made and of test pictures: how near the nearest training picture is."""

    made: Tensor
    """``(N,)``, ratios of made pictures."""
    test: Tensor
    """``(M,)``, ratios of test pictures: their median is 1."""


def in_space(
    made: Tensor, test: Tensor, train: Tensor, classes: Tensor, labels: Tensor
) -> Nearness:
    """Ratios of Euclidean distances between points ``(N, D)``: pixels, or features."""
    near, _ = nearest(made, train)
    own, _ = nearest(test, train)
    return _ratios(near[:, 0], own[:, 0], classes, labels)


def in_structure(
    made: Tensor, test: Tensor, train: Tensor, classes: Tensor, labels: Tensor
) -> Nearness:
    """Ratios of ``1 - SSIM`` between pictures ``(N, C, H, W)``."""
    return _ratios(_unlikeness(made, train), _unlikeness(test, train), classes, labels)


def _unlikeness(images: Tensor, train: Tensor) -> Tensor:
    found = []
    k = min(CANDIDATES, len(train))
    _, numbers = nearest(images.flatten(1), train.flatten(1), k)
    for part, near in zip(images.split(64), numbers.split(64), strict=True):
        like = ssim(part.repeat_interleave(k, 0), train[near.flatten()])
        found.append(1 - like.view(-1, k).amax(1))
    return torch.cat(found)


def _ratios(made: Tensor, test: Tensor, classes: Tensor, labels: Tensor) -> Nearness:
    overall = test.quantile(0.5)
    made_by, test_by = overall.expand_as(made).clone(), overall.expand_as(test).clone()
    for each in classes.unique().tolist() + labels.unique().tolist():
        of_class = labels == each
        if int(of_class.sum()) >= _FEWEST:
            typical = test[of_class].quantile(0.5)
            made_by[classes == each] = typical
            test_by[of_class] = typical
    least = float(overall) * 1e-9 + 1e-300  # a test set that was trained on has distances of 0
    return Nearness(made / made_by.clamp(min=least), test / test_by.clamp(min=least))
