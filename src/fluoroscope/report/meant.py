"""Whether the units of a layer mean under attack what they seem to mean, for a report.

The measures are those of :func:`fluoroscope.neurons.consistency`, on the report's own pictures and
on adversarial ones that are made of some of them within a share of its time: each is led to one
class drawn at random, by :class:`.PGD` within the report's bound. Where that leads too few there,
or is not defined for the norm, :class:`.EnsembleOptimisation` goes beyond, and is said to.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, nan
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.gradient.gradient_sign import PGD
from fluoroscope.attacks.transfer.ensemble_optimisation import EnsembleOptimisation
from fluoroscope.engine import randomness
from fluoroscope.engine.grid import nothing_between
from fluoroscope.engine.predict import predict
from fluoroscope.errors import InvalidParameterError, NoGradientError
from fluoroscope.neurons.meaning.class_similarity import class_similarity
from fluoroscope.neurons.meaning.consistency import consistency
from fluoroscope.neurons.meaning.noise import with_noise
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.neurons.reading.read import as_set, read
from fluoroscope.neurons.reading.units import Units
from fluoroscope.notices import collected
from fluoroscope.report.study import Study
from fluoroscope.report.subject import LeftOutError
from fluoroscope.report.traced import layer_of
from fluoroscope.words import count

# Pictures that are led to another class, and so many at once; real ones that they are held against.
LED, LED_LARGE = 100, 24
TOGETHER, TOGETHER_LARGE = 50, 4
REAL, REAL_LARGE = 1000, 200
# Of fewer adversarial pictures nothing is said.
FEWEST = 16
# Of fewer pictures of a class on average class histograms say little.
FEW = 5
# Units that are shown, and pictures of each kind.
UNITS, PICTURES = 3, 4
# Of the time that is left, and without a budget of the time that all before took, and seconds.
_SHARE, _OF_SPENT, _SECONDS = 0.25, 0.2, 45.0
STEPS, BEYOND = 20, EnsembleOptimisation()
OF_UNITS = ("level", "level_adversarial", "cs1", "cs2")


@dataclass(frozen=True)
class Value:
    """A number of the layer, with its interval."""

    value: float | None
    """``None`` where it could not be taken."""
    ends: tuple[float, float]
    """95 %; the value itself where none could be taken."""
    over: str = ""
    """How many of what it is of, in words."""

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Value":
        """From the plain values of a :class:`.Number`."""
        value = inf if told["infinite"] else told["value"]
        ends = told["interval"] or [nan if value is None else value] * 2
        return cls(value, (ends[0], ends[1]), f"{told['count']:,} {told['of']}")

    def apart(self, other: "Value") -> int:
        """1 where it lies surely above the other, -1 surely below; intervals do not meet."""
        return int(self.ends[0] > other.ends[1]) - int(self.ends[1] < other.ends[0])

    def beyond(self, chance: "Value") -> bool:
        """Whether it lies surely above what chance gives, where that is known."""
        return chance.value is None or self.ends[0] > chance.value


@dataclass(frozen=True)
class Favourites:
    """A unit with the pictures that activate it most."""

    unit: int
    numbers: dict[str, float]
    """Of the unit: ``level``, ``level_adversarial``, ``cs1``, ``cs2``."""
    real: Tensor
    """``(P, C, H, W)``."""
    labels: list[int]
    adversarial: Tensor
    """``(P, C, H, W)``."""
    sources: list[int]
    """Of the adversarial ones the true classes."""
    targets: list[int]
    """And those that they were led to."""


@dataclass(frozen=True)
class Meant:
    """What the units of a layer mean to real pictures and to adversarial ones."""

    units: Units
    classes: int
    """That there are pictures of."""
    real: int
    """Pictures."""
    adversarial: int
    """Those that were led to their target; the others do not count."""
    tried: int
    wanted: int
    """Pictures that would have been led, had there been time."""
    similarity: str
    """Where the likeness of classes comes from, in words."""
    numbers: dict[str, Value]
    """Of the layer, by the names of :data:`.DEFINITIONS` and more."""
    notes: list[str]
    shown: list[Favourites]
    attack: Method
    """That led them."""
    distance: float
    """How far half of those that count moved at the most, in the report's norm."""
    top: int
    """Pictures of each kind that a unit's numbers are of: those that activate it most."""

    @property
    def beyond(self) -> bool:
        """Whether the attack knew no bound."""
        return self.attack is BEYOND

    @property
    def few(self) -> bool:
        """Whether there are too few pictures of a class to say what single units mean."""
        return self.real < FEW * self.classes

    def of(self, name: str) -> Value:
        """A number of the layer; one without a value where it was not taken."""
        return self.numbers.get(name, Value(None, (nan, nan), ""))


def meant(study: Study) -> Meant:
    """Whether the study's network's units mean what they seem to.

    Raises:
        LeftOutError: there are too few pictures or classes, or no layer, gradient or time.
    """
    units, reading = layer_of(study), study.reading
    rows = reading.right.nonzero()[:, 0].tolist()[: LED_LARGE if study.large else LED]
    seen = len(set(reading.labels.tolist()))
    if len(rows) < FEWEST or seen < 2:
        raise LeftOutError(
            f"there are {count(len(rows), 'picture')} classified correctly, of "
            f"{count(seen, 'class', 'classes')}; expected at least {FEWEST}, of two or more"
        )
    for attack in attacks(study):
        images, targets = _led(study, rows, attack)
        tried = len(images)
        with collected():
            there = predict(study.model.plain, images, batch_size=TOGETHER).winners == targets
        if int(there.sum()) >= FEWEST:
            break
    else:
        raise LeftOutError(
            f"of {count(tried, 'picture')} {int(there.sum())} could be led to a class drawn at "
            f"random, with no bound either; expected at least {FEWEST}"
        )
    kept = there.nonzero()[:, 0].tolist()
    real_ones, _ = study.load([study.images.indices[rows[place]] for place in kept])
    moved = study.threat.distance(images[kept] - real_ones)
    # What was led is among the real ones.
    others = [row for row in range(len(reading.labels)) if row not in set(rows)]
    real = [*rows, *others][: REAL_LARGE if study.large else REAL]
    about = [real, kept, attack.stated, units.describe(), UNITS, PICTURES, "top"]
    made = images[kept], [rows[place] for place in kept], targets[kept]
    told = study.written("consistency", about, lambda: _measured(study, units, real, *made))
    return Meant(
        units, seen, len(real), len(kept), tried, len(rows), told["similarity"],
        {name: Value.of(each) for name, each in told["layer"].items()}, told["notes"],
        [_shown(study, real, made, each) for each in told["shown"]],
        attack, float(moved.median()), told["top"],
    )  # fmt: skip


def _measured(
    study: Study, units: Units, real: list[int], images: Tensor, sources: list[int],
    targets: Tensor,
) -> dict[str, Any]:  # fmt: skip
    """What is kept: the measures, and the favourites of the units that are shown."""
    model, indices = study.model.plain, study.images.indices
    with collected():
        data = as_set(model, study.load([indices[row] for row in real]))
        before = read(model, data, units.layer, call=units.call)
        noise = with_noise(model, data, seed=study.seed)
        noisy = read(model, noise, units.layer, call=units.call)
        true = study.reading.labels[sources]
        after = read(model, (images, true), units.layer, call=units.call)
    place = {row: number for number, row in enumerate(real)}
    columns = {
        **{name: after.rows[name].to_pylist() for name in after.rows.column_names},
        "target": targets.tolist(),
        "source": [place[row] for row in sources],
    }
    after = Activations.of(
        after.values, after.units, columns, classes=after.classes, reduction=after.reduction,
        record=after.record, notes=after.notes,
    )  # fmt: skip
    with collected():
        try:
            similarity = class_similarity("weights", model=model)
        except InvalidParameterError:  # its logits come from no layer of weights
            similarity = class_similarity("confusion", model=model, activations=before)
        found = consistency(before, after, similarity=similarity, noisy=noisy, seed=study.seed)
    return {
        "similarity": similarity.words,
        "top": int(found.record["top"]),
        "layer": {name: each.describe() for name, each in found.layer.items()},
        "notes": list(found.notes),
        "shown": [
            {
                "unit": unit,
                "numbers": {name: float(found.units[name][unit]) for name in OF_UNITS},
                **{kind: np.argsort(-each.values[:, unit], kind="stable")[:PICTURES].tolist()
                   for kind, each in (("real", before), ("adversarial", after))},
            }
            for unit in _chosen(found.units["level"], found.units["cs1"])
        ],
    }  # fmt: skip


def _chosen(level: NDArray[np.float64], cs1: NDArray[np.float64]) -> list[int]:
    """Units whose real favourites are most of one class, and of the more consistent half the one
    that misleads most.
    """
    order = np.argsort(-level, kind="stable")[: int((~np.isnan(cs1)).sum())]
    half = order[: -(-len(order) // 2)]
    worst = half[np.argsort(cs1[half], kind="stable")[:1]].tolist()
    first = [unit for unit in order.tolist() if unit not in worst]
    return [*first[: UNITS - 1], *worst]


def _shown(
    study: Study, real: list[int], made: tuple[Tensor, list[int], Tensor], told: dict[str, Any]
) -> Favourites:
    images, sources, targets = made
    labels = study.reading.labels
    rows, places = [real[place] for place in told["real"]], told["adversarial"]
    return Favourites(
        told["unit"],
        told["numbers"],
        study.load([study.images.indices[row] for row in rows])[0],
        labels[rows].tolist(),
        images[places],
        labels[[sources[place] for place in places]].tolist(),
        targets[places].tolist(),
    )


def attacks(study: Study) -> list[Method]:
    """Within the report's bound, where that can be, and without any."""
    inside = study.threat.name in PGD.norms and nothing_between(study.threat, 8) is None
    return [*([PGD(threat=study.threat, steps=STEPS)] if inside else []), BEYOND]


def _led(study: Study, rows: Sequence[int], attack: Method) -> tuple[Tensor, Tensor]:
    """Pictures of these rows led to other classes ``(M, C, H, W)``, and those; as far as there is
    time.
    """
    limit = max(_SECONDS, _OF_SPENT * study.spent())
    ends = time.monotonic() + min(_SHARE * study.left(), limit)
    size = TOGETHER_LARGE if study.large else TOGETHER
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(rows), size):
        if start and (study.cancelled() or time.monotonic() > ends):
            study.cut.add("consistency")
            break
        study.tell("do its units mean what they seem to", start / len(rows), "consistency")
        some = list(rows[start : start + size])
        parts.append(study.kept("led", [some, attack.stated], partial(_lead, study, some, attack)))
    found = {name: torch.cat([part[name] for part in parts]) for name in ("images", "targets")}
    return found["images"], found["targets"]


def _lead(study: Study, rows: list[int], attack: Method) -> dict[str, Tensor]:
    """These pictures, each led to another class drawn at random."""
    numbers = torch.tensor([study.images.indices[row] for row in rows], device="cpu")
    images, labels = study.load(numbers.tolist())
    # Of the classes that there are real pictures of, which representations are held against.
    seen = study.reading.labels.unique()
    drawn = randomness.integers(randomness.keys(study.seed, numbers), 0, len(seen) - 1)[:, 0]
    targets = seen[drawn + (drawn >= torch.searchsorted(seen, labels)).long()]
    try:
        with collected():
            found = attack(
                study.model.plain, images, targets, targeted=True, keep="last", grid=8,
                seed=study.seed, numbers=numbers, cancelled=study.cancelled,
            )  # fmt: skip
    except NoGradientError as problem:
        raise LeftOutError(f"no adversarial picture can be made: {problem}") from None
    return {"images": found.images.cpu(), "targets": targets}
