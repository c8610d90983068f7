"""Which units both kinds of pictures use that are predicted as a class, and which one kind alone.

The units that some pictures *use* are those whose mean over them lies the most standard deviations
above their mean over all real pictures: a tenth of the layer's, and never one that lies below.
Nothing is removed for it. What pictures that were led to a class by attack use is held against what
real pictures of the class do.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoroscope.neurons.meaning.arrays import Array, Numbers, Values, class_sums, spreads


@dataclass(frozen=True, eq=False)
class Sharing:
    """Which units are used for which classes."""

    real: NDArray[np.bool_]
    """``(C, K)``: by the real pictures of each class."""
    adversarial: NDArray[np.bool_]
    """``(C, K)``: by the pictures that an attack led to each class."""
    measured: NDArray[np.bool_]
    """``(C,)``: classes that there are both kinds of pictures of."""

    @property
    def shared(self) -> Numbers:
        """For how many classes both kinds use a unit ``(K,)``."""
        found: Numbers = (self.real & self.adversarial)[self.measured].sum(0)
        return found

    @property
    def adversarial_only(self) -> Numbers:
        """For how many classes only adversarial pictures use a unit ``(K,)``."""
        found: Numbers = (~self.real & self.adversarial)[self.measured].sum(0)
        return found

    @property
    def share(self) -> Array:
        """Of the units that adversarial pictures use for a class, the share that real ones use too,
        for each class that was measured and of which they use any.
        """
        both = (self.real & self.adversarial)[self.measured].sum(1)
        used = self.adversarial[self.measured].sum(1)
        found: Array = both[used > 0] / used[used > 0]
        return found

    @property
    def never_real(self) -> NDArray[np.bool_]:
        """Units that adversarial pictures use for some class, and real ones for none ``(K,)``."""
        found: NDArray[np.bool_] = self.adversarial[self.measured].sum(0) > 0
        found &= self.real.sum(0) == 0
        return found


def sharing(
    real: Values, labels: Numbers, adversarial: Values, led_to: Numbers, classes: int,
    active: float,
) -> Sharing:  # fmt: skip
    """Of real activations ``(N, K)`` of classes ``(N,)``, and of adversarial ones ``(M, K)``.

    ``led_to`` ``(M,)`` is the class that each is predicted as and was aimed at, -1 where these
    differ; ``active`` is the share of the units that are said to be used.
    """
    spread, (sums, counts) = spreads(real), class_sums(real, labels, classes)
    mean = sums.sum(0) / max(1, counts.sum())
    aimed, many = class_sums(adversarial, led_to, classes)
    top = max(1, round(active * real.shape[1]))
    return Sharing(
        _used(sums, counts, mean, spread, top),
        _used(aimed, many, mean, spread, top),
        (counts > 0) & (many > 0),
    )


def _used(sums: Array, counts: Numbers, mean: Array, spread: Array, top: int) -> NDArray[np.bool_]:
    means = sums / counts.clip(1)[:, None] - mean
    # Of a unit that real pictures do not move any rise is infinite, but for rounding.
    means[np.abs(means) <= 1e-6 * np.abs(mean)] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        lifted = np.where(means == 0, 0.0, means / spread)
    lifted[counts == 0] = 0
    places = np.argsort(-lifted, axis=1, kind="stable")[:, :top]
    found = np.zeros(lifted.shape, dtype=bool)
    np.put_along_axis(found, places, True, axis=1)
    found &= lifted > 0
    return found
