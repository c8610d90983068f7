"""The door: how well a layer's disagreement with the decision tells adversarial pictures.

Real pictures of which no adversarial one was made are halved: those of the one half that are
classified correctly are learnt from, the rest stands for what a detector sees every day.
Adversarial pictures count where this network predicts their target, and classified correctly what
they were made of. Beside them stand what is no attack: real pictures that are misclassified, and
noise and JPEG that change a picture as much as the attack did. And an attack that knows of the
detector leads the same pictures to the same targets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.predict import suitable_batch
from fluoroscope.engine.stream import Step
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.detection.controls import apart, compressed, noisy
from fluoroscope.neurons.detection.evading import Evading
from fluoroscope.neurons.detection.reference import Reference
from fluoroscope.neurons.detection.result import CLEAN, Detected, Detection
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.neurons.reading.read import read
from fluoroscope.neurons.reading.reduction import Reduction
from fluoroscope.notices import distinct
from fluoroscope.words import count

NEIGHBOURS = 10
"""Real pictures that each is held against."""
MOST = 300
"""Adversarial pictures, and of each control, at the most."""
STEPS = 100
"""Of the attack that knows of the detector."""
# Pixel values of the pictures that are in memory together.
_VALUES = 2**25
# How far the share of the work lies at the end of each stage.
_STAGES = (0.35, 0.6, 0.7, 1.0)
# By how much a change may exceed twice the one that an adversarial set tells of its picture.
_ALIKE = 0.02

Rows = NDArray[np.int64]


def detect(
    model: Classifier | nn.Module,
    images: ImageSet,
    adversarial: ImageSet,
    layer: str | None = None,
    *,
    reduction: str | Reduction = "mean",
    neighbours: int = NEIGHBOURS,
    most: int = MOST,
    steps: int = STEPS,
    keep: str | Path | None = None,
    seed: int = 0,
    on_share: Callable[[float], None] | None = None,
) -> Detection:
    """Tell adversarial pictures from others by what a layer says of them.

    Args:
        model: the network.
        images: real pictures with labels, among them those that adversarial ones were made of.
        adversarial: see :func:`fluoroscope.neurons.adversarial_set`.
        layer: whose units are looked at; by default :func:`.usual_layer`.
        reduction: of a unit's places to one number, see :func:`.read`.
        neighbours: real pictures that each is held against.
        most: adversarial pictures that are looked at, and of each control.
        steps: of the attack that knows of the detector; 0 leaves it out.
        keep: a directory for what the layer says of both sets: a call that was killed goes on.
        seed: of the noise.
        on_share: called with the share that lies behind.

    Raises:
        InvalidParameterError: no such layer, sets that do not belong together, too few pictures to
            learn from.
        InvalidImagesError: no pictures, or none that the network takes.
    """
    model, seed = as_classifier(model), randomness.as_seed(seed)
    neighbours, most = whole_number("neighbours", neighbours), whole_number("most", most)
    steps = steps if steps == 0 else whole_number("steps", steps)
    stages = _Stages(on_share)
    place = None if keep is None else Path(keep)
    real = read(
        model, images, layer, reduction=reduction, on_share=stages.of(0),
        out=None if place is None else place / "real",
    )  # fmt: skip
    led = read(
        model, adversarial, real.units.layer, reduction=reduction, on_share=stages.of(1),
        out=None if place is None else place / "adversarial",
    )  # fmt: skip
    split = _Split.of(model, real, led, images, adversarial, neighbours)
    reference = Reference.of(real, split.learnt, neighbours)
    scored = reference.scores(real)
    rows = split.adversarial
    chosen = rows[_evenly(len(rows), most, model)]
    cases = _Cases.of(model, images, adversarial, split.sources, led.targets, chosen)
    strange = reference.scores(led)
    groups = {
        CLEAN: _detected(scored, split.clean),
        "misclassified": _detected(scored, split.misclassified),
        "adversarial": _detected(strange, cases.rows, cases.distance),
    }
    controls: dict[str, Tensor] = {}
    if len(cases.rows):
        controls["noise"] = noisy(cases.originals, cases.distance, cases.numbers, seed)
        if model.channels in (1, 3):
            controls["jpeg"] = compressed(cases.originals, cases.distance)
    for name, changed in controls.items():
        seen = read(model, changed, real.units.layer, reduction=real.reduction)
        everyone = np.arange(len(seen))
        groups[name] = _detected(
            reference.scores(seen), everyone, apart(changed, cases.originals)
        )  # fmt: skip
    stages.of(2)(1.0)
    notes = [*split.notes]
    if steps and len(cases.rows):
        usual = max(0.0, -float(np.median(groups[CLEAN].scores["mean"])))
        attack = Evading(
            reference=reference, units=real.units, reduction=real.reduction, steps=steps,
            margin=usual,
        )  # fmt: skip
        groups["adaptive"] = _adaptive(model, cases, reference, attack, seed, stages.of(3))
        told = groups["adaptive"]
        notes.append(
            f"the attack that knows of the detector leads {len(told):,} of {told.asked:,} pictures "
            "to their targets"
        )
    groups = {name: one for name, one in groups.items() if len(one) or name == CLEAN}
    stages.of(3)(1.0)
    return Detection(
        groups=groups,
        record={
            **{name: real.record.get(name) for name in ("model", "model_sha256", "fluoroscope")},
            **real.units.describe(),
            "reduction": str(real.reduction),
            "data": images.identity(),
            "adversarial_data": adversarial.identity(),
            "learnt_from": int(split.learnt.sum()),
            "neighbours": neighbours,
            "most": most,
            "steps": steps,
            "seed": seed,
        },
        notes=distinct([*real.notes, *led.notes, *notes]),
    )


@dataclass(frozen=True)
class _Stages:
    """Shares of a stage as shares of the whole."""

    tell: Callable[[float], None] | None

    def of(self, number: int) -> Callable[[float], None]:
        """What is told of one of them."""
        begin = _STAGES[number - 1] if number else 0.0

        def say(share: float) -> None:
            if self.tell is not None:
                self.tell(begin + share * (_STAGES[number] - begin))

        return say


@dataclass(frozen=True, eq=False)
class _Split:
    """Which pictures stand for what."""

    learnt: NDArray[np.bool_]
    """Of the real ones ``(N,)``: what is learnt from."""
    clean: Rows
    """Real ones that are classified correctly and were not learnt from."""
    misclassified: Rows
    adversarial: Rows
    """Of the adversarial ones: those that this network predicts as their target."""
    sources: Rows
    """The real row that each adversarial one was made of ``(M,)``, -1 where it is not there."""
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, model: Classifier, real: Activations, led: Activations, images: ImageSet,
        adversarial: ImageSet, neighbours: int,
    ) -> "_Split":  # fmt: skip
        if not (led.targets >= 0).any() or not (led.sources >= 0).any():
            raise InvalidParameterError(
                f"adversarial is {adversarial.name}, which does not say what its pictures were led "
                "to and made of; expected a set as fluoroscope neurons adversarial makes it"
            )
        if not (real.labels >= 0).any():
            raise InvalidParameterError(
                f"{images.name} has no labels that {model.name} knows; expected labelled pictures"
            )
        places = {index: row for row, index in enumerate(real.indices.tolist())}
        sources = np.array([places.get(one, -1) for one in led.sources.tolist()])
        if (sources < 0).all():
            raise InvalidParameterError(
                f"{images.name} has none of the pictures that those of {adversarial.name} were "
                "made of; expected the data set they were made of, and a limit that takes them in"
            )
        notes = []
        lost = int((sources < 0).sum())
        if lost:
            notes.append(
                f"left out {count(lost, 'adversarial picture')} whose real picture is not there"
            )
        used = np.unique(sources[sources >= 0])
        known = real.labels >= 0
        right, taken = known & (real.predicted == real.labels), np.zeros(len(real), np.bool_)
        others = np.setdiff1d(np.flatnonzero(known), used)
        if len(others) >= max(2 * neighbours, len(used)):
            taken[_halved(others, real.labels)] = True
        else:
            taken[_halved(used, real.labels)] = taken[others] = True
            notes.append(
                f"{count(len(others), 'real picture')} would be left to learn from, so half of "
                "those that adversarial ones were made of are learnt from, too, and what was made "
                "of them is left out"
            )
        there = (sources >= 0) & ~taken[sources] & right[sources]
        fooled = there & (led.predicted == led.targets) & (led.targets != led.labels)
        if not fooled.all():
            notes.append(
                f"of {count(len(led), 'adversarial picture')} {int(fooled.sum()):,} are of use: "
                "this network predicts their target, and classifies correctly what they were made "
                "of"
            )
        return cls(
            taken & right, np.flatnonzero(~taken & right), np.flatnonzero(~taken & known & ~right),
            np.flatnonzero(fooled), sources, tuple(notes),
        )  # fmt: skip


def _halved(rows: Rows, labels: Rows) -> Rows:
    """Every second of the rows of each class."""
    order = rows[np.argsort(labels[rows], kind="stable")]
    classes = labels[order]
    number = np.arange(len(order)) - np.searchsorted(classes, classes)
    found: Rows = order[number % 2 == 0]
    return found


@dataclass(frozen=True, eq=False)
class _Cases:
    """Adversarial pictures that are looked at, and the real ones they were made of."""

    rows: Rows
    originals: Tensor
    """``(n, C, H, W)``"""
    targets: Tensor
    """``(n,)``"""
    numbers: Tensor
    """``(n,)``, which adversarial pictures these are."""
    distance: Tensor
    """``(n,)``, root mean square of the change."""

    @classmethod
    def of(
        cls, model: Classifier, images: ImageSet, adversarial: ImageSet, sources: Rows,
        targets: Rows, rows: Rows,
    ) -> "_Cases":  # fmt: skip
        originals = _pictures(model, images, sources[rows])
        distance = apart(_pictures(model, adversarial, rows), originals)
        if "distance" in adversarial.columns and len(rows):
            stored = adversarial.select(rows.tolist()).column("distance")
            said = torch.tensor(stored, dtype=torch.float64, device="cpu")
            if bool((distance > 2 * said + _ALIKE).double().mean() > 0.5):
                raise InvalidParameterError(
                    f"the pictures of {adversarial.name} are farther from those of {images.name} "
                    "than it says that they were moved; expected the data set they were made of"
                )
        return cls(
            rows, originals, torch.from_numpy(targets[rows]), torch.from_numpy(rows), distance
        )


def _pictures(model: Classifier, images: ImageSet, rows: Rows) -> Tensor:
    """Some pictures of a set as the network takes them, ``(n, C, H, W)``."""
    if not len(rows):
        return torch.zeros(0, model.channels, 1, 1, dtype=torch.float32, device="cpu")
    few = images.select(rows.tolist())
    return next(few.batches(len(rows), fit=model.preprocessing, workers=0)).images


def _evenly(there: int, most: int, model: Classifier) -> Rows:
    """So many of the rows, evenly among them, and no more than memory takes."""
    height, width = model.input_size or (224, 224)
    many = min(there, most, max(1, _VALUES // (model.channels * height * width)))
    return np.linspace(0, there - 1, many).round().astype(np.int64)


def _detected(
    scores: dict[str, NDArray[np.float64]], rows: Rows, distance: Tensor | None = None
) -> Detected:
    """The scores of some rows, without those that nothing can be said of."""
    chosen = {name: values[rows] for name, values in scores.items()}
    known = np.isfinite(next(iter(chosen.values())))
    far = 0.0 if distance is None or not len(distance) else float(distance.double().quantile(0.5))
    return Detected({name: each[known] for name, each in chosen.items()}, len(rows), far)


def _adaptive(
    model: Classifier, cases: _Cases, reference: Reference, attack: Evading, seed: int,
    tell: Callable[[float], None],
) -> Detected:  # fmt: skip
    """Pictures of an attack that knows of the class means, where it reached its target."""
    behind, length = 0, (attack.steps + 1) * len(cases.rows)

    def step(step: Step) -> None:
        nonlocal behind
        behind += len(step.indices)
        tell(min(1.0, behind / length))

    made = attack(
        model, cases.originals, cases.targets, targeted=True, keep="last", grid=8, seed=seed,
        numbers=cases.numbers, batch_size=suitable_batch(cases.originals), on_step=step,
    ).images.float()  # fmt: skip
    seen = read(model, made, attack.units.layer, reduction=attack.reduction)
    led = np.flatnonzero(seen.predicted == cases.targets.numpy())
    far = apart(made, cases.originals)[torch.from_numpy(led)]
    found = _detected(reference.scores(seen), led, far)
    return Detected(found.scores, len(cases.rows), found.distance)
