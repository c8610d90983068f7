"""Mean corruption error: the errors under each corruption over AlexNet's, averaged.

Hendrycks and Dietterich (2019): ``CE_c = sum_s E_s,c / sum_s E_s,c(AlexNet)`` over the five
severities, and the mean of it over the fifteen corruptions. The relative one has how far each error
is above the clean one instead. It is for networks that tell ImageNet's thousand classes apart, and
for ImageNet-C's severities; of CIFAR-10-C the field quotes the plain mean of the errors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.engine.intervals import Interval
from fluoroscope.evaluation.corruptions.catalogue import FIFTEEN, SEVERITIES

# AlexNet's errors on ImageNet-C, each the mean over five severities, as the authors published them
# and everybody divides by them.
ALEXNET: Mapping[str, float] = dict(
    zip(
        FIFTEEN,
        (
            0.886428, 0.894468, 0.922640,
            0.819880, 0.826268, 0.785948, 0.798360,
            0.866816, 0.826572, 0.819324, 0.564592,
            0.853204, 0.646056, 0.717840, 0.606500,
        ),
        strict=True,
    )
)  # fmt: skip
# And on clean pictures, as in the paper's table.
ALEXNET_CLEAN = 0.435

# The side of ImageNet-C's pictures.
SIDE = 224


@dataclass(frozen=True)
class MeanCorruptionError:
    """The mCE and what of it is not as published."""

    mce: float
    """1 is as many errors as AlexNet makes."""
    interval: Interval
    """95 %, by the spread between pictures."""
    relative: float
    """The relative mCE."""
    deviations: tuple[str, ...]
    """What keeps it from being the number that others publish."""

    @property
    def name(self) -> str:
        """``mCE``, or another name where a corruption is not as defined."""
        return "mCE" if self.deviations == _ALWAYS else "mCE, not as published"


# Of every number that is not made from the published files.
_ALWAYS = ("made from pictures as the network sees them, not from ImageNet-C's own JPEG files",)


def mean_corruption_error(
    right: Tensor, names: Sequence[str], severities: Sequence[int], *, size: Sequence[int],
    photographs: bool,
) -> MeanCorruptionError | None:  # fmt: skip
    """The mCE of pictures read ``(N, 1 + 15 · 5)``, the clean ones first; ``None`` if some lack.

    Args:
        right: whether each was classified correctly, corruption by corruption.
        names: the corruptions in their order.
        severities: the severities in theirs.
        size: height and width of the pictures.
        photographs: whether frost was made with the authors' photographs.
    """
    if not set(FIFTEEN) <= set(names) or tuple(severities) != SEVERITIES or not len(right):
        return None
    wrong = (~right).double()
    clean = wrong[:, 0]
    each = wrong[:, 1:].view(len(wrong), len(names), len(severities)).mean(2)
    chosen = [list(names).index(name) for name in FIFTEEN]
    each = each[:, chosen]
    alexnet = torch.tensor(list(ALEXNET.values()), dtype=torch.double, device=each.device)
    own = (each / alexnet).mean(1)
    mce = float(own.mean())
    spread = 1.96 * float(own.std()) / len(own) ** 0.5 if len(own) > 1 else float("inf")
    highest = float((1 / alexnet).mean())
    relative = ((each.mean(0) - clean.mean()) / (alexnet - ALEXNET_CLEAN)).mean()
    deviations = [*_ALWAYS]
    if not photographs:
        deviations.append("frost is drawn, not the authors' photographs")
    if tuple(size) != (SIDE, SIDE):
        deviations.append(f"pictures are {size[0]}×{size[1]}, not {SIDE}×{SIDE}")
    return MeanCorruptionError(
        mce,
        (max(0.0, mce - spread), min(highest, mce + spread)),
        float(relative),
        tuple(deviations),
    )
