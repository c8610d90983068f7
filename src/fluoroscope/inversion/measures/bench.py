"""What an assessment is made of: pictures, those they are held against, and what networks say."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fluoroscope.engine.inside import Place
from fluoroscope.inversion.measures.measure import Measure, Value
from fluoroscope.inversion.measures.reading import Read
from fluoroscope.models.classifier import Classifier
from fluoroscope.words import count

MADE = "made"


@dataclass(frozen=True)
class Subject:
    """Pictures of one origin, and what the networks say of them."""

    images: Tensor
    """``(N, C, H, W)``, on the CPU."""
    classes: Tensor
    """``(N,)``, of each the class that it shows, or is said to."""
    own: Read
    """What the network under study says, at the layers of its path."""
    second: Read | None
    """What the second network says, at the layer of its features."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Bench:
    """Everything that measures are taken of."""

    model: Classifier
    made: Subject
    others: Mapping[str, Subject]
    """By :data:`~.measure.REFERENCES`: real pictures, noise, those of random weights."""
    against: Subject | None
    """Real pictures that sets are held against; the real ones of :attr:`others` themselves where
    there is but one of each class."""
    trained: bool
    """Whether these are training pictures."""
    path: tuple[Place, ...]
    place: Place | None
    """Where the second network's features are read."""
    seed: int = 0
    codes: Tensor | None = None
    again: Sequence[Subject] = ()
    """The same portraits from other seeds."""
    counts: Mapping[int, int] = field(default_factory=dict)
    """Pictures of each class of which all of several sets have so many."""

    @property
    def subjects(self) -> dict[str, Subject]:
        """The made pictures first, then what stands beside them."""
        return {MADE: self.made, **self.others}

    @property
    def apart(self) -> dict[str, Subject]:
        """Those of them that are not what sets are held against."""
        return {name: one for name, one in self.subjects.items() if one is not self.against}

    def features(self, subject: Subject, *, equal: bool = False) -> Tensor:
        """``(N, D)`` of the second network; ``equal``: of so many as all sets have."""
        assert subject.second is not None
        assert self.place is not None
        found = subject.second.layers[self.place]
        return found[self.rows(subject)] if equal else found

    def rows(self, subject: Subject) -> Tensor:
        """The numbers of as many pictures of each class as all sets have."""
        if not self.counts:
            return torch.arange(len(subject), device="cpu")
        return some_of_each(subject.classes, self.counts)


def some_of_each(classes: Tensor, counts: Mapping[int, int]) -> Tensor:
    """The numbers of so many of each class, in order, from all over the set.

    Neighbours in a set may be by one hand.
    """
    found = []
    for each, many in counts.items():
        mine = (classes == each).nonzero()[:, 0]
        if len(mine) > many:
            mine = mine[torch.arange(many, device="cpu") * len(mine) // many]
        found.append(mine)
    nothing = torch.zeros(0, dtype=torch.long, device="cpu")
    return torch.cat([nothing, *found]).sort().values


def common_counts(*sets: Tensor) -> dict[int, int]:
    """Of classes that every set has: the least that one has."""
    each = [Counter(one.tolist()) for one in sets]
    shared = sorted(set.intersection(*(set(one) for one in each)))
    return {name: min(one[name] for one in each) for name in shared}


def halves(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of two halves of a set with as many of each class in both, as far as that goes."""
    seen: Counter[int] = Counter()
    second = []
    for each in labels.tolist():
        second.append(bool(seen[each] % 2))
        seen[each] += 1
    chosen = torch.tensor(second, dtype=torch.bool, device="cpu")
    return (~chosen).nonzero()[:, 0], chosen.nonzero()[:, 0]


def measured(
    name: str, values: Mapping[str, Value | None], *, needs: str = "", about: str = "",
    kind: str = "number",
) -> Measure:  # fmt: skip
    """A measure of values by subject, of which some may be missing."""
    there = {key: one for key, one in values.items() if one is not None}
    own = there.pop(MADE, None)
    return Measure(
        name, own, there, "share" if kind == "share" else "number", "" if own else needs, about
    )


def missing(name: str, needs: str, *, kind: str = "number") -> Measure:
    """A measure that was not taken, with what it needs."""
    return measured(name, {}, needs=needs, kind=kind)


def how_many(subject: Subject) -> str:
    """``1,000 pictures of 10 classes``."""
    classes = len(subject.classes.unique())
    return f"{count(len(subject), 'picture')} of {count(classes, 'class', 'classes')}"
