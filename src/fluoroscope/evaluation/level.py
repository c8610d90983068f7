"""Whether a network reads clean pictures better than somebody who never looks at them.

Such a one names the classes as often as the network does, but in any order: of ``N`` pictures,
``n_c`` of them labelled ``c`` and ``m_c`` predicted as ``c``, ``sum_c n_c m_c / N`` would be right,
with the spread of a table whose rows and columns add up to these (Cohen 1960, Mantel 1963). Where
the network says the same of all pictures, or all are of one class, that is all that are right,
however many they are.
"""

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from fluoroscope.data.batches import Fit
from fluoroscope.engine.intervals import wilson
from fluoroscope.engine.labels import Truth
from fluoroscope.engine.predict import predict
from fluoroscope.errors import ChanceLevelError
from fluoroscope.models.classifier import Classifier

# Below so many pictures all may be right by chance.
_FEWEST = 20
# Deviations above the mean that 2.5 % exceed.
_SURE = 1.96
# Weights that nobody trained see some of it: the share that is right beyond chance is to be surely
# more than this, or than so many times a single class's.
_UNTRAINED, _TIMES = 0.2, 5.0


class Level:
    """What a network said of clean pictures so far."""

    def __init__(self, model: Classifier) -> None:
        self.model = model
        self._labels: list[Tensor] = []
        self._read: list[Tensor] = []

    def add(self, labels: Tensor, read: Tensor) -> Self:
        """Pictures of these classes ``(N,)`` were predicted as those ``(N,)``."""
        self._labels.append(labels.long().cpu())
        self._read.append(read.long().cpu())
        return self

    @property
    def labels(self) -> Tensor:
        """``(N,)``, of all pictures."""
        return _joined(self._labels)

    @property
    def read(self) -> Tensor:
        """``(N,)``, what they were predicted as."""
        return _joined(self._read)

    @property
    def at_chance(self) -> bool:
        """Whether what was seen so far tells it from nobody; never of fewer than 20 pictures."""
        labels, read = self.labels, self.read
        count = len(labels)
        if count < _FEWEST:
            return False
        right, (expected, _) = int((labels == read).sum()), _by_chance(labels, read)
        if expected >= count:
            return True
        smooth = (right + 2) / (count + 4)  # Agresti and Coull 1998
        spread = math.sqrt(smooth * (1 - smooth) * count) / (count - expected)
        # One deviation less: of few pictures it is not to depend on one more or less.
        beyond = (right - expected) / (count - expected) - spread
        few = min(_UNTRAINED, _TIMES / self.model.num_classes)
        return beyond < few or self._unsure(labels, read)

    def _unsure(self, labels: Tensor, read: Tensor) -> bool:
        """Whether as many may be right by chance."""
        count, right = len(labels), int((labels == read).sum())
        expected, spread = _by_chance(labels, read)
        too_few = wilson(right, count)[0] <= 1 / self.model.num_classes
        return too_few or right - expected <= _SURE * spread

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of it beside a result."""
        labels, read = self.labels, self.read
        if len(labels) < 2:
            return ()
        if self.at_chance:
            return (self._says(),)
        if len(read.unique()) == 1:
            return (f"{self.model.name} says {self._name(read)} of every one of the pictures",)
        return ()

    def check(self, fed: Callable[[], str]) -> None:
        """Refuse a network that is at chance; ``fed`` says what it was given.

        Raises:
            ChanceLevelError: of 20 pictures or more, and anybody guessing would have as many right.
        """
        if not self.at_chance:
            return
        mend = ""
        if len(self.labels.unique()) > 1:
            mend = f", fed {fed()}: check mean=, std=, input_size= and labels="
            if not self._unsure(self.labels, self.read):
                mend += ", give more pictures"
        raise ChanceLevelError(f"{self._says()}{mend}, or go on with at_chance=")

    def _says(self) -> str:
        labels, read = self.labels, self.read
        count, classes = len(labels), self.model.num_classes
        right = int((labels == read).sum())
        reads = f"{self.model.name} classifies {right} of {count} pictures correctly"
        if len(labels.unique()) == 1:
            return (
                f"{reads}, and all are of one class, {self._name(labels)}: no better than chance, "
                f"as always saying so is right too; expected pictures of several of its {classes} "
                "classes"
            )
        same = f" and says {self._name(read)} of every one" if len(read.unique()) == 1 else ""
        if self._unsure(labels, read):
            return f"{reads}{same}, no better than chance among {classes} classes"
        p_value = _guessing(right, count, _by_chance(labels, read)[0] / count)
        return (
            f"{reads}{same}, hardly better than chance among {classes} classes (guessing gives as "
            f"many with P = {p_value:.2g}, but weights that nobody trained may, too)"
        )

    def _name(self, classes: Tensor) -> str:
        return repr(self.model.labels[int(classes[0])])


def check_level(
    level: Level,
    truth: Truth,
    fed: Callable[[], str],
    *,
    fit: Fit,
    batch_size: int,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Refuse a network at chance once all pictures are read: those after ``level``'s at once.

    Data sets are often sorted by class, and their first pictures may be those it reads worst. What
    is read here does not count in ``level``.

    Raises:
        ChanceLevelError: see :meth:`Level.check`.
    """
    if not level.at_chance:
        return
    model, whole = level.model, Level(level.model).add(level.labels, level.read)
    left = truth.images.select(range(len(level.labels), len(truth.images)))
    for batch in left.batches(batch_size, fit=fit) if len(left) else ():
        if cancelled is not None and cancelled():
            return
        read = predict(model.plain, batch.images, batch_size=batch_size).winners
        if not whole.add(truth.labels(batch), read).at_chance:
            return
    whole.check(fed)


def _by_chance(labels: Tensor, read: Tensor) -> tuple[float, float]:
    """How many would be right of readings in any order, and their standard deviation."""
    classes = int(torch.maximum(labels.max(), read.max())) + 1
    count = len(labels)
    ours, its = (torch.bincount(one, minlength=classes).double() for one in (labels, read))
    both = ours * its
    varies = (both * (count - ours) * (count - its)).sum() + both.sum() ** 2 - (both**2).sum()
    return float(both.sum()) / count, math.sqrt(float(varies) / (count**2 * (count - 1)))


def _guessing(right: int, count: int, share: float) -> float:
    """How probable it is that so many or more are right where each is with this probability."""
    from scipy.stats import binom

    return float(binom.sf(right - 1, count, share))


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=torch.long, device="cpu"), *parts])
