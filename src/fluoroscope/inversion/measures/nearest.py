"""Whether made pictures are training pictures given back: distances as ratios to a test set's own.

The nearest training picture of a made one lies somewhere in any case, so a distance says nothing by
itself. Divided by how near test pictures of the class mostly lie to training pictures, 1 is what
an honest new picture has, and 0 is a copy. A mirrored copy is one too: in pixels and structure a
picture's mirror image is tried as well, of test pictures as of made ones.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fluoroscope.inversion.measures.distances import nearest
from fluoroscope.pictures.ssim import ssim

# By similarity of structure the nearest is looked for among so many that are nearest in pixels.
CANDIDATES = 8
# With fewer test pictures of a class their median says little, and that of all is taken.
_FEWEST = 5


def in_space(points: Tensor, train: Tensor) -> Tensor:
    """The distance ``(N,)`` of points ``(N, D)``, pixels or features, to the nearest of others."""
    return nearest(points, train)[0][:, 0]


def among(points: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """The distance of points ``(N, D)`` to the nearest other of their class, and these classes.

    Points that are alone in their class are left out.
    """
    found = [torch.zeros(0, dtype=torch.float64, device=points.device)]
    labels = [classes[:0]]
    for each in classes.unique().tolist():
        own = points[classes == each]
        if len(own) > 1:
            found.append(nearest(own, own, 2)[0][:, 1])  # the first is itself
            labels.append(torch.full_like(classes[: len(own)], each))
    return torch.cat(found), torch.cat(labels)


def in_structure(images: Tensor, train: Tensor) -> Tensor:
    """The least ``1 - SSIM`` ``(N,)`` of pictures ``(N, C, H, W)`` to training pictures."""
    found = []
    k = min(CANDIDATES, len(train))
    _, numbers = nearest(images.flatten(1), train.flatten(1), k)
    for part, near in zip(images.split(64), numbers.split(64), strict=True):
        like = ssim(part.repeat_interleave(k, 0), train[near.flatten()])
        found.append(1 - like.view(-1, k).amax(1))
    return torch.cat(found)


def mirrored(away: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """A distance ``(N,)`` of pictures ``(N, C, H, W)`` or their mirror images, the lesser one.

    Returns:
        It, and booleans ``(N,)``: the mirror image is the nearer.
    """
    plain, turned = away(images), away(images.flip(-1))
    return torch.minimum(plain, turned), turned < plain


def ratios(away: Tensor, classes: Tensor, own: Tensor, labels: Tensor) -> Tensor:
    """Distances ``(N,)`` of pictures of classes, divided by the median of test pictures' of theirs.

    Args:
        away: of each picture to the nearest training picture.
        classes: of each picture.
        own: the same distances ``(M,)`` of test pictures.
        labels: their classes.
    """
    overall = own.quantile(0.5)
    typical = overall.expand_as(away).clone()
    for each in classes.unique().tolist():
        of_class = labels == each
        if int(of_class.sum()) >= _FEWEST:
            typical[classes == each] = own[of_class].quantile(0.5)
    # Of a test set that was trained on all distances are 0, and no picture is a copy by them.
    return away / typical.clamp(min=float(overall) * 1e-9 + 1e-300)
