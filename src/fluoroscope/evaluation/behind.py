"""Classes that fall far behind the others: a finding that an accuracy over all of them hides.

A class is behind where its interval and that of all other pictures do not overlap, and a tenth of
the pictures lies between the two shares. The intervals are Wilson's of 95 % for all classes at once
(Bonferroni: of ``1 - 0.05 / K`` each where ``K`` are looked at), so of a network that is as good at
every class hardly one run in twenty names any. Classes of fewer than five pictures are not looked
at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fluoroscope.engine.intervals import Interval, wilson
from fluoroscope.words import count, interval, listed, percent

# Pictures that a class needs, and how far behind is far.
FEWEST, FAR = 5, 0.1
# Classes that a sentence names.
_NAMED = 3

Measure = Literal["clean", "robust"]


@dataclass(frozen=True)
class Behind:
    """A class that falls far behind all others."""

    label: int
    name: str
    measure: Measure
    """Which accuracy is meant."""
    count: int
    """Pictures of the class."""
    right: int
    """Of these, classified correctly (under attack, if ``measure`` is ``robust``)."""
    interval: Interval
    """Of its share, 95 % by itself."""
    others: int
    """Pictures of all other classes."""
    others_right: int

    @property
    def share(self) -> float:
        """The accuracy of the class."""
        return self.right / self.count

    @property
    def others_share(self) -> float:
        """That of all others."""
        return self.others_right / self.others

    def __str__(self) -> str:
        return (
            f"{self.name}: {percent(self.share)} of {count(self.count, 'picture')} "
            f"(95 % interval {interval(self.interval)}), all others {percent(self.others_share)}"
        )


def classes_behind(
    labels: NDArray[np.int64],
    right: NDArray[np.bool_],
    names: Sequence[str] | None = None,
    measure: Measure = "clean",
) -> tuple[Behind, ...]:
    """The classes far behind the others, the farthest first.

    Args:
        labels: ``(N,)``, the true class of each picture.
        right: ``(N,)``, whether it is classified correctly.
        names: of the classes.
        measure: which accuracy that is.
    """
    classes, counts = np.unique(labels, return_counts=True)
    looked = [(int(c), int(n)) for c, n in zip(classes, counts, strict=True) if n >= FEWEST]
    found = []
    for label, own in looked:
        others = len(labels) - own
        if others < FEWEST:
            continue
        mine = int(right[labels == label].sum())
        rest = int(right.sum()) - mine
        sure = NormalDist().inv_cdf(1 - 0.025 / len(looked))
        apart = wilson(mine, own, sure)[1] < wilson(rest, others, sure)[0]
        if apart and rest / others - mine / own >= FAR:
            name = str(label) if names is None else names[label]
            found.append(
                Behind(label, name, measure, own, mine, wilson(mine, own), others, rest)
            )  # fmt: skip
    return tuple(sorted(found, key=lambda one: (one.share - one.others_share, one.label)))


def in_words(found: Sequence[Behind]) -> tuple[str, ...]:
    """A sentence for each accuracy in which classes fall behind."""
    sentences = []
    for measure, what in (("clean", "clean accuracy"), ("robust", "robust accuracy")):
        mine = [one for one in found if one.measure == measure]
        if mine:
            named = [str(one) for one in mine[:_NAMED]]
            if len(mine) > _NAMED:
                named.append(count(len(mine) - _NAMED, "more class", "more classes"))
            verb = "falls" if len(mine) == 1 else "fall"
            classes = "a class" if len(mine) == 1 else count(len(mine), "class", "classes")
            sentences.append(f"{classes} {verb} far behind the others in {what}: {listed(named)}")
    return tuple(sentences)
