"""The pictures that activate each unit most, as weights that do not depend on their order.

Of each unit the first ``top`` pictures count 1. Pictures that are equal at the last place share
what is left of the places, so that no order of the pictures decides. A picture on which a unit is
as low as on any is none of its favourites, however few there are: a unit that is at rest on most
pictures has fewer, and one that never moves has none.
"""

import numpy as np

from fluoroscope.neurons.meaning.arrays import Array, Numbers, Values


class Favourites:
    """Which pictures activate which units most.

    Args:
        values: activations ``(N, K)``.
        top: so many pictures of each unit, at least 1.
        weighted: count a picture by how far it lifts the unit above its lowest.
    """

    def __init__(self, values: Values, top: int, *, weighted: bool = False) -> None:
        self.top, self.weighted = top, weighted
        # Drawn again with repeats, the first `top` come from these but for odds below 1e-9.
        depth = min(len(values), 2 * top + 50)
        self.lowest = values.min(0).astype(np.float64)
        cut = np.partition(values, len(values) - depth, axis=0)[len(values) - depth]
        keeps = (values >= cut) & (values > values.min(0))
        rows = max(1, int(keeps.sum(0).max()))
        order = np.argsort(-values, axis=0, kind="stable")[:rows]
        self.order: Numbers = order
        """Numbers of pictures ``(P, K)``, the strongest first."""
        self.there = np.take_along_axis(keeps, order, 0)
        """Where they are any."""
        self.values = np.take_along_axis(values, order, 0).astype(np.float64)

    def weights(self, times: Numbers | None = None) -> Array:
        """What each of ``order`` counts ``(P, K)``, each picture being there so many ``times``."""
        many: Array = self.there * (1.0 if times is None else times[self.order].astype(np.float64))
        so_far = np.cumsum(many, axis=0)
        enough = so_far >= self.top
        last = np.take_along_axis(self.values, enough.argmax(0)[None], 0)
        last = np.where(enough.any(0), last, -np.inf)
        above, level = self.values > last, self.values == last
        first = (many * above).sum(0)
        tied = (many * level).sum(0)
        share = np.divide(self.top - first, tied, out=np.zeros_like(tied), where=tied > 0)
        found: Array = many * (above + level * share)
        return found * (self.values - self.lowest) if self.weighted else found

    def histograms(self, labels: Numbers, classes: int, weights: Array | None = None) -> Array:
        """Class histograms ``(K, classes)``, shares, of pictures with ``labels`` ``(N,)``.

        ``weights`` are those of :meth:`weights`. Of a unit without favourites all are NaN.
        """
        counted = self.weights() if weights is None else weights
        units = self.order.shape[1]
        cells = labels[self.order] + classes * np.arange(units)
        counts = np.bincount(cells.ravel(), counted.ravel(), minlength=units * classes)
        counts = counts.reshape(units, classes)
        total = counts.sum(1, keepdims=True)
        found: Array = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
        return found
