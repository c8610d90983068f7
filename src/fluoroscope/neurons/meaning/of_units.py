"""What an attack makes of the favourites of each unit, and how sure that is over pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoroscope.neurons.meaning.arrays import Array, Numbers, Values
from fluoroscope.neurons.meaning.favourites import Favourites
from fluoroscope.neurons.meaning.histograms import (
    commonest,
    cosines,
    cosines_at_chance,
    flipped,
    has_name,
    labels_of,
    level_of_consistency,
)
from fluoroscope.neurons.meaning.resampling import Times

# Activations, and cells of histograms, that are in memory at once.
_VALUES, _CELLS = 2**24, 2**22
NUMBERS = ("level", "level_adversarial", "cs1", "cs2", "cs1_chance", "cs2_chance")
"""The last two are CS1 and CS2 where adversarial pictures are drawn at random."""
KINDS = ("real", "noisy", "adversarial")
FLIPS = {"noisy": "flips_noise", "adversarial": "flips_attack"}
"""What label flips under each are called."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Activations ``(N, K)`` of some pictures, and what is known of these ``(N,)``."""

    values: Values
    labels: Numbers
    """Their true classes."""
    concepts: Numbers
    """What a unit is named by: their classes, or concepts of the user's."""
    targets: Numbers | None = None
    """The classes that adversarial ones were aimed at."""

    def favourites(self, units: slice, top: int, weighted: bool) -> Favourites:
        """Of some of the units."""
        return Favourites(self.values[:, units], top, weighted=weighted)


@dataclass(frozen=True, eq=False)
class OfUnits:
    """Numbers of each unit ``(K,)``, and the same in each draw of pictures ``(B, K)``."""

    numbers: dict[str, Array]
    """By :data:`NUMBERS`; NaN where a unit has no favourites."""
    labels: dict[str, Numbers]
    """By :data:`KINDS`: the concept that each unit's favourites say, -1 for none."""
    drawn: dict[str, NDArray[np.float32]]
    flipped: dict[str, Numbers]
    """By kind but ``real``: see :func:`.histograms.flipped`."""
    changed: dict[str, NDArray[np.int64]]
    """By kind: of each draw how many units count, and how many of these flipped ``(B, 2)``."""


def of_units(
    sets: dict[str, Pictures], similarity: Array, concepts: int, top: int, weighted: bool,
    draws: Sequence[Times], on_share: Callable[[float], None],
) -> OfUnits:  # fmt: skip
    """What the favourites of each unit are among real, adversarial and perhaps noisy pictures.

    Args:
        sets: by :data:`KINDS`; the noisy ones are the real ones, in their order.
        similarity: of classes ``(C, C)``.
        concepts: how many there are.
        top: so many favourites.
        weighted: whether they count by their activation.
        draws: of real and adversarial pictures.
        on_share: told the share that lies behind.
    """
    units, classes = sets["real"].values.shape[1], len(similarity)
    pictures = max(len(each.values) for each in sets.values())
    step = max(1, min(_VALUES // pictures, _CELLS // max(classes, concepts)))
    blocks = [slice(start, min(start + step, units)) for start in range(0, units, step)]
    numbers = {name: np.empty(units) for name in NUMBERS}
    labels = {kind: np.empty(units, dtype=np.int64) for kind in sets}
    drawn = {name: np.empty((len(draws), units), dtype=np.float32) for name in NUMBERS}
    turned = {kind: np.empty(units, dtype=np.int64) for kind in sets if kind != "real"}
    changed = {kind: np.zeros((len(draws), 2), dtype=np.int64) for kind in turned}
    for number, block in enumerate(blocks):
        found = {kind: each.favourites(block, top, weighted) for kind, each in sets.items()}
        own = _Block(sets, found, similarity, concepts, top)
        measured, named = own.measured(None)
        for name in NUMBERS:
            numbers[name][block] = measured[name]
        for kind in sets:
            labels[kind][block] = labels_of(named[kind])
        for kind, each in turned.items():
            each[block] = flipped(named["real"], named[kind])
        for draw, times in enumerate(draws):
            measured, named = own.measured(times)
            for name in NUMBERS:
                drawn[name][draw, block] = measured[name]
            for kind, counts in changed.items():
                again = flipped(named["real"], named[kind])
                again[turned[kind][block] < 0] = -1  # what has no name is given none by a draw
                counts[draw] += (again >= 0).sum(), (again == 1).sum()
            on_share((number + (draw + 1) / len(draws)) / len(blocks))
    on_share(1.0)
    return OfUnits(numbers, labels, drawn, turned, changed)


@dataclass(frozen=True, eq=False)
class _Block:
    """Some units' favourites of each kind."""

    sets: dict[str, Pictures]
    found: dict[str, Favourites]
    similarity: Array
    concepts: int
    top: int

    def measured(
        self, times: Times | None
    ) -> tuple[dict[str, NDArray[np.floating[Any]]], dict[str, NDArray[np.bool_]]]:
        """Numbers by :data:`NUMBERS`, and the commonest concepts ``(K, C)`` by :data:`KINDS`."""
        classes = len(self.similarity)
        real, made = (None, None) if times is None else times
        weights = {
            kind: each.weights(made if kind == "adversarial" else real)
            for kind, each in self.found.items()
        }
        truths = {
            kind: each.histograms(self.sets[kind].labels, classes, weights[kind])
            for kind, each in self.found.items()
        }
        aimed = self.sets["adversarial"].targets
        assert aimed is not None
        goals = self.found["adversarial"].histograms(aimed, classes, weights["adversarial"])
        # Only a deviation is made of what is drawn.
        similarity: NDArray[np.floating[Any]] = self.similarity
        if times is not None:
            similarity = similarity.astype(np.float32)
        numbers: dict[str, NDArray[np.floating[Any]]] = {
            "level": level_of_consistency(truths["real"], similarity),
            "level_adversarial": level_of_consistency(truths["adversarial"], similarity),
            "cs1": cosines(truths["real"], truths["adversarial"]),
            "cs2": cosines(truths["real"], goals),
            **{
                f"{name}_chance": cosines_at_chance(truths["real"], labels, self.top)
                for name, labels in (("cs1", self.sets["adversarial"].labels), ("cs2", aimed))
            },
        }
        names = {}
        for kind, each in self.found.items():
            own, found = self.sets[kind], truths[kind]
            if own.concepts is not own.labels:
                found = each.histograms(own.concepts, self.concepts, weights[kind])
            names[kind] = commonest(found)
            if kind == "real":  # a unit without a name has none to lose
                names[kind] &= has_name(found)[:, None]
        return numbers, names
