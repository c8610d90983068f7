"""Names for units: of some labels the one whose presence in the pictures explains a unit best.

What is said of pictures comes from whoever has it: an array ``(N, L)``, or an image-text network
(:mod:`.image_text`). It is scored by :mod:`.label_scores` alone.

A name is always found, so two things stand beside it. The set of labels that the bootstrap over
pictures gives (Yan, Oikarinen, Weng 2025, 2512.18092): the labels that win on pictures drawn anew,
the most frequent first, until they make up 95 % of the draws; of many labels none is sure. And
what the best label reaches when the unit's activations are dealt to the pictures at random: a name
that does not exceed that at a level of 5 % says nothing. That is a test of each unit, which makes
up for the number of labels and not for that of units: how many names chance gives is said.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.errors import InvalidParameterError
from fluoroscope.neurons.answers.label_scores import SCORES, Floats
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.pictures import html
from fluoroscope.words import count, number, percent, shortened

COVERAGE, ON, PRESENT, DRAWS = 0.95, 0.05, 0.5, 200
_SHUFFLED, _LEVEL = 99, 0.05
# Draws of the hash: pictures drawn anew, and activations dealt at random.
_ANEW, _DEALT = 0, 1_000_000
_LISTED = 3


@dataclass(frozen=True)
class UnitName:
    """What a unit is called, and how sure that is."""

    unit: int
    label: str
    """The best of all pictures; empty where no label explains anything."""
    score: float
    labels: dict[str, float]
    """The bootstrap's set, with the share of draws that each won."""
    shuffled: float
    """What the best label exceeds with shuffled activations in only 5 % of cases."""

    @property
    def told(self) -> bool:
        """Whether the name says more than a label for shuffled activations would."""
        return bool(self.label) and self.score > self.shuffled

    def said(self) -> str:
        """The set in words."""
        names = [f"{shortened(name)} {percent(share, 0)}" for name, share in self.labels.items()]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return ", ".join(names[:_LISTED]) + more

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "unit": self.unit, "label": self.label or None, "score": self.score,
            "labels": self.labels, "shuffled": self.shuffled, "told": self.told,
        }  # fmt: skip


@dataclass(frozen=True, repr=False)
class UnitNames(html.Shown):
    """Names of units."""

    found: tuple[UnitName, ...]
    score: str
    pictures: int
    labels: int
    """How many there were to choose from."""
    draws: int
    coverage: float
    level: float
    """Of a unit that means nothing the probability that it is named: of the units alone, however
    many labels there are."""
    notes: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "score": self.score, "pictures": self.pictures, "labels": self.labels,
            "draws": self.draws, "coverage": self.coverage, "level": self.level,
            "named_by_chance": self.level * len(self.found), "notes": list(self.notes),
            "units": [one.describe() for one in self.found],
        }  # fmt: skip

    def rows(self) -> list[list[str]]:
        """A row for each unit."""
        return [
            [
                str(one.unit), shortened(one.label) if one.told else "–", number(one.score, 2),
                number(one.shuffled, 2), one.said(),
            ]
            for one in self.found
        ]  # fmt: skip

    def _line(self) -> str:
        named = sum(one.told for one in self.found)
        return (
            f"{named:,} of {count(len(self.found), 'unit')} named from "
            f"{count(self.labels, 'label')} by {self.score}"
        )

    def _view(self) -> Iterator[html.Html]:
        heads = ["unit", "name", "score", "shuffled", "on pictures drawn anew"]
        yield html.table(heads, self.rows(), right=(2, 3))
        yield html.notes(self.notes)


def name_units(
    activations: Activations | NDArray[Any],
    presence: NDArray[Any],
    labels: Sequence[str],
    units: Sequence[int] | None = None,
    *,
    score: str = "pearson",
    draws: int = DRAWS,
    coverage: float = COVERAGE,
    on: float = ON,
    present: float = PRESENT,
    seed: int = 0,
) -> UnitNames:
    """Name units by the labels that explain their activations best.

    Args:
        activations: ``(N, K)``, or what :func:`fluoroscope.neurons.read` gave.
        presence: ``(N, L)``, how present each label is in each picture, from 0 to 1.
        labels: their names, ``L`` of them.
        units: some of the units; by default all.
        score: ``pearson``, ``cosine``, ``auprc``, ``f1`` or ``iou``.
        draws: how often pictures are drawn anew.
        coverage: the share of the draws whose winners make up the set.
        on: for ``f1`` and ``iou``, the share of pictures at which a unit is on: those of its
            largest activations.
        present: for ``auprc``, ``f1`` and ``iou``, from where on a label counts as present.
        seed: of what is drawn.

    Raises:
        InvalidParameterError: arrays of other shapes, numbers that are not finite or not from 0 to
            1, no such score or unit.
    """
    values, presences = _checked(activations, presence, labels)
    if score not in SCORES:
        raise InvalidParameterError(f"score is {score!r}; expected one of {', '.join(SCORES)}")
    for name, share in (("coverage", coverage), ("on", on), ("present", present)):
        if not 0 < share < 1:
            raise InvalidParameterError(f"{name} is {share}; expected a share between 0 and 1")
    draws = whole_number("draws", draws)
    chosen = list(range(values.shape[1])) if units is None else [int(each) for each in units]
    outside = [each for each in chosen if not 0 <= each < values.shape[1]]
    if outside:
        raise InvalidParameterError(f"unit is {outside[0]}; expected 0 to {values.shape[1] - 1}")
    function, on_off, yes_no = SCORES[score]
    given = (presences >= present).astype(np.float64) if yes_no else presences
    weights = drawn_weights(len(values), draws, seed)
    orders = dealt_orders(len(values), min(draws, _SHUFFLED), seed)
    # Above the k-th largest of n that were dealt lies one more of the kind in k of n + 1 cases.
    rank = max(1, int(_LEVEL * (len(orders) + 1) + 1e-9))
    level = rank / (len(orders) + 1)
    once = np.ones(len(values))
    found = []
    for unit in chosen:
        activation = np.asarray(values[:, unit], dtype=np.float64)
        if on_off:
            activation = is_on(activation, on)
        scores = function(activation, given, once)
        winners = [int(function(activation, given, each).argmax()) for each in weights]
        best = [float(function(activation[each], given, once).max()) for each in orders]
        place = int(scores.argmax())
        found.append(
            UnitName(
                unit, labels[place] if scores[place] > 0 else "", float(scores[place]),
                label_set(winners, labels, coverage), sorted(best)[-rank],
            )
        )  # fmt: skip
    notes = []
    untold = sum(not one.told for one in found)
    if untold:
        notes.append(
            f"{count(untold, 'unit')} without a name: no label explains more of "
            f"{'it' if untold == 1 else 'them'} than of activations dealt to the pictures at random"
        )
    notes.append(
        f"each unit is tested at a level of {percent(level, 0)}: of "
        f"{count(len(found), 'unit')} that mean nothing {number(level * len(found), 2)} would be "
        f"named by chance; of these {len(found) - untold:,} are"
    )
    return UnitNames(
        tuple(found), score, len(values), len(labels), draws, coverage, level, tuple(notes)
    )


def _checked(
    activations: Activations | NDArray[Any], presence: NDArray[Any], labels: Sequence[str]
) -> tuple[NDArray[Any], Floats]:
    values = activations.values if isinstance(activations, Activations) else activations
    values, given = np.asarray(values), np.asarray(presence, dtype=np.float64)
    if values.ndim != 2 or given.shape != (len(values), len(labels)) or not given.size:
        raise InvalidParameterError(
            f"presence has shape {given.shape} for activations of {values.shape} and "
            f"{count(len(labels), 'label')}; expected (N, {len(labels)}) beside (N, K)"
        )
    if not (np.isfinite(given).all() and given.min() >= 0 and given.max() <= 1):
        raise InvalidParameterError("presence holds numbers that are not from 0 to 1")
    if not np.isfinite(values).all():
        raise InvalidParameterError("activations hold numbers that are not finite")
    return values, given


def is_on(activation: Floats, share: float) -> Floats:
    """1 at the pictures of the largest activations, that share of them and at least one, else 0;
    ties of the last are in.
    """
    many = max(1, round(share * len(activation)))
    on: NDArray[np.bool_] = activation >= np.sort(activation)[-many]
    return on.astype(np.float64)


def drawn_weights(pictures: int, draws: int, seed: int) -> NDArray[np.float64]:
    """How often each picture is drawn, ``(draws, N)``: as many as there are, with replacement."""
    key = randomness.keys(seed, torch.arange(draws, device="cpu"))
    rows = randomness.integers(key, _ANEW, pictures, pictures).numpy()
    return np.stack([np.bincount(row, minlength=pictures) for row in rows]).astype(np.float64)


def dealt_orders(pictures: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Orders ``(draws, N)`` of the pictures at random."""
    key = randomness.keys(seed, torch.arange(draws, device="cpu"))
    return randomness.uniform(key, _DEALT, (pictures,)).argsort(1).numpy()


def label_set(winners: Sequence[int], labels: Sequence[str], coverage: float) -> dict[str, float]:
    """The labels that win most often, until they make up a share of all draws."""
    many = np.bincount(winners, minlength=len(labels))
    found: dict[str, float] = {}
    for place in np.argsort(-many, kind="stable").tolist():
        if sum(found.values()) >= coverage - 1e-9 or not many[place]:
            break
        name = labels[place]
        found[name] = found.get(name, 0.0) + float(many[place]) / len(winners)
    return found
