"""What representations of real pictures of each class are like, and who disagrees with them.

Dong et al. (2017) say that adversarial pictures can be detected because their representation does
not go with the decision. Their rule could not be found; these two are ours, of the most natural
kind. With every unit divided by its spread over the real pictures:

* ``mean``: ``log d(x, m_p) - log min_{c != p} d(x, m_c)``, where ``m_c`` is the mean of class ``c``
  and ``p`` the predicted class. Above 0 another class is nearer than the predicted one.
* ``neighbours``: the share of the ``k`` nearest real pictures that are not of the predicted class.

``confidence``, 1 less the probability of the predicted class, looks at no layer: what does no
better than it, needs none.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.errors import InvalidParameterError
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.words import count

SCORES = {
    "mean": "the nearest class mean",
    "neighbours": "the nearest real pictures",
    "confidence": "1 - the largest probability",
}
"""By what pictures are told apart; the last is the baseline."""
# Numbers of the distances that are there at once.
_AT_ONCE = 2**24
# A distance that no class without pictures is nearer than.
FAR = 1e30


@dataclass(frozen=True, eq=False)
class Reference:
    """Real pictures that were classified correctly, as a layer sees them."""

    values: NDArray[np.float64]
    """``(N, K)``, in spreads of each unit."""
    labels: NDArray[np.int64]
    """``(N,)``"""
    means: NDArray[np.float64]
    """``(C, K)``, of each class; of one without pictures NaN."""
    spread: NDArray[np.float64]
    """``(K,)``, by which activations are divided; infinite of a unit that never moves."""
    neighbours: int
    """``k``"""

    @classmethod
    def of(cls, real: Activations, rows: NDArray[np.bool_], neighbours: int) -> "Reference":
        """From some rows of what was read.

        Raises:
            InvalidParameterError: fewer than two classes, or than ``neighbours`` pictures.
        """
        labels, values = real.labels[rows], np.asarray(real.values[rows], np.float64)
        classes = np.unique(labels)
        if len(classes) < 2 or len(labels) < neighbours:
            raise InvalidParameterError(
                f"{count(len(labels), 'real picture')} of "
                f"{count(len(classes), 'class', 'classes')} are left to learn from; expected "
                f"{neighbours} or more of 2 classes that are classified correctly and that no "
                "adversarial picture was made of: give more real pictures"
            )
        spread = values.std(0)
        spread[spread == 0] = np.inf
        values = values / spread
        means = np.full((len(real.classes), values.shape[1]), np.nan)
        for each in classes:
            means[each] = values[labels == each].mean(0)
        return cls(values, labels, means, spread, neighbours)

    def scores(self, found: Activations) -> dict[str, NDArray[np.float64]]:
        """Of each picture by :data:`SCORES`, ``(N,)``; NaN where its class has no real pictures."""
        values = np.asarray(found.values, np.float64) / self.spread
        predicted = found.predicted
        apart = _distances(values, self.means)
        apart = np.where(np.isnan(apart), FAR, apart)
        rows = np.arange(len(values))
        own = apart[rows, predicted]
        apart[rows, predicted] = np.inf
        known = own < FAR
        tiny = np.finfo(np.float64).tiny
        mean = np.log(np.maximum(own, tiny)) - np.log(np.maximum(apart.min(1), tiny))
        unlike = self._unlike(values, predicted)
        return {
            "mean": np.where(known, mean, np.nan),
            "neighbours": np.where(known, unlike, np.nan),
            "confidence": np.where(known, 1 - found.confidence.astype(np.float64), np.nan),
        }

    def _unlike(
        self, values: NDArray[np.float64], predicted: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        found = np.empty(len(values))
        step = max(1, _AT_ONCE // max(1, len(self.values)))
        for start in range(0, len(values), step):
            at = slice(start, start + step)
            apart = _distances(values[at], self.values)
            near = np.argsort(apart, axis=1, kind="stable")[:, : self.neighbours]
            found[at] = (self.labels[near] != predicted[at, None]).mean(1)
        return found

    def distances(self, reduced: Tensor) -> Tensor:
        """From activations ``(n, K)`` to the distances ``(n, C)``, differentiable."""
        known = ~np.isnan(self.means[:, 0])
        means = torch.from_numpy(self.means[known]).to(reduced)
        spread = torch.from_numpy(self.spread).to(reduced)
        apart = torch.cdist(reduced / spread, means, compute_mode="donot_use_mm_for_euclid_dist")
        none = reduced.new_full((len(reduced), len(self.means)), FAR)
        there = torch.from_numpy(np.flatnonzero(known)).to(reduced.device)
        return none.index_copy(1, there, apart)


def _distances(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between each of the rows, ``(n, m)``."""
    found: NDArray[np.float64] = torch.cdist(
        torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(others),
        compute_mode="donot_use_mm_for_euclid_dist",
    ).numpy()  # fmt: skip
    return found
